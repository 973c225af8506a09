//! A debugger at a run: the GDB remote serial protocol, by the crate gdbstub.
//!
//! A [`Debugger`] is an [`Observer`] like any other. While it holds the guest, it answers packets; while the guest runs,
//! it looks for packets each time [`Event::Clock`] comes, also during a wait for input: that is how gdb's Ctrl-C arrives.
//!
//! gdbstub wants to own its target for as long as a debugger is connected, and a run belongs to whoever resumes it. So the
//! target has a small machine of its own, and for the length of one event the two are swapped.

mod address;
mod connection;
mod guest;
mod monitor;
mod registers;

use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::time::Duration;

use flatland_contract::status;
use flatland_machine::{Event, Machine, Outcome, RunError, Stop, Stopped, Wants};
use flatland_x86::{EngineError, Fault, FaultKind};
use gdbstub::common::Signal;
use gdbstub::conn::Connection as _;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError, SingleThreadStopReason};

pub use address::{Address, AddressError};
use connection::{Connection, Listener, Received};
use guest::{Guest, Resume};

use crate::words::{self, Names};
use crate::{Observer, Verdict};

/// How sentences reach the person at the machine.
pub type Say = fn(&str);

type Session = GdbStubStateMachine<'static, Guest, Connection>;
type StopReason = SingleThreadStopReason<u32>;

/// A debugger at a run. It may go and come back.
///
/// ```no_run
/// use flatland_machine::{EngineChoice, Machine, Program};
/// use flatland_tools::gdb::{Address, Debugger};
/// use flatland_tools::observe;
///
/// let program = Program::open("target/guest/hello.bin")?;
/// let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program)?;
/// let mut debugger = Debugger::listen(&Address::default(), |sentence| eprintln!("{sentence}"))?;
/// observe(&mut machine, &mut [&mut debugger])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Debugger {
    listener: Listener,
    /// While somebody is connected.
    session: Option<Session>,
    guest: Guest,
    /// Whether the guest stays where it is while nobody is connected.
    holds: bool,
    /// Whether somebody said that the run is to end.
    ends: bool,
    say: Say,
}

impl fmt::Debug for Debugger {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Debugger").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// Why nobody can connect.
#[derive(Debug)]
pub struct ListenError {
    address: Address,
    cause: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { address, cause } = self;
        write!(
            f,
            "nobody can connect to `{address}` ({cause}): choose another address, such as --gdb=0 for any free port"
        )
    }
}

impl Error for ListenError {}

impl Debugger {
    /// How often the debugger is listened to while the guest runs: what Ctrl-C may take.
    const PATIENCE: Duration = Duration::from_millis(20);

    /// How long a reader that does not read delays the debugger.
    const FLUSH_BEFORE_HOLDING: Duration = Duration::from_millis(100);

    /// Listens there. The run begins when somebody has connected and says so.
    pub fn listen(address: &Address, say: Say) -> Result<Self, ListenError> {
        let listener =
            Listener::new(address).map_err(|cause| ListenError { address: address.clone(), cause })?;
        Ok(Self { listener, session: None, guest: Guest::new(say), holds: true, ends: false, say })
    }

    /// Works with the machine that is being observed as its own.
    fn with<R>(&mut self, machine: &mut Machine, work: impl FnOnce(&mut Self) -> R) -> R {
        mem::swap(machine, &mut self.guest.machine);
        let result = work(self);
        mem::swap(machine, &mut self.guest.machine);
        result
    }

    /// Lets somebody in who is waiting to connect. Whether there was somebody.
    fn let_in(&mut self) -> bool {
        let connected = match self.listener.try_accept() {
            Ok(Some(connection)) => self.begin(connection),
            Ok(None) => return false,
            Err(error) => Err(error.to_string()),
        };
        connected.unwrap_or_else(|why| self.lost(&why));
        self.session.is_some()
    }

    fn begin(&mut self, connection: Connection) -> Result<(), String> {
        let stub = GdbStub::new(connection).run_state_machine(&mut self.guest);
        self.session = Some(stub.map_err(|error| error.to_string())?);
        // Whoever comes finds the guest standing still, and asks where.
        self.holds = true;
        Ok(())
    }

    /// Nobody is there any more, and nobody said what is to become of the run.
    fn lost(&mut self, why: &str) {
        self.session = None;
        if self.listener.can_be_reached() {
            (self.say)(&format!(
                "the debugger is gone ({why}), and the guest waits for the next one: connect again with gdb's `target \
                 remote`, or end the run with Ctrl-C"
            ));
        } else {
            self.ends = true;
            (self.say)(&format!(
                "the run has ended, because the debugger is gone ({why}): leave the guest running with gdb's `detach`"
            ));
        }
    }

    /// Takes a byte of the debugger's.
    fn pump(&mut self, byte: u8) -> Result<(), GdbStubError<EngineError, io::Error>> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let guest = &mut self.guest;
        let mut session = match session {
            Session::Idle(inner) => inner.incoming_data(guest, byte)?,
            Session::Running(inner) => inner.incoming_data(guest, byte)?,
            other => other,
        };
        if let Session::CtrlCInterrupt(inner) = session {
            session = inner.interrupt_handled(guest, Some(StopReason::Signal(Signal::SIGINT)))?;
        }
        self.session = Some(session);
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
            let again = self.connection().and_then(|connection| connection.try_clone().ok());
            self.guest.answered = 0;
            let pumped = self.pump(*byte);
            self.checked(pumped, again)?;
        }
        let flushed = self.connection().map_or(Ok(()), |connection| connection.flush());
        if let Err(error) = flushed {
            self.lost(&error.to_string());
        }
        if let Some(Session::Disconnected(inner)) = &self.session {
            match inner.get_reason() {
                DisconnectReason::Disconnect => {
                    self.guest.let_go();
                    self.holds = false;
                }
                _ => self.ends = true,
            }
            self.session = None;
        }
        Ok(true)
    }

    /// An error of the engine's is the run's. One of the packet's is answered, and the next packet is another one: gdbstub
    /// has given up, so `again` is for a new stub.
    fn checked(
        &mut self,
        result: Result<(), GdbStubError<EngineError, io::Error>>,
        again: Option<Connection>,
    ) -> Result<(), EngineError> {
        let Err(error) = result else { return Ok(()) };
        if error.is_connection_error() {
            self.lost(&error.to_string());
            return Ok(());
        }
        let why = error.to_string();
        match (error.into_target_error(), again) {
            (Some(error), _) => Err(error),
            (None, Some(mut connection)) => {
                connection.refuse_packet();
                self.begin(connection).unwrap_or_else(|why| self.lost(&why));
                Ok(())
            }
            (None, None) => {
                self.lost(&why);
                Ok(())
            }
        }
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        Some(match self.session.as_mut()? {
            Session::Idle(inner) => inner.borrow_conn(),
            Session::Running(inner) => inner.borrow_conn(),
            Session::CtrlCInterrupt(inner) => inner.borrow_conn(),
            Session::Disconnected(inner) => inner.borrow_conn(),
        })
    }

    /// Answers until the guest is to run on. An interrupt from outside makes it run on, too: then the run ends.
    fn hold(&mut self) -> Result<(), EngineError> {
        let mut buffer = [0; 4096];
        // What it has sent is to be seen while it stands still. Where it cannot be, the run's own flush says so.
        let _ = self.guest.machine.flush_within(Self::FLUSH_BEFORE_HOLDING);
        while !self.ends && !self.guest.machine.is_interrupted() {
            match &mut self.session {
                Some(Session::Idle(inner)) => {
                    let received = inner.borrow_conn().receive(&mut buffer);
                    self.take(received, &buffer)?;
                }
                Some(_) => return Ok(()),
                None if self.holds => {
                    if !self.let_in() {
                        self.listener.wait(self.say);
                    }
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Tells the debugger that the guest has stopped, and holds it.
    fn report(&mut self, reason: StopReason) -> Result<(), EngineError> {
        let Some(Session::Running(inner)) =
            self.session.take_if(|session| matches!(session, Session::Running(_)))
        else {
            return self.hold();
        };
        let reported = inner.report_stop(&mut self.guest, reason).map(|session| self.session = Some(session));
        self.checked(reported, None)?;
        self.hold()
    }

    /// Looks at what of a stop the debugger wanted: others may want other stops.
    fn on_stop(&mut self, stopped: &Stopped) -> Result<(), EngineError> {
        let eip = self.guest.machine.registers()?.eip;
        let breakpoint = self.guest.breakpoint_at(eip).filter(|_| stopped.breakpoint);
        let watched =
            stopped.watchpoint.and_then(|(address, access)| self.guest.watchpoint_at(address, access));
        let steps = match self.guest.resume {
            Resume::Continue => false,
            Resume::Step => stopped.stepped,
            // gdb wants to hear of the end of a line only.
            Resume::Range(start, end) => stopped.stepped && !(start..end).contains(&eip),
        };
        let reason = match (watched, breakpoint) {
            (Some((address, kind)), _) => StopReason::Watch { tid: (), kind, addr: address },
            (None, Some(true)) => StopReason::SwBreak(()),
            (None, Some(false)) => StopReason::HwBreak(()),
            (None, None) if steps => StopReason::DoneStep,
            (None, None) => return Ok(()),
        };
        self.report(reason)
    }

    /// The guest runs: does the debugger want anything, or is there one?
    fn on_clock(&mut self) -> Result<(), EngineError> {
        let mut buffer = [0; 4096];
        if self.session.is_none() && !self.let_in() {
            return Ok(());
        }
        while let Some(Session::Running(inner)) = &mut self.session {
            let received = inner.borrow_conn().receive_at_once(&mut buffer);
            if !self.take(received, &buffer)? {
                return Ok(());
            }
        }
        self.hold()
    }

    /// The run has ended. A guest that faulted or was stopped by a limit may go on from registers that are set anew.
    fn on_end(&mut self, outcome: &Outcome) -> Result<bool, EngineError> {
        self.guest.was_changed = false;
        if self.session.is_none() || matches!(outcome, Outcome::Stopped(Stop::Interrupted, _)) {
            return Ok(false);
        }
        // So that the registers are those of the place.
        self.guest.machine.location()?;
        if let Some(signal) = signal(outcome) {
            let message = match outcome {
                Outcome::Exited(_) => Some("the guest has panicked".into()),
                outcome => words::outcome(outcome, &Names::default()),
            };
            if let (Some(connection), Some(message)) = (self.connection(), message) {
                connection.show(&format!("flatland: {message}\n"));
            }
            self.report(StopReason::SignalWithThread { tid: (), signal })?;
            if self.guest.was_changed && !self.ends && !self.guest.machine.is_interrupted() {
                return Ok(true);
            }
        }
        self.holds = false;
        self.report(StopReason::Exited(outcome.status()))?;
        Ok(false)
    }

    fn verdict(&self) -> Verdict {
        if self.ends { Verdict::End(Stop::Debugger) } else { Verdict::Continue }
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
            _ => Signal::SIGSEGV,
        },
        Outcome::Exited(status::PANIC) => Signal::SIGABRT,
        Outcome::Stopped(Stop::TimeLimit(_) | Stop::InstructionLimit(_), _) => Signal::SIGXCPU,
        _ => return None,
    })
}

impl Observer for Debugger {
    fn begins(&mut self, machine: &mut Machine) -> Result<Verdict, RunError> {
        self.with(machine, Self::hold)?;
        Ok(self.verdict())
    }

    fn wants(&self) -> Wants {
        Wants { clock: Some(Self::PATIENCE), ..self.guest.wants() }
    }

    fn observe(&mut self, machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
        let is_revived = self.with(machine, |debugger| {
            match event {
                Event::Stopped(stopped) => debugger.on_stop(stopped)?,
                Event::Clock => debugger.on_clock()?,
                Event::Ended(outcome) => return debugger.on_end(outcome),
                _ => {}
            }
            Ok(false)
        })?;
        Ok(if is_revived && !self.ends { Verdict::Revive } else { self.verdict() })
    }
}
