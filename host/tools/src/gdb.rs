//! A debugger for a run: the GDB remote serial protocol, with the crate gdbstub.
//!
//! A [`Debugger`] is an [`Observer`]. While it holds the guest, its call does not return, and it answers packets.
//! While the guest runs, it requests clock events to check for packets: that is how Ctrl-C arrives.
//!
//! gdbstub's own loop keeps a stub from packet to packet, and the stub keeps its target, which is the machine. But
//! the machine is borrowed for one call at a time, and a stub is lost with the first packet that it cannot read. So
//! each packet gets a stub of its own: see `stub.rs`.

mod address;
mod connection;
mod guest;
mod monitor;
mod packets;
mod past;
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
use stub::{Continuation, Features, StopReason};

use past::Move;

use crate::timeline::Timeline;
use crate::words::{self, Names};
use crate::{Observer, Verdict};

/// Prints a message to the user of the host program.
pub type Say = fn(&str);

/// Lets debuggers connect to a run, one at a time, any number of times.
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
    /// A second debugger. It is accepted once the connection of the first one is known to be closed.
    next_client: Option<Connection>,
    state: State,
    /// The guest is stopped, until the debugger resumes it.
    is_held: bool,
    /// The debugger has requested the end of the run.
    ends: bool,
    /// The run has ended for this reason, and the debugger examines the final state.
    end: Option<StopReason>,
    /// The run's past, on the soft engine.
    timeline: Option<Timeline>,
    /// The guest runs in the past.
    in_the_past: Option<Move>,
    /// Ctrl-C came while the guest was held: the guest stops as soon as it is resumed.
    is_interrupted: bool,
    /// When to check for packets next.
    poll_at: Instant,
    /// When to print that the run waits for a debugger, if that has not been printed.
    announce_at: Option<Instant>,
}

/// A connected debugger.
#[derive(Debug)]
struct Client {
    connection: Connection,
    packets: Packets,
    features: Features,
    /// The last packet, for retransmission.
    last: Vec<u8>,
}

impl fmt::Debug for Debugger {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Debugger").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// Why no debugger can connect.
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
    /// How often to check for packets while the guest runs. It limits the delay of Ctrl-C.
    const POLL_EVERY: Duration = Duration::from_millis(20);

    /// How long to wait for a debugger before printing how to connect.
    const ANNOUNCE_AFTER: Duration = Duration::from_secs(2);

    /// The time limit for writing the guest's output when the guest stops.
    const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

    /// The time limit for the acknowledgment of the last packet.
    const ACKNOWLEDGMENT_TIMEOUT: Duration = Duration::from_secs(1);

    /// Listens at this address. The run begins when a debugger has connected and resumes the guest.
    pub fn listen(address: &Address, say: Say) -> Result<Self, ListenError> {
        let listener =
            Listener::new(address).map_err(|cause| ListenError { address: address.clone(), cause })?;
        Ok(Self {
            listener,
            client: None,
            next_client: None,
            state: State::new(say),
            is_held: true,
            ends: false,
            end: None,
            timeline: None,
            in_the_past: None,
            is_interrupted: false,
            poll_at: Instant::now(),
            announce_at: None,
        })
    }

    /// Accepts a debugger. The guest is held from now on.
    fn accept(&mut self, connection: Connection) {
        self.client = Some(Client {
            connection,
            packets: Packets::default(),
            features: Features::default(),
            last: Vec::new(),
        });
        // Removes the breakpoints of the previous debugger.
        self.state.remove_stops();
        self.is_held = true;
        self.is_interrupted = false;
        self.announce_at = None;
    }

    /// The debugger disconnected without resuming or ending the run.
    fn on_disconnect(&mut self, why: &str) {
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

    /// Sends bytes, if a debugger is connected.
    fn send(&mut self, machine: &Machine, bytes: Vec<u8>) {
        let Some(client) = &mut self.client else { return };
        let sent = client.connection.send(&bytes, machine);
        if bytes.contains(&b'$') {
            client.last = bytes;
        }
        if let Err(error) = sent {
            self.on_disconnect(&error.to_string());
        }
    }

    /// Closes the connection, after the last packet was acknowledged.
    fn disconnect(&mut self) {
        let Some(mut client) = self.client.take().filter(|client| client.features.acknowledges()) else {
            return;
        };
        // If the connection closes before the debugger acknowledges, it reports an error.
        let end = Instant::now() + Self::ACKNOWLEDGMENT_TIMEOUT;
        while matches!(client.connection.receive(&mut [0; 16]), Received::Nothing) && Instant::now() < end {}
    }

    /// Reports a stop to the debugger, and holds the guest.
    fn report(&mut self, machine: &mut Machine, reason: StopReason) -> Result<(), RunError> {
        self.is_held = true;
        let Some(client) = &self.client else { return Ok(()) };
        let mut guest = Guest { machine, state: &mut self.state, timeline: self.timeline.as_mut() };
        let reply = client.features.stop_reply(reason, &mut guest)?;
        self.send(machine, reply);
        Ok(())
    }

    /// Handles a message.
    fn handle(&mut self, machine: &mut Machine, message: Message) -> Result<Continuation, RunError> {
        let Some(client) = &mut self.client else { return Ok(Continuation::Nothing) };
        let mut then = Continuation::Nothing;
        match message {
            Message::Packet(body) => {
                let answer;
                let timeline = self.timeline.as_mut();
                let mut guest = Guest { machine, state: &mut self.state, timeline };
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

    /// Handles received bytes.
    fn handle_bytes(&mut self, machine: &mut Machine, bytes: &[u8]) -> Result<(), RunError> {
        for byte in bytes {
            let message = self.client.as_mut().and_then(|client| client.packets.take(*byte));
            let Some(message) = message else { continue };
            match self.handle(machine, message)? {
                Continuation::Nothing => {}
                // The debugger disconnected while its packet was answered, so the guest stays held.
                Continuation::Run if self.client.is_none() => {}
                Continuation::Run if self.is_interrupted => {
                    self.is_interrupted = false;
                    self.report(machine, StopReason::Signal(Signal::SIGINT))?;
                }
                Continuation::Run => self.resume(machine)?,
                Continuation::Detach => {
                    self.disconnect();
                    self.state.remove_stops();
                    self.is_held = false;
                }
                Continuation::Kill => {
                    self.disconnect();
                    self.is_held = true;
                    self.ends = true;
                }
            }
        }
        Ok(())
    }

    /// Receives and handles bytes, or a new connection. Returns whether there were any.
    fn receive(
        &mut self,
        machine: &mut Machine,
        receive: fn(&mut Connection, &mut [u8]) -> Received,
    ) -> Result<bool, RunError> {
        if self.next_client.is_none() {
            // An error is ignored, because the next try may succeed. The user can end the run.
            self.next_client = self.listener.accept().unwrap_or_default();
        }
        let mut buffer = [0; 4096];
        match self.client.as_mut().map(|client| receive(&mut client.connection, &mut buffer)) {
            Some(Received::Bytes(len)) => self.handle_bytes(machine, &buffer[..len])?,
            Some(Received::End) => self.on_disconnect("the connection was closed"),
            Some(Received::Nothing) => {
                // Only one debugger at a time: close the new connection.
                self.next_client = None;
                return Ok(false);
            }
            None => match self.next_client.take() {
                Some(next_client) => self.accept(next_client),
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Answers packets until the guest is resumed or ended, or the run is interrupted.
    fn hold(&mut self, machine: &mut Machine) -> Result<Verdict, RunError> {
        match machine.flush_within(Self::FLUSH_TIMEOUT) {
            // The run itself handles a closed output.
            Ok(()) | Err(StreamError::Closed) => {}
            Err(error) => return Err(error.into()),
        }
        while self.is_held && !self.ends && !machine.is_interrupted() {
            if self.in_the_past.is_some() {
                self.receive(machine, Connection::receive_at_once)?;
                self.move_on(machine)?;
            } else if !self.receive(machine, Connection::receive)? && self.client.is_none() {
                self.announce();
                thread::sleep(Self::POLL_EVERY / 2);
            }
        }
        self.in_the_past = None;
        if let Some(timeline) = &mut self.timeline {
            timeline.go_to_end(machine)?;
        }
        self.poll_at = Instant::now() + Self::POLL_EVERY;
        // A run that has ended keeps its outcome.
        Ok(if self.ends && self.end.is_none() { Verdict::End(Stop::Debugger) } else { Verdict::Continue })
    }

    fn announce(&mut self) {
        if self.announce_at.is_some_and(|at| Instant::now() >= at)
            && let Ok(address) = self.listener.address()
        {
            (self.state.say)(&format!("waiting for gdb: `target remote {address}`"));
            self.announce_at = None;
        }
    }

    /// Checks for packets while the guest runs.
    fn poll(&mut self, machine: &mut Machine) -> Result<Verdict, RunError> {
        self.poll_at = Instant::now() + Self::POLL_EVERY;
        while !self.is_held {
            if !self.receive(machine, Connection::receive_at_once)? {
                return Ok(Verdict::Continue);
            }
        }
        self.hold(machine)
    }

    /// The stop to report to the debugger, or none if only another observer wanted it.
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
            // gdb wants only a stop at the end of the range, or at a breakpoint in it.
            Resume::Range(start, end) if (start..end).contains(&eip) => breakpoint,
            Resume::Step | Resume::Range(..) if stopped.stepped => Some(StopReason::DoneStep),
            _ => breakpoint,
        })
    }

    /// The signal and the sentence for an end at which the guest is held. The end of a replay is where somebody who
    /// walks back begins.
    fn end_in_words(machine: &Machine, outcome: &Outcome) -> Option<(Signal, Option<String>)> {
        let in_words = || words::outcome(outcome, &Names::default());
        match (signal(outcome), outcome) {
            (Some(signal), Outcome::Exited(_)) => Some((signal, Some("the guest has panicked".into()))),
            (Some(signal), _) => Some((signal, in_words())),
            (None, _) if machine.is_replay() => {
                let end = format!("the recording ends here, with status {}", outcome.status());
                Some((Signal::SIGTRAP, Some(end)))
            }
            (None, _) => None,
        }
    }

    fn on_end(&mut self, machine: &mut Machine, outcome: &Outcome) -> Result<Verdict, RunError> {
        if self.is_held || self.client.is_none() {
            return Ok(Verdict::Continue);
        }
        // Restores the registers of this location.
        machine.location()?;
        if let Some((signal, message)) = Self::end_in_words(machine, outcome) {
            if let Some(message) = message {
                self.send(machine, packets::console(&format!("flatland: {message}\n")));
            }
            let reason = StopReason::SignalWithThread { tid: (), signal };
            self.end = Some(reason);
            self.state.has_changed = false;
            self.report(machine, reason)?;
            let verdict = self.hold(machine)?;
            self.end = None;
            if self.is_held {
                return Ok(verdict);
            }
            if self.state.has_changed {
                // Setting the registers revives the run, even if only memory was changed.
                let registers = machine.registers()?;
                machine.set_registers(&registers)?;
                return Ok(Verdict::Revive);
            }
        }
        if let Some(client) = &mut self.client {
            let reason = StopReason::Exited(outcome.status());
            let timeline = self.timeline.as_mut();
            let mut guest = Guest { machine, state: &mut self.state, timeline };
            let reply = client.features.stop_reply(reason, &mut guest)?;
            // An error is ignored: the debugger may have disconnected.
            let _ = client.connection.send(&reply, machine);
            self.disconnect();
        }
        Ok(Verdict::Continue)
    }
}

impl Observer for Debugger {
    fn begins(&mut self, machine: &mut Machine) -> Result<Verdict, RunError> {
        let wait = if self.listener.announces_at_once() { Duration::ZERO } else { Self::ANNOUNCE_AFTER };
        self.announce_at = Some(Instant::now() + wait);
        if machine.instructions().is_some() {
            self.timeline = Timeline::new(machine).ok();
        }
        self.hold(machine)
    }

    /// The run goes on in the present.
    fn resumes(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        self.timeline.as_mut().map_or(Ok(()), |timeline| timeline.resumes(machine))
    }

    fn wants(&self) -> Wants {
        let mut wants = self.state.wants();
        if let Some(timeline) = &self.timeline {
            wants = wants.or(&timeline.wants());
        }
        // A transfer that is not complete would be lost when registers are changed.
        wants.transfers = true;
        // Other observers may cause more frequent events.
        wants.clock = Some(self.poll_at.saturating_duration_since(Instant::now()));
        wants
    }

    fn observe(&mut self, machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
        if let Some(timeline) = &mut self.timeline {
            timeline.observe(machine, event)?;
        }
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
        if Instant::now() >= self.poll_at { self.poll(machine) } else { Ok(Verdict::Continue) }
    }
}
