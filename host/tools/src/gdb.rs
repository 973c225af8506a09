//! A debugger at a run: the GDB remote serial protocol, by the crate gdbstub.
//!
//! A [`Debugger`] is a [`Watcher`], and knows no more of an engine than that. While the guest is held, it answers
//! packets. While the guest runs, a clock fetches the processor now and then, also out of a wait for input, to see
//! whether the debugger wants something: that is how Ctrl-C arrives.

mod address;
mod connection;
mod guest;
mod monitor;
mod registers;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use flatland_contract::status;
use gdbstub::common::Signal;
use gdbstub::conn::Connection as _;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, SingleThreadStopReason};

pub use address::{Address, AddressError};
use connection::{Connection, Listener, Received};
use guest::{Guest, Lend, Resume};

use crate::engine::{DebugStop, Engine, EngineError};
use crate::fault::{Fault, FaultKind};
use crate::kick::{self, Alarm};
use crate::outcome::Stop;
use crate::{Names, Outcome, Transfer, Watcher};

/// How sentences reach the person at the machine.
pub type Say = fn(&str);

type Machine = GdbStubStateMachine<'static, Guest, Connection>;
type StopReason = SingleThreadStopReason<u32>;

/// A debugger at a run, from the moment it connects until it goes.
pub struct Debugger {
    listener: Option<Listener>,
    /// While somebody is connected.
    machine: Option<Machine>,
    guest: Guest,
    /// What looks for packets while the guest runs.
    alarm: Alarm,
    ends: bool,
    say: Say,
}

impl fmt::Debug for Debugger {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Debugger").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
#[error(
    "nobody can connect to `{address}` ({cause}): choose another address, such as --gdb=0 for any free port"
)]
pub struct ListenError {
    address: Address,
    #[source]
    cause: io::Error,
}

impl Debugger {
    /// How often the debugger is listened to while the guest runs: what Ctrl-C may take.
    const PATIENCE: Duration = Duration::from_millis(20);

    /// Listens there. A run of at most `instructions` begins when somebody has connected and says so.
    pub fn listen(address: &Address, instructions: Option<u64>, say: Say) -> Result<Self, ListenError> {
        let listener =
            Listener::new(address).map_err(|cause| ListenError { address: address.clone(), cause })?;
        Ok(Self {
            listener: Some(listener),
            machine: None,
            guest: Guest::new(instructions, say),
            alarm: Alarm::once(),
            ends: false,
            say,
        })
    }

    /// Waits for somebody to connect.
    fn accept(&mut self) {
        // After the first one, nobody is let in.
        let Some(listener) = self.listener.take() else { return };
        match listener.accept(self.say) {
            Ok(Some(connection)) => {
                let stub = GdbStub::new(connection).run_state_machine(&mut self.guest);
                match stub {
                    Ok(machine) => self.machine = Some(machine),
                    Err(error) => self.lost(&error.to_string()),
                }
            }
            // A signal: the machine ends the run.
            Ok(None) => {}
            Err(error) => self.lost(&error.to_string()),
        }
    }

    /// Nobody is there any more, and nobody said what is to become of the run.
    fn lost(&mut self, why: &str) {
        self.machine = None;
        self.ends = true;
        (self.say)(&format!(
            "the run has ended, because the debugger is gone ({why}): connect with gdb's `target remote`, and leave the \
             guest running with `detach`"
        ));
    }

    /// Takes a byte of the debugger's.
    fn pump(&mut self, byte: u8) -> Result<(), GdbStubError<EngineError, io::Error>> {
        let Some(machine) = self.machine.take() else { return Ok(()) };
        let guest = &mut self.guest;
        let mut machine = match machine {
            Machine::Idle(inner) => inner.incoming_data(guest, byte)?,
            Machine::Running(inner) => inner.incoming_data(guest, byte)?,
            other => other,
        };
        if let Machine::CtrlCInterrupt(inner) = machine {
            machine = inner.interrupt_handled(guest, Some(StopReason::Signal(Signal::SIGINT)))?;
        }
        self.machine = Some(machine);
        Ok(())
    }

    /// Takes what has come. Whether there was anything.
    fn take(&mut self, received: Received, buffer: &[u8]) -> Result<bool, EngineError> {
        let bytes = match received {
            Received::Nothing => return Ok(false),
            Received::End => {
                self.lost("the connection was closed");
                return Ok(true);
            }
            Received::Bytes(len) => &buffer[..len],
        };
        for byte in bytes {
            let pumped = self.pump(*byte);
            self.checked(pumped)?;
        }
        let flushed = self.connection().map_or(Ok(()), |connection| connection.flush());
        if let Err(error) = flushed {
            self.lost(&error.to_string());
        }
        if let Some(Machine::Disconnected(inner)) = &self.machine {
            match inner.get_reason() {
                // Once the run is over, going is all there is to do.
                DisconnectReason::Disconnect if !self.guest.has_ended => self.guest.let_go(),
                _ => self.ends = true,
            }
            self.machine = None;
        }
        Ok(true)
    }

    /// An error of the engine's is the run's; what is wrong with packets ends the connection.
    fn checked(
        &mut self,
        result: Result<(), GdbStubError<EngineError, io::Error>>,
    ) -> Result<(), EngineError> {
        let Err(error) = result else { return Ok(()) };
        let why = error.to_string();
        match error.into_target_error() {
            Some(error) => Err(error),
            None => {
                self.lost(&why);
                Ok(())
            }
        }
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        Some(match self.machine.as_mut()? {
            Machine::Idle(inner) => inner.borrow_conn(),
            Machine::Running(inner) => inner.borrow_conn(),
            Machine::CtrlCInterrupt(inner) => inner.borrow_conn(),
            Machine::Disconnected(inner) => inner.borrow_conn(),
        })
    }

    /// Answers until the guest is to run on, or nobody is there any more.
    fn hold(&mut self) -> Result<(), EngineError> {
        let mut buffer = [0; 4096];
        while let Some(Machine::Idle(inner)) = &mut self.machine {
            if kick::terminated_by().is_some() {
                // The machine sees it, too.
                return Ok(());
            }
            let received = inner.borrow_conn().receive(&mut buffer);
            self.take(received, &buffer)?;
        }
        if self.machine.is_some() && !self.guest.has_ended {
            self.guest.set_stops();
            self.listen_again();
        }
        Ok(())
    }

    /// Has the clock ring soon.
    fn listen_again(&mut self) {
        self.alarm.answered();
        if self.alarm.set(Instant::now() + Self::PATIENCE).is_err() {
            (self.say)("no timer for Ctrl-C: raise the limit of pending signals with `ulimit -i`");
        }
    }

    /// Tells the debugger that the guest has stopped, and holds it, if it has not ended.
    fn report(&mut self, reason: StopReason) -> Result<(), EngineError> {
        let Some(Machine::Running(_)) = &self.machine else { return Ok(()) };
        let Some(Machine::Running(inner)) = self.machine.take() else { return Ok(()) };
        let reported = inner.report_stop(&mut self.guest, reason).map(|machine| self.machine = Some(machine));
        self.checked(reported)?;
        self.hold()
    }

    /// Whether a step goes on: gdb wants to hear of the end of a line only, or of a breakpoint before it.
    fn goes_on(&mut self) -> Result<bool, EngineError> {
        let Resume::Range(start, end) = self.guest.resume else { return Ok(false) };
        let eip = self.guest.engine().registers()?.eip;
        Ok((start..end).contains(&eip) && self.guest.breakpoint_at(eip).is_none())
    }

    fn on_stop(&mut self, stop: DebugStop) -> Result<(), EngineError> {
        let reason = match stop {
            DebugStop::Step if self.goes_on()? => return Ok(()),
            DebugStop::Step | DebugStop::InstructionLimit => StopReason::DoneStep,
            DebugStop::Breakpoint => {
                let eip = self.guest.engine().registers()?.eip;
                match self.guest.breakpoint_at(eip) {
                    Some(false) => StopReason::HwBreak(()),
                    _ => StopReason::SwBreak(()),
                }
            }
            DebugStop::Watchpoint { address, access } => {
                StopReason::Watch { tid: (), kind: self.guest.watchpoint_at(address, access), addr: address }
            }
        };
        self.report(reason)
    }

    fn on_kick(&mut self) -> Result<(), EngineError> {
        let mut buffer = [0; 4096];
        while let Some(Machine::Running(inner)) = &mut self.machine {
            let received = inner.borrow_conn().receive_at_once(&mut buffer);
            if !self.take(received, &buffer)? {
                self.listen_again();
                return Ok(());
            }
        }
        self.hold()
    }

    fn on_end(&mut self, outcome: &Outcome) -> Result<(), EngineError> {
        self.guest.has_ended = true;
        // So that the registers are those of the place.
        self.guest.engine().location()?;
        if let Some(signal) = signal(outcome) {
            let message = match outcome {
                Outcome::Exited(_) => Some("the guest has panicked".into()),
                outcome => outcome.message(&Names::default()),
            };
            if let (Some(connection), Some(message)) = (self.connection(), message) {
                connection.show(&format!("flatland: {message}\n"));
            }
            self.report(StopReason::SignalWithThread { tid: (), signal })?;
        }
        self.report(StopReason::Exited(outcome.status()))
    }
}

/// The signal that a system with signals would send, where there is something to look at.
fn signal(outcome: &Outcome) -> Option<Signal> {
    Some(match outcome {
        Outcome::Fault(Fault { kind, .. }) => match kind {
            // As Linux has it (arch/x86/kernel/traps.c).
            FaultKind::Exception { vector: 0 | 16 | 19, .. } => Signal::SIGFPE,
            FaultKind::Exception { vector: 1 | 3, .. } => Signal::SIGTRAP,
            FaultKind::Exception { vector: 6, .. } | FaultKind::Unsupported { .. } => Signal::SIGILL,
            FaultKind::Exception { vector: 11 | 12 | 17, .. } => Signal::SIGBUS,
            // No such device.
            FaultKind::Port { .. } => Signal::SIGSYS,
            FaultKind::TripleFault => Signal::SIGABRT,
            FaultKind::Exception { .. }
            | FaultKind::OutsideRam { .. }
            | FaultKind::ReadOnly { .. }
            | FaultKind::StackOverflow { .. }
            | FaultKind::Hole { .. } => Signal::SIGSEGV,
        },
        Outcome::Exited(status::PANIC) => Signal::SIGABRT,
        Outcome::Stopped(Stop::TimeLimit(_) | Stop::InstructionLimit(_), _) => Signal::SIGXCPU,
        Outcome::Stopped(Stop::Signal(_) | Stop::Debugger | Stop::Input, _)
        | Outcome::Halted
        | Outcome::EndOfInput
        | Outcome::Exited(_)
        | Outcome::OutputClosed => return None,
    })
}

impl Lend for Debugger {
    fn guest(&mut self) -> &mut Guest {
        &mut self.guest
    }
}

impl Watcher for Debugger {
    const WANTS_TRANSFERS: bool = true;
    const HOLDS: bool = true;

    fn begins(&mut self, engine: &mut dyn Engine) -> Result<(), EngineError> {
        self.lend(engine, |debugger| {
            debugger.accept();
            debugger.hold()
        })
    }

    fn stopped(&mut self, engine: &mut dyn Engine, stop: DebugStop) -> Result<(), EngineError> {
        self.lend(engine, |debugger| debugger.on_stop(stop))
    }

    fn transferred(&mut self, _: &mut dyn Engine, transfer: &Transfer) -> Result<(), EngineError> {
        self.guest.stats.count(transfer.port, transfer.direction, transfer.data.len());
        Ok(())
    }

    fn kicked(&mut self, engine: &mut dyn Engine) -> Result<(), EngineError> {
        self.lend(engine, Self::on_kick)
    }

    fn ends(&self) -> bool {
        self.ends
    }

    fn ended(&mut self, engine: &mut dyn Engine, outcome: &Outcome) -> Result<(), EngineError> {
        self.lend(engine, |debugger| debugger.on_end(outcome))
    }
}
