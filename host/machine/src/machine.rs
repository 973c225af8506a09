//! The machine: its run is resumed and returns events. It is the same for all engines.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flatland_contract::memory::LOAD_ADDRESS;
use flatland_contract::{Direction, Port};
use flatland_x86::{
    DebugStop, Engine, EngineError, Exit, Fault, FaultKind, Location, MemoryMap, Registers, Stops,
    SystemRegisters, Unsupported,
};

use crate::alarm;
use crate::bus::Bus;
use crate::interrupt::{NEVER, Shared, reason};
use crate::streams::Flush;
use crate::{
    Builder, ChoiceError, Device, Event, Host, Image, ImageError, InterruptHandle, Outcome, Stats, Stop,
    Stopped, StreamError, Streams, Transfer, Unfinished, Wants, devices,
};

/// A processor with a program in its RAM, devices behind its ports, and streams behind these.
///
/// [`Machine::builder`] makes one. It may be sent to another thread, also in the middle of a run.
#[derive(Debug)]
pub struct Machine {
    engine: Box<dyn Engine + Send>,
    pub(crate) bus: Bus,
    streams: Streams,
    shared: Arc<Shared>,
    /// Where the engine stops.
    stops: Stops,
    limits: Limits,
    /// How long this run has taken so far.
    used: Duration,
    has_begun: bool,
    /// The guest waits for input: the engine's last exit has not been filled.
    waits_for_input: bool,
    /// [`Event::InputWanted`] has been returned for it.
    input_is_announced: bool,
    /// An interrupted output, which must be made before the guest continues.
    unsent: Option<Unsent>,
    /// The end of the run, to be returned before the next instruction.
    next: Option<Outcome>,
    /// The alarm will request a flush.
    flush_is_scheduled: bool,
    is_buffered: bool,
    whole_lines: bool,
    /// How often somebody has changed registers or RAM.
    changes: u64,
    stats: Stats,
    pub(crate) fell_back: Option<ChoiceError>,
}

/// How long a run may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub time: Option<Duration>,
    pub instructions: Option<u64>,
}

/// What a guest sent that its device has not taken yet.
#[derive(Clone, Debug)]
pub(crate) struct Unsent {
    port: u16,
    width: u8,
    data: Vec<u8>,
}

/// Why the host could not do its work.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The engine could not go on.
    Engine(EngineError),
    /// The engine cannot do what somebody wants.
    Unsupported(Unsupported),
    /// A stream failed.
    Stream(StreamError),
    /// There is no thread for the clock.
    Alarm(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Unsupported(error) => error.fmt(f),
            Self::Stream(error) => error.fmt(f),
            Self::Alarm(error) => {
                write!(f, "no thread for the clock ({error}): raise the limit of processes with `ulimit -u`")
            }
        }
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Engine(error) => Some(error),
            Self::Unsupported(error) => Some(error),
            Self::Stream(error) => Some(error),
            Self::Alarm(error) => Some(error),
        }
    }
}

impl From<EngineError> for RunError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<Unsupported> for RunError {
    fn from(error: Unsupported) -> Self {
        Self::Unsupported(error)
    }
}

impl From<StreamError> for RunError {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl Machine {
    /// The longest that a byte waits to be written while the guest computes.
    pub const FLUSH_WITHIN: Duration = Duration::from_millis(20);

    /// How long a run that was stopped waits for a reader that does not read.
    const LAST_FLUSH: Duration = Duration::from_secs(1);

    /// What a machine is made with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A machine on an engine of the caller's, with the contract's devices and no limits. [`Self::builder`] makes the
    /// engine, too.
    pub fn new(
        mut engine: Box<dyn Engine + Send>,
        image: &Image,
        mut streams: Streams,
    ) -> Result<Self, ImageError> {
        let written = engine.write_ram(LOAD_ADDRESS, image.bytes());
        if written < image.bytes().len() {
            let ram = engine.memory_map().ram();
            return Err(ImageError::TooLarge { size: image.bytes().len() as u64, ram });
        }
        let shared = Arc::new(Shared::new(engine.interrupt_handle()));
        let mut bus = Bus::default();
        bus.replace(Port::Console, devices::Console);
        bus.replace(Port::Diagnostics, devices::Diagnostics);
        bus.replace(Port::InputReady, devices::InputReady::default());
        bus.replace(Port::Layout, devices::Layout::new(engine.memory_map().layout()));
        bus.replace(Port::Arguments, devices::Arguments::default());
        bus.replace(Port::Clock, devices::Clock::system());
        bus.replace(Port::Random, devices::Random::system());
        bus.replace(Port::Exit, devices::Exit);
        bus.replace(Port::Test, devices::Test::default());
        streams.begin(false);
        Ok(Self {
            engine,
            bus,
            streams,
            shared,
            stops: Stops::default(),
            limits: Limits::default(),
            used: Duration::ZERO,
            has_begun: false,
            waits_for_input: false,
            input_is_announced: false,
            unsent: None,
            next: None,
            flush_is_scheduled: false,
            is_buffered: true,
            whole_lines: false,
            changes: 0,
            stats: Stats::default(),
            fell_back: None,
        })
    }

    /// Interrupts this machine's run, from any thread or from a signal handler.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        InterruptHandle::new(self.shared.clone())
    }

    /// Whether an interrupt is pending: the next [`Self::resume`] will return [`Event::Interrupted`]. For observers that hold
    /// a run for long.
    pub fn is_interrupted(&self) -> bool {
        self.shared.reasons() & reason::REQUESTED != 0
    }

    /// Ends a run that takes longer than this. Only the time inside of [`Self::resume`] counts, since the start or the
    /// last [`Self::restore`].
    pub fn set_time_limit(&mut self, limit: impl Into<Option<Duration>>) {
        self.limits.time = limit.into();
    }

    /// Ends a run that has executed this many instructions, counted from entry; after a restore this includes what the
    /// snapshot had executed. An error if the engine cannot count them.
    pub fn set_instruction_limit(&mut self, limit: impl Into<Option<u64>>) -> Result<(), Unsupported> {
        let limit = limit.into();
        let stops = Stops { instructions: limit, ..Stops::default() };
        self.engine.set_stops(&stops)?;
        self.stops = stops;
        self.limits.instructions = limit;
        Ok(())
    }

    /// Turns on or off what makes bulk input and output fast: the shortcuts of the engine ([`Engine::set_fast_transfers`]),
    /// and the buffering of output. The guest and its output are the same either way.
    pub fn set_fast_transfers(&mut self, on: bool) {
        self.is_buffered = on;
        self.streams.set_buffered(on);
        self.engine.set_fast_transfers(on);
    }

    /// Sets the guest's arguments. None may have a zero byte.
    pub fn set_arguments(&mut self, arguments: impl IntoIterator<Item = Vec<u8>>) {
        self.bus.replace(Port::Arguments, devices::Arguments::new(arguments));
    }

    /// The first device of this type.
    pub fn device<T: Device>(&mut self) -> Option<&mut T> {
        self.bus.device()
    }

    /// The cost of all runs so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The streams, such as for reading the guest's output from memory.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Why [`EngineChoice::Auto`](crate::EngineChoice::Auto) did not take KVM, if it did not.
    pub fn fell_back(&self) -> Option<&ChoiceError> {
        self.fell_back.as_ref()
    }

    /// The processor, for reading its state. To change it, use the machine's own methods.
    pub fn engine(&mut self) -> &mut (dyn Engine + Send) {
        &mut *self.engine
    }

    /// What lies where in RAM.
    pub fn memory_map(&self) -> &MemoryMap {
        self.engine.memory_map()
    }

    /// The registers. See [`Engine::registers`].
    pub fn registers(&mut self) -> Result<Registers, EngineError> {
        self.engine.registers()
    }

    /// Changes the registers. An unfinished input is given up. A run that has ended continues from there.
    pub fn set_registers(&mut self, registers: &Registers) -> Result<(), EngineError> {
        self.engine.set_registers(registers)?;
        self.waits_for_input = false;
        self.next = None;
        self.changes += 1;
        Ok(())
    }

    /// Counts how often registers or RAM were changed from outside, by [`Self::set_registers`], [`Self::write_ram`] and
    /// [`Self::restore`]: for whoever follows a run instruction by instruction and is not alone at it.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The registers beside the general ones.
    pub fn system_registers(&mut self) -> Result<SystemRegisters, EngineError> {
        self.engine.system_registers()
    }

    /// The location of the instruction that the last event came from. See [`Engine::location`].
    pub fn location(&mut self) -> Result<Location, EngineError> {
        self.engine.location()
    }

    /// Copies RAM. See [`Engine::read_ram`].
    pub fn read_ram(&self, address: u32, bytes: &mut [u8]) -> usize {
        self.engine.read_ram(address, bytes)
    }

    /// Writes RAM. See [`Engine::write_ram`].
    pub fn write_ram(&mut self, address: u32, bytes: &[u8]) -> usize {
        self.changes += 1;
        self.engine.write_ram(address, bytes)
    }

    /// Checks whether the engine can do this, without running the guest.
    pub fn check(&mut self, wants: &Wants) -> Result<(), Unsupported> {
        self.set_stops(wants)
    }

    /// Writes a line of the host's own to the diagnostics, in order with what the guest sends. It begins at the beginning
    /// of a line: before the one that the guest has begun, or, if that is written already, below it. As what the guest
    /// sends, it is written while the run goes on; after its end by [`Self::flush_notes_within`].
    pub fn note(&mut self, line: &str) -> Result<(), StreamError> {
        self.streams.note(line, &self.shared)
    }

    /// Writes what [`Self::note`] was given, as much as can be written in this time.
    pub fn flush_notes_within(&mut self, time: Duration) -> Result<(), StreamError> {
        self.streams.flush_notes_within(time)
    }

    /// Has the guest's diagnostics written in whole lines, so that [`Self::note`] does not cut any; also its output where
    /// that is written to the same file, pipe or terminal. The beginning of a line waits for the rest of it, until the
    /// guest waits for input or sends something elsewhere, until the run ends, or until it is very long.
    pub fn set_whole_lines(&mut self, on: bool) {
        if self.whole_lines != on {
            self.whole_lines = on;
            self.streams.set_whole_lines(on);
        }
    }

    /// Writes what the guest has sent so far, as much as can be written in this time: for whoever holds a run up.
    pub fn flush_within(&mut self, time: Duration) -> Result<(), StreamError> {
        self.streams.flush_within(time)
    }

    /// Runs the guest to its end, or until it is [interrupted](Self::interrupt_handle). All of its output has been written
    /// when this returns.
    pub fn run(&mut self) -> Result<Outcome, RunError> {
        let wants = Wants::nothing();
        loop {
            match self.resume(&wants)? {
                Event::Ended(outcome) => return Ok(outcome),
                Event::Interrupted => return self.stop(Stop::Interrupted),
                _ => {}
            }
        }
    }

    /// Ends the run here, for this reason: for loops over [`Self::resume`].
    pub fn stop(&mut self, stop: Stop) -> Result<Outcome, RunError> {
        match self.streams.flush_within(Self::LAST_FLUSH) {
            Ok(()) | Err(StreamError::Closed) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Outcome::Stopped(stop, self.engine.location()?))
    }

    /// Runs the guest to the next event, and returns it. `wants` may be different each time.
    pub fn resume(&mut self, wants: &Wants) -> Result<Event, RunError> {
        self.set_stops(wants)?;
        if !self.has_begun {
            self.has_begun = true;
            self.bus.reset();
        }
        let start = Instant::now();
        // A limit beyond the clock's range is no limit.
        let deadline = self.limits.time.and_then(|limit| start.checked_add(limit.saturating_sub(self.used)));
        let clock = wants.clock.and_then(|time| start.checked_add(time));
        let result = self.resume_until(wants, deadline, clock);
        let taken = start.elapsed();
        self.used += taken;
        self.stats.time += taken;
        result
    }

    fn resume_until(
        &mut self,
        wants: &Wants,
        deadline: Option<Instant>,
        clock: Option<Instant>,
    ) -> Result<Event, RunError> {
        let shared = self.shared.clone();
        for (which, at) in [(&shared.limit_at, deadline), (&shared.clock_at, clock)] {
            if let Some(at) = at {
                alarm::set(&shared, which, at).map_err(RunError::Alarm)?;
            }
        }
        self.engine.enter()?;
        let result = self.resume_entered(wants, deadline, clock);
        self.engine.leave();
        let result = self.deliver(result, deadline);
        if deadline.is_some() {
            shared.limit_at.store(NEVER, Ordering::SeqCst);
        }
        if clock.is_some() {
            shared.clock_at.store(NEVER, Ordering::SeqCst);
        }
        result
    }

    /// Writes the rest of the output of a run that has ended. It may be interrupted, or fail.
    fn deliver(
        &mut self,
        result: Result<Event, RunError>,
        deadline: Option<Instant>,
    ) -> Result<Event, RunError> {
        let outcome = match result {
            Ok(Event::Ended(outcome)) => outcome,
            Err(RunError::Stream(StreamError::Closed)) => Outcome::OutputClosed,
            result => return result,
        };
        let delivered = match outcome {
            Outcome::Stopped(..) => self.streams.flush_within(Self::LAST_FLUSH),
            _ => loop {
                match self.streams.flush(&self.shared) {
                    Ok(Flush::Interrupted) => {
                        if let Some(stop) = self.stop_of_reasons(deadline) {
                            return self.stop(stop).map(Event::Ended);
                        }
                    }
                    result => break result.map(drop),
                }
            },
        };
        self.cancel_flush();
        let outcome = match (outcome, delivered) {
            (outcome, Ok(())) => outcome,
            // The reader may close the output early. A fault is reported all the same.
            (Outcome::Halted | Outcome::EndOfInput | Outcome::Exited(_), Err(StreamError::Closed)) => {
                Outcome::OutputClosed
            }
            (outcome, Err(StreamError::Closed)) => outcome,
            (_, Err(error)) => return Err(error.into()),
        };
        self.next = match &outcome {
            Outcome::Stopped(..) => None,
            outcome => Some(outcome.clone()),
        };
        Ok(Event::Ended(outcome))
    }

    /// Why a run that only has output left to write must end, if it must.
    fn stop_of_reasons(&mut self, deadline: Option<Instant>) -> Option<Stop> {
        self.shared.clear(reason::CLOCK);
        if self.shared.clear(reason::REQUESTED) {
            return Some(Stop::Interrupted);
        }
        self.time_is_over(deadline).then(|| Stop::TimeLimit(self.limits.time.unwrap_or_default()))
    }

    fn time_is_over(&self, deadline: Option<Instant>) -> bool {
        self.shared.clear(reason::LIMIT) && deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn resume_entered(
        &mut self,
        wants: &Wants,
        deadline: Option<Instant>,
        clock: Option<Instant>,
    ) -> Result<Event, RunError> {
        self.schedule_flush()?;
        loop {
            if self.shared.reasons() != 0
                && let Some(event) = self.on_reasons(deadline, clock)?
            {
                return Ok(event);
            }
            if let Some(outcome) = self.next.take() {
                return Ok(Event::Ended(outcome));
            }
            if let Some(unsent) = self.unsent.take() {
                let Unsent { port, width, data } = &unsent;
                let result = self.bus.write(
                    *port,
                    *width,
                    data,
                    &mut Host { streams: &mut self.streams, shared: &self.shared, announces_input: false },
                );
                let transfer = made_transfer(&result, wants, *port, *width, Direction::Out, data);
                if let Err(Unfinished::Interrupted) = result {
                    self.unsent = Some(unsent);
                    continue;
                }
                let (port, width) = (*port, *width);
                if let Some(event) = self.settle(result, port, width, Direction::Out, transfer)? {
                    return Ok(event);
                }
                self.schedule_flush()?;
                continue;
            }
            if self.waits_for_input {
                if let Some(event) = self.read_again(wants)? {
                    return Ok(event);
                }
                continue;
            }
            match self.engine.run()? {
                Exit::Out { port, width, data } => {
                    self.stats.count(port, Direction::Out, data.len());
                    let host = &mut Host {
                        streams: &mut self.streams,
                        shared: &self.shared,
                        announces_input: false,
                    };
                    let result = self.bus.write(port, width, data, host);
                    let is_plain = result.is_ok() && !wants.transfers;
                    if !is_plain {
                        let transfer = made_transfer(&result, wants, port, width, Direction::Out, data);
                        if let Err(Unfinished::Interrupted) = result {
                            self.unsent = Some(Unsent { port, width, data: data.into() });
                            continue;
                        }
                        if let Some(event) = self.settle(result, port, width, Direction::Out, transfer)? {
                            return Ok(event);
                        }
                    }
                    if !self.flush_is_scheduled && self.streams.output_is_due() {
                        self.schedule_flush()?;
                    }
                }
                Exit::In { port, width, data } => {
                    self.stats.count(port, Direction::In, data.len());
                    let host = &mut Host {
                        streams: &mut self.streams,
                        shared: &self.shared,
                        announces_input: wants.input,
                    };
                    let result = self.bus.read(port, width, data, host);
                    let is_plain = result.is_ok() && !wants.transfers;
                    if !is_plain {
                        let transfer = made_transfer(&result, wants, port, width, Direction::In, data);
                        self.waits_for_input =
                            matches!(result, Err(Unfinished::Interrupted | Unfinished::InputWanted));
                        self.input_is_announced = matches!(result, Err(Unfinished::InputWanted));
                        if let Some(event) = self.settle(result, port, width, Direction::In, transfer)? {
                            return Ok(event);
                        }
                    }
                }
                Exit::Halt => return Ok(Event::Ended(Outcome::Halted)),
                Exit::Fault(fault) => return Ok(Event::Ended(Outcome::Fault(fault))),
                Exit::Interrupted => self.stats.interrupts += 1,
                Exit::Debug(stop) => return self.on_stop(stop),
            }
        }
    }

    /// Makes the input that the guest waits for, or tries to.
    fn read_again(&mut self, wants: &Wants) -> Result<Option<Event>, RunError> {
        self.waits_for_input = false;
        // None if the registers were changed, which gives the input up.
        let Some((port, width, data)) = self.engine.pending_input() else { return Ok(None) };
        let host = &mut Host {
            streams: &mut self.streams,
            shared: &self.shared,
            announces_input: wants.input && !self.input_is_announced,
        };
        let result = self.bus.read(port, width, data, host);
        let transfer = made_transfer(&result, wants, port, width, Direction::In, data);
        self.waits_for_input = matches!(result, Err(Unfinished::Interrupted | Unfinished::InputWanted));
        self.input_is_announced |= matches!(result, Err(Unfinished::InputWanted));
        self.settle(result, port, width, Direction::In, transfer)
    }

    /// Turns the result of a transfer into an event, if there is one.
    #[cold]
    fn settle(
        &mut self,
        result: Result<(), Unfinished>,
        port: u16,
        width: u8,
        direction: Direction,
        transfer: Option<Transfer>,
    ) -> Result<Option<Event>, RunError> {
        let outcome = match result {
            Ok(()) => None,
            // The caller's loop handles the reason.
            Err(Unfinished::Interrupted) => return Ok(None),
            Err(Unfinished::InputWanted) => return Ok(Some(Event::InputWanted)),
            Err(Unfinished::Stream(error)) => return Err(error.into()),
            Err(Unfinished::Exit(status)) => Some(Outcome::Exited(status)),
            Err(Unfinished::EndOfInput) => Some(Outcome::EndOfInput),
            Err(Unfinished::Unsupported) => {
                let kind = FaultKind::Port { port, width, direction };
                Some(Outcome::Fault(Fault { kind, location: self.engine.location()? }))
            }
        };
        Ok(match transfer {
            Some(transfer) => {
                self.next = outcome;
                Some(Event::Transfer(transfer))
            }
            None => outcome.map(Event::Ended),
        })
    }

    fn on_stop(&mut self, stop: DebugStop) -> Result<Event, RunError> {
        if stop == DebugStop::InstructionLimit
            && let Some(limit) = self.limits.instructions
            && self.engine.instructions().is_some_and(|count| count >= limit)
        {
            let location = self.engine.location()?;
            return Ok(Event::Ended(Outcome::Stopped(Stop::InstructionLimit(limit), location)));
        }
        let eip = self.engine.registers()?.eip;
        Ok(Event::Stopped(Stopped::new(stop, &self.stops, eip)))
    }

    /// Handles the reasons to return. Not each is an event: the alarm may be late, or nobody wants the event any more.
    fn on_reasons(
        &mut self,
        deadline: Option<Instant>,
        clock: Option<Instant>,
    ) -> Result<Option<Event>, RunError> {
        if self.shared.clear(reason::REQUESTED) {
            return Ok(Some(Event::Interrupted));
        }
        if self.time_is_over(deadline) {
            let limit = self.limits.time.unwrap_or_default();
            let location = self.engine.location()?;
            return Ok(Some(Event::Ended(Outcome::Stopped(Stop::TimeLimit(limit), location))));
        }
        if self.shared.clear(reason::CLOCK) && clock.is_some_and(|clock| Instant::now() >= clock) {
            return Ok(Some(Event::Clock));
        }
        if self.shared.reasons() & reason::FLUSH != 0 && self.streams.flush_due(&self.shared)? == Flush::Done
        {
            self.cancel_flush();
            self.schedule_flush()?;
        }
        Ok(None)
    }

    /// Sees to it that output is written within [`Self::FLUSH_WITHIN`]: what waits to be written, and what the engine
    /// may hold.
    fn schedule_flush(&mut self) -> Result<(), RunError> {
        if self.flush_is_scheduled || !(self.streams.output_is_due() || self.engine.holds_output()) {
            return Ok(());
        }
        let at = Instant::now() + Self::FLUSH_WITHIN - alarm::FLUSH_GRACE;
        alarm::set(&self.shared, &self.shared.flush_at, at).map_err(RunError::Alarm)?;
        self.flush_is_scheduled = true;
        Ok(())
    }

    /// Cancels the flush: all output is written.
    fn cancel_flush(&mut self) {
        self.shared.flush_at.store(NEVER, Ordering::SeqCst);
        self.shared.clear(reason::FLUSH);
        self.flush_is_scheduled = false;
    }

    fn set_stops(&mut self, wants: &Wants) -> Result<(), Unsupported> {
        let same = {
            let Stops { step, breakpoints, watchpoints, each_transfer, instructions } = &self.stops;
            let limit = wants.instructions.into_iter().chain(self.limits.instructions).min();
            (*step, *each_transfer, *instructions) == (wants.steps, wants.transfers, limit)
                && *breakpoints == wants.breakpoints
                && *watchpoints == wants.watchpoints
        };
        if !same {
            let stops = wants.stops(self.limits.instructions);
            self.engine.set_stops(&stops)?;
            self.stops = stops;
        }
        Ok(())
    }

    /// Begins a new run from a restored state.
    pub(crate) fn begin_anew(&mut self, unsent: Option<Unsent>, streams: Streams) {
        self.streams = streams;
        self.streams.set_buffered(self.is_buffered);
        self.streams.begin(self.whole_lines);
        self.changes += 1;
        self.unsent = unsent;
        self.used = Duration::ZERO;
        self.has_begun = true;
        self.waits_for_input = false;
        self.input_is_announced = false;
        self.next = None;
        if self.flush_is_scheduled {
            self.cancel_flush();
        }
    }

    pub(crate) fn unsent(&self) -> Option<&Unsent> {
        self.unsent.as_ref()
    }
}

/// The transfer for an event, if it was made and is wanted.
fn made_transfer(
    result: &Result<(), Unfinished>,
    wants: &Wants,
    port: u16,
    width: u8,
    direction: Direction,
    data: &[u8],
) -> Option<Transfer> {
    let was_made = matches!(result, Ok(()) | Err(Unfinished::Exit(_)));
    (wants.transfers && was_made).then(|| Transfer { port, width, direction, data: data.to_vec() })
}
