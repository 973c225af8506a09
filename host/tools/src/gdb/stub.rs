//! gdbstub at work: a packet in, the answer out.
//!
//! A stub lives for one packet. It borrows the machine for so long and no longer, and a packet that it refuses, which is
//! the end of a stub, is the end of nothing else. What a stub has to know of the packets before is little: what the
//! debugger can do, which it says once, and that it waits for the guest to stop. So each stub is told that first.

use std::convert::Infallible;

use flatland_x86::EngineError;
use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, SingleThreadStopReason};

use super::guest::Guest;
use super::packets::{self, PACKET_SIZE, packet};

/// Why the guest has stopped.
pub type StopReason = SingleThreadStopReason<u32>;

/// What is to become of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// What it does already.
    Nothing,
    /// It runs.
    Run,
    /// It runs, and the debugger goes.
    Detach,
    /// It ends.
    Kill,
}

/// What the debugger can do: the packets in which it has said so.
#[derive(Clone, Debug, Default)]
pub struct Features(Vec<Vec<u8>>);

/// The packet that is about features.
const SUPPORTED: &[u8] = b"qSupported";

/// The packet that is the last one to be acknowledged.
const NO_ACKNOWLEDGMENTS: &[u8] = b"QStartNoAckMode";

/// What a stub writes.
#[derive(Debug, Default)]
struct Written(Vec<u8>);

impl Connection for Written {
    type Error = Infallible;

    fn write(&mut self, byte: u8) -> Result<(), Infallible> {
        self.0.push(byte);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

type Stub<'guest> = GdbStubStateMachine<'static, Guest<'guest>, Written>;
type Error = GdbStubError<EngineError, Infallible>;

impl Features {
    /// The answer to a packet, and what it asks for. One that gdbstub cannot read is answered by an error.
    pub fn answer(&mut self, body: Vec<u8>, guest: &mut Guest) -> Result<(Vec<u8>, Then), EngineError> {
        match self.try_to_answer(packets::fitting(body), guest) {
            Ok(answer) => Ok(answer),
            Err(error) => match error.into_target_error() {
                Some(error) => Err(error),
                None => Ok((self.refusal(), Then::Nothing)),
            },
        }
    }

    fn try_to_answer(&mut self, body: Vec<u8>, guest: &mut Guest) -> Result<(Vec<u8>, Then), Error> {
        let mut stub = feed(self.stub(guest)?, guest, &body)?;
        let then = match &stub {
            Stub::Running(_) => Then::Run,
            Stub::Disconnected(inner) => match inner.get_reason() {
                DisconnectReason::Kill => Then::Kill,
                _ => Then::Detach,
            },
            Stub::Idle(_) | Stub::CtrlCInterrupt(_) => Then::Nothing,
        };
        for packet in [SUPPORTED, NO_ACKNOWLEDGMENTS] {
            if body.starts_with(packet) {
                self.0.retain(|other| !other.starts_with(packet));
                self.0.push(body.clone());
            }
        }
        Ok((written(&mut stub), then))
    }

    /// The packet that says why the guest has stopped.
    pub fn stop_reply(&self, reason: StopReason, guest: &mut Guest) -> Result<Vec<u8>, EngineError> {
        self.try_to_report(reason, guest).map_err(|error| {
            error.into_target_error().expect("nothing else fails where nothing comes from outside")
        })
    }

    fn try_to_report(&self, reason: StopReason, guest: &mut Guest) -> Result<Vec<u8>, Error> {
        // gdbstub reports a stop only where it has been told to go on.
        let mut stub = feed(self.stub(guest)?, guest, b"c")?;
        written(&mut stub);
        let Stub::Running(inner) = stub else { return Ok(Vec::new()) };
        Ok(written(&mut inner.report_stop(guest, reason)?))
    }

    /// A stub that knows what gdb can do.
    fn stub<'guest>(&self, guest: &mut Guest<'guest>) -> Result<Stub<'guest>, Error> {
        let builder = GdbStub::builder(Written::default()).packet_buffer_size(PACKET_SIZE);
        let mut stub = builder.build().expect("it makes the buffer itself").run_state_machine(guest)?;
        for features in &self.0 {
            stub = feed(stub, guest, features)?;
            written(&mut stub);
        }
        Ok(stub)
    }

    /// Whether each packet is acknowledged.
    pub fn acknowledges(&self) -> bool {
        !self.0.iter().any(|features| features.starts_with(NO_ACKNOWLEDGMENTS))
    }

    /// A packet was understood as one, and as nothing else: EINVAL, by its number in gdb's manual.
    pub fn refusal(&self) -> Vec<u8> {
        let acknowledgment: &[u8] = if self.acknowledges() { b"+" } else { b"" };
        [acknowledgment, &packet(b"E16")].concat()
    }
}

fn feed<'guest>(
    mut stub: Stub<'guest>,
    guest: &mut Guest<'guest>,
    body: &[u8],
) -> Result<Stub<'guest>, Error> {
    for byte in packet(body) {
        stub = match stub {
            Stub::Idle(inner) => inner.incoming_data(guest, byte)?,
            Stub::Running(inner) => inner.incoming_data(guest, byte)?,
            other => other,
        };
    }
    Ok(stub)
}

/// What a stub has written since it was last asked.
fn written(stub: &mut Stub) -> Vec<u8> {
    let written = match stub {
        Stub::Idle(inner) => inner.borrow_conn(),
        Stub::Running(inner) => inner.borrow_conn(),
        Stub::CtrlCInterrupt(inner) => inner.borrow_conn(),
        Stub::Disconnected(inner) => inner.borrow_conn(),
    };
    std::mem::take(&mut written.0)
}
