//! A debugger at a run: the GDB remote serial protocol, by the crate gdbstub.
//!
//! A [`Debugger`] is an [`Observer`]. While it holds the guest, it does not return from a call, and answers packets. While
//! the guest runs, it wants the clock, to see whether the debugger wants something: that is how Ctrl-C arrives.
//!
//! gdbstub's own loop would keep a stub from packet to packet, and with it a target, which is the machine. But the machine
//! is lent, for one call at a time, and gdbstub's stub is lost with the first packet that it does not understand. So each
//! packet has a stub of its own: see [`stub`].

mod address;
mod connection;
mod guest;
mod monitor;
mod packets;
mod registers;
mod signal;
mod stub;

use std::error::Error;
use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use flatland_machine::{Event, Machine, Outcome, RunError, Stop, Stopped, StreamError, Wants};
use gdbstub::common::Signal;

pub use address::{Address, AddressError};
use connection::{Connection, Listener, Received};
use guest::{Guest, Resume, State};
use packets::{Message, Packets};
use signal::signal;
use stub::{Features, StopReason, Then};

use crate::words::{self, Names};
use crate::{Observer, Verdict};

/// How sentences reach the person at the machine.
pub type Say = fn(&str);

/// Lets debuggers come to a run, one at a time, as often as they like.
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
    client: Option<Client>,
    /// Who wants to be let in, until it is known whether the one before is still there.
    newcomer: Option<Connection>,
    state: State,
    /// The guest waits for what the debugger says.
    is_held: bool,
    /// The run is to end.
    ends: bool,
    /// The run has ended, and there is still something to look at.
    has_ended: bool,
    /// Ctrl-C has come while the guest was held: it stops as soon as it runs.
    is_interrupted: bool,
    /// When to see next whether the debugger wants something.
    look_at: Instant,
    /// When to tell that somebody is waited for, if that is still to be told.
    tell_at: Option<Instant>,
}

/// A debugger that is there.
#[derive(Debug)]
struct Client {
    connection: Connection,
    packets: Packets,
    features: Features,
    /// The packet that was sent last, for a debugger that has not understood it.
    last: Vec<u8>,
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

    /// A wait that somebody wonders about.
    const LONG: Duration = Duration::from_secs(2);

    /// How long the guest's reader may take to read what the guest has sent when it stops.
    const LONGEST_FLUSH: Duration = Duration::from_millis(100);

    /// How long the debugger may take to acknowledge the last packet.
    const LONGEST_ACKNOWLEDGMENT: Duration = Duration::from_secs(1);

    /// Listens there. The run begins when somebody has connected and says so.
    pub fn listen(address: &Address, say: Say) -> Result<Self, ListenError> {
        let listener =
            Listener::new(address).map_err(|cause| ListenError { address: address.clone(), cause })?;
        Ok(Self {
            listener,
            client: None,
            newcomer: None,
            state: State::new(say),
            is_held: true,
            ends: false,
            has_ended: false,
            is_interrupted: false,
            look_at: Instant::now(),
            tell_at: None,
        })
    }

    /// Lets somebody in. The guest is held from now on.
    fn let_in(&mut self, connection: Connection) {
        self.client = Some(Client {
            connection,
            packets: Packets::default(),
            features: Features::default(),
            last: Vec::new(),
        });
        // What the one before wanted.
        self.state.let_go();
        self.is_held = true;
        self.is_interrupted = false;
        self.tell_at = None;
    }

    /// Nobody is there any more, and nobody said what is to become of the run.
    fn lost(&mut self, why: &str) {
        self.client = None;
        self.is_held = true;
        let address = self.listener.address();
        let sentence = match address.ok().filter(|_| self.listener.can_be_reached()) {
            Some(address) => format!(
                "the debugger is gone ({why}), and the guest waits for the next one: connect again with gdb's `target \
                 remote {address}`, or end the run with Ctrl-C"
            ),
            None => {
                self.ends = true;
                format!(
                    "the run has ended, because the debugger is gone ({why}): leave the guest running with gdb's `detach`"
                )
            }
        };
        (self.state.say)(&sentence);
    }

    /// Sends this, if somebody is there.
    fn send(&mut self, machine: &Machine, bytes: Vec<u8>) {
        let Some(client) = &mut self.client else { return };
        let sent = client.connection.send(&bytes, machine);
        if bytes.contains(&b'$') {
            client.last = bytes;
        }
        if let Err(error) = sent {
            self.lost(&error.to_string());
        }
    }

    /// Closes the connection, when all is said.
    fn leave(&mut self) {
        let Some(mut client) = self.client.take().filter(|client| client.features.acknowledges()) else {
            return;
        };
        // It could not acknowledge what was sent last, and would tell of an error.
        let end = Instant::now() + Self::LONGEST_ACKNOWLEDGMENT;
        while matches!(client.connection.receive(&mut [0; 16]), Received::Nothing) && Instant::now() < end {}
    }

    /// Tells the debugger that the guest has stopped, and holds the guest.
    fn report(&mut self, machine: &mut Machine, reason: StopReason) -> Result<(), RunError> {
        self.is_held = true;
        let Some(client) = &self.client else { return Ok(()) };
        let reply = client.features.stop_reply(reason, &mut Guest { machine, state: &mut self.state })?;
        self.send(machine, reply);
        Ok(())
    }

    /// Does what a message asks for.
    fn take(&mut self, machine: &mut Machine, message: Message) -> Result<Then, RunError> {
        let Some(client) = &mut self.client else { return Ok(Then::Nothing) };
        let mut then = Then::Nothing;
        match message {
            Message::Packet(body) => {
                let answer;
                let mut guest = Guest { machine, state: &mut self.state };
                (answer, then) = client.features.answer(body, &mut guest)?;
                self.send(machine, answer);
            }
            Message::Damaged if client.features.acknowledges() => self.send(machine, b"-".to_vec()),
            Message::Damaged | Message::TooLong => {
                let refusal = client.features.refusal();
                self.send(machine, refusal);
            }
            Message::Nack => {
                let last = client.last.clone();
                self.send(machine, last);
            }
            Message::Interrupt if self.is_held => self.is_interrupted = true,
            Message::Interrupt => self.report(machine, StopReason::Signal(Signal::SIGINT))?,
        }
        Ok(then)
    }

    /// Takes what has come.
    fn take_all(&mut self, machine: &mut Machine, bytes: &[u8]) -> Result<(), RunError> {
        for byte in bytes {
            let message = self.client.as_mut().and_then(|client| client.packets.take(*byte));
            let Some(message) = message else { continue };
            match self.take(machine, message)? {
                Then::Nothing => {}
                // It has gone after that, and the guest is held.
                Then::Run if self.client.is_none() => {}
                Then::Run if self.is_interrupted => {
                    self.is_interrupted = false;
                    self.report(machine, StopReason::Signal(Signal::SIGINT))?;
                }
                Then::Run => self.is_held = false,
                Then::Detach => {
                    self.leave();
                    self.state.let_go();
                    self.is_held = false;
                }
                Then::Kill => {
                    self.leave();
                    self.is_held = true;
                    self.ends = true;
                }
            }
        }
        Ok(())
    }

    /// Takes what comes now. Whether anything came.
    fn receive(
        &mut self,
        machine: &mut Machine,
        receive: fn(&mut Connection, &mut [u8]) -> Received,
    ) -> Result<bool, RunError> {
        if self.newcomer.is_none() {
            // Where that fails, it may go better next time: a person can end the run.
            self.newcomer = self.listener.accept().unwrap_or_default();
        }
        let mut buffer = [0; 4096];
        match self.client.as_mut().map(|client| receive(&mut client.connection, &mut buffer)) {
            Some(Received::Bytes(len)) => self.take_all(machine, &buffer[..len])?,
            Some(Received::End) => self.lost("the connection was closed"),
            Some(Received::Nothing) => {
                // One at a time: the connection is closed.
                self.newcomer = None;
                return Ok(false);
            }
            None => match self.newcomer.take() {
                Some(newcomer) => self.let_in(newcomer),
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Answers until the guest is to run on or to end, or the run is interrupted.
    fn hold(&mut self, machine: &mut Machine) -> Result<Verdict, RunError> {
        match machine.flush_within(Self::LONGEST_FLUSH) {
            // The run sees it, too.
            Ok(()) | Err(StreamError::Closed) => {}
            Err(error) => return Err(error.into()),
        }
        while self.is_held && !self.ends && !machine.is_interrupted() {
            if !self.receive(machine, Connection::receive)? && self.client.is_none() {
                self.tell_of_the_wait();
                thread::sleep(Self::PATIENCE / 2);
            }
        }
        self.look_at = Instant::now() + Self::PATIENCE;
        // How a run has ended stays so.
        Ok(if self.ends && !self.has_ended { Verdict::End(Stop::Debugger) } else { Verdict::Continue })
    }

    fn tell_of_the_wait(&mut self) {
        if self.tell_at.is_some_and(|at| Instant::now() >= at)
            && let Ok(address) = self.listener.address()
        {
            (self.state.say)(&format!("waiting for gdb: `target remote {address}`"));
            self.tell_at = None;
        }
    }

    /// Sees whether the debugger wants something of a guest that runs.
    fn look(&mut self, machine: &mut Machine) -> Result<Verdict, RunError> {
        self.look_at = Instant::now() + Self::PATIENCE;
        while !self.is_held {
            if !self.receive(machine, Connection::receive_at_once)? {
                return Ok(Verdict::Continue);
            }
        }
        self.hold(machine)
    }

    /// Whether the debugger wants to hear of this stop, which may be another's.
    fn reason(&self, machine: &mut Machine, stopped: &Stopped) -> Result<Option<StopReason>, RunError> {
        if let Some((address, access)) = stopped.watchpoint
            && let Some(kind) = self.state.watchpoint_at(address, access)
        {
            return Ok(Some(StopReason::Watch { tid: (), kind, addr: address }));
        }
        let eip = machine.registers()?.eip;
        let breakpoint = self.state.breakpoint_at(eip).map(|is_software| match is_software {
            true => StopReason::SwBreak(()),
            false => StopReason::HwBreak(()),
        });
        Ok(match self.state.resume {
            // gdb wants to hear of the end of a line only, or of a breakpoint before it.
            Resume::Range(start, end) if (start..end).contains(&eip) => breakpoint,
            Resume::Step | Resume::Range(..) if stopped.stepped => Some(StopReason::DoneStep),
            _ => breakpoint,
        })
    }

    fn on_end(&mut self, machine: &mut Machine, outcome: &Outcome) -> Result<Verdict, RunError> {
        if self.is_held || self.client.is_none() {
            return Ok(Verdict::Continue);
        }
        // So that the registers are those of the place.
        machine.location()?;
        if let Some(signal) = signal(outcome) {
            let message = match outcome {
                Outcome::Exited(_) => Some("the guest has panicked".into()),
                outcome => words::outcome(outcome, &Names::default()),
            };
            if let Some(message) = message {
                self.send(machine, packets::console(&format!("flatland: {message}\n")));
            }
            self.has_ended = true;
            self.state.has_changed = false;
            self.report(machine, StopReason::SignalWithThread { tid: (), signal })?;
            let verdict = self.hold(machine)?;
            self.has_ended = false;
            if self.is_held {
                return Ok(verdict);
            }
            if self.state.has_changed {
                // Takes the end back, also where only memory was changed.
                let registers = machine.registers()?;
                machine.set_registers(&registers)?;
                return Ok(Verdict::Revive);
            }
        }
        if let Some(client) = &mut self.client {
            let reason = StopReason::Exited(outcome.status());
            let reply = client.features.stop_reply(reason, &mut Guest { machine, state: &mut self.state })?;
            // Who has gone need not know any more.
            let _ = client.connection.send(&reply, machine);
            self.leave();
        }
        Ok(Verdict::Continue)
    }
}

impl Observer for Debugger {
    fn begins(&mut self, machine: &mut Machine) -> Result<Verdict, RunError> {
        let wait = if self.listener.is_told_at_once() { Duration::ZERO } else { Self::LONG };
        self.tell_at = Some(Instant::now() + wait);
        self.hold(machine)
    }

    fn wants(&self) -> Wants {
        let mut wants = self.state.wants();
        // Nothing is under way then where registers are changed.
        wants.transfers = true;
        // Others may want other times, and more events.
        wants.clock = Some(self.look_at.saturating_duration_since(Instant::now()));
        wants
    }

    fn observe(&mut self, machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
        if let Event::Ended(outcome) = event {
            return self.on_end(machine, outcome);
        }
        if let Event::Stopped(stopped) = event
            && self.client.is_some()
            && let Some(reason) = self.reason(machine, stopped)?
        {
            self.report(machine, reason)?;
            return self.hold(machine);
        }
        if Instant::now() >= self.look_at { self.look(machine) } else { Ok(Verdict::Continue) }
    }
}
