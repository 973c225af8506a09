//! Answers packets with gdbstub.
//!
//! A stub lives for one packet. It borrows the machine only for that time, and a packet that it refuses ends only
//! this stub. A stub must know two things from earlier packets: the debugger's features, which it sends once, and
//! that it waits for the guest to stop. So each stub is first given those packets.

use std::convert::Infallible;

use flatland_x86::EngineError;
use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, SingleThreadStopReason};

use super::guest::Guest;
use super::packets::{self, PACKET_SIZE, packet};

/// Why the guest stopped.
pub type StopReason = SingleThreadStopReason<u32>;

/// How the run continues after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// The guest stays as it is.
    Nothing,
    /// The guest runs.
    Run,
    /// The guest runs, and the debugger disconnects.
    Detach,
    /// The run ends.
    Kill,
}

/// The debugger's features: the packets in which it sent them.
#[derive(Clone, Debug, Default)]
pub struct Features(Vec<Vec<u8>>);

/// The packet with the features.
const SUPPORTED: &[u8] = b"qSupported";

/// The packet that ends acknowledgments. It is the last one to be acknowledged.
const NO_ACKNOWLEDGMENTS: &[u8] = b"QStartNoAckMode";

/// The bytes that a stub writes.
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
    /// The answer to a packet, and how the run continues. A packet that gdbstub cannot read is answered with an
    /// error.
    pub fn answer(
        &mut self,
        body: Vec<u8>,
        guest: &mut Guest,
    ) -> Result<(Vec<u8>, Continuation), EngineError> {
        match self.try_to_answer(packets::limit_memory_request(body), guest) {
            Ok(answer) => Ok(answer),
            Err(error) => match error.into_target_error() {
                Some(error) => Err(error),
                None => Ok((self.refusal(), Continuation::Nothing)),
            },
        }
    }

    fn try_to_answer(&mut self, body: Vec<u8>, guest: &mut Guest) -> Result<(Vec<u8>, Continuation), Error> {
        let mut stub = feed(self.stub(guest)?, guest, &body)?;
        let then = match &stub {
            Stub::Running(_) => Continuation::Run,
            Stub::Disconnected(inner) => match inner.get_reason() {
                DisconnectReason::Kill => Continuation::Kill,
                _ => Continuation::Detach,
            },
            Stub::Idle(_) | Stub::CtrlCInterrupt(_) => Continuation::Nothing,
        };
        for packet in [SUPPORTED, NO_ACKNOWLEDGMENTS] {
            if body.starts_with(packet) {
                self.0.retain(|other| !other.starts_with(packet));
                self.0.push(body.clone());
            }
        }
        Ok((written(&mut stub), then))
    }

    /// The packet that reports why the guest stopped.
    pub fn stop_reply(&self, reason: StopReason, guest: &mut Guest) -> Result<Vec<u8>, EngineError> {
        self.try_to_report(reason, guest).map_err(|error| {
            error.into_target_error().expect("nothing else fails where nothing comes from outside")
        })
    }

    fn try_to_report(&self, reason: StopReason, guest: &mut Guest) -> Result<Vec<u8>, Error> {
        // gdbstub reports a stop only after a resume packet.
        let mut stub = feed(self.stub(guest)?, guest, b"c")?;
        written(&mut stub);
        let Stub::Running(inner) = stub else { return Ok(Vec::new()) };
        Ok(written(&mut inner.report_stop(guest, reason)?))
    }

    /// A stub that knows gdb's features.
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

    /// The answer to a well-formed packet that was not understood: EINVAL, by its number in gdb's manual.
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

/// Takes the bytes that a stub has written since the last call.
fn written(stub: &mut Stub) -> Vec<u8> {
    let written = match stub {
        Stub::Idle(inner) => inner.borrow_conn(),
        Stub::Running(inner) => inner.borrow_conn(),
        Stub::CtrlCInterrupt(inner) => inner.borrow_conn(),
        Stub::Disconnected(inner) => inner.borrow_conn(),
    };
    std::mem::take(&mut written.0)
}
