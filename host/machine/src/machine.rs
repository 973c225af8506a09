//! The machine: ports, streams, limits and the outcome, the same whatever engine runs the processor.

mod limits;
mod ports;
mod reminder;
mod snapshot;
mod stats;
mod watch;

use std::io;
use std::time::{Duration, Instant};

use flatland_contract::memory::LOAD_ADDRESS;
use flatland_contract::test::Order;
use flatland_contract::{Direction, Port};

use crate::engine::{DebugStop, Engine, EngineError, Exit, Stops, Unsupported};
use crate::fault::Fault;
use crate::kick::{self, Alarm};
use crate::outcome::{Outcome, Stop};
use crate::{Image, ImageError, StreamError, Streams};

pub(crate) use limits::Limits;
use ports::{End, Facts, Ports};
use reminder::Reminder;
pub use snapshot::Snapshot;
pub use stats::{Stats, Transfers};
pub use watch::{Nobody, Transfer, Watcher};

/// A processor with an image in its RAM, and the streams behind its ports.
#[derive(Debug)]
pub struct Machine<E> {
    engine: E,
    ports: Ports,
    time_limit: Option<Duration>,
    instruction_limit: Option<u64>,
    /// Whether the run is to stop where the guest asks for input.
    pause_at_input: bool,
    stats: Stats,
}

/// Why the host could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The engine could not go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A stream failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The clock could not be set.
    #[error("no timer for the run ({0}): raise the limit of pending signals with `ulimit -i`")]
    Timer(#[source] io::Error),
}

impl<E: Engine> Machine<E> {
    /// How long a reader that does not read delays a watcher that may hold the guest.
    const FLUSH_BEFORE_HOLDING: Duration = Duration::from_millis(100);

    /// How long a run that was stopped waits for a reader that does not read.
    const LAST_FLUSH: Duration = Duration::from_secs(1);

    /// Puts the image where it belongs.
    pub fn new(mut engine: E, image: &Image, streams: Streams) -> Result<Self, ImageError> {
        let written = engine.write_ram(LOAD_ADDRESS, image.bytes());
        if written < image.bytes().len() {
            let ram = engine.memory_map().ram();
            return Err(ImageError::TooLarge { size: image.bytes().len() as u64, ram });
        }
        let facts = Facts::new(engine.memory_map().layout());
        Ok(Self {
            engine,
            ports: Ports::new(streams, facts),
            time_limit: None,
            instruction_limit: None,
            pause_at_input: false,
            stats: Stats::default(),
        })
    }

    /// Ends a run that takes longer than this.
    pub fn set_time_limit(&mut self, limit: Duration) {
        self.time_limit = Some(limit);
    }

    /// Ends a run after so many instructions, if the engine can count them.
    pub fn set_instruction_limit(&mut self, limit: u64) -> Result<(), Unsupported> {
        self.engine.set_stops(&Stops { instructions: Some(limit), ..Stops::default() })?;
        self.instruction_limit = Some(limit);
        Ok(())
    }

    /// Sets what the guest is told as its arguments, each without a zero byte.
    pub fn set_arguments(&mut self, arguments: impl IntoIterator<Item = Vec<u8>>) {
        self.ports.facts().set_arguments(arguments);
    }

    /// Asks the guest to run a test.
    pub fn set_test(&mut self, order: Order) {
        self.ports.facts().set_order(order);
    }

    /// Whether the test that was asked for has sent its completion record.
    pub fn test_is_complete(&mut self) -> bool {
        self.ports.facts().is_complete()
    }

    /// What all runs so far have cost.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The streams, for looking at what the guest sent.
    pub fn streams(&self) -> &Streams {
        self.ports.streams()
    }

    /// The processor, for looking at what the guest did.
    pub fn engine(&mut self) -> &mut E {
        &mut self.engine
    }

    /// Runs the guest to its end. Everything it sent is where it belongs before this returns.
    pub fn run(&mut self) -> Result<Outcome, RunError> {
        self.run_watched(&mut Nobody)
    }

    /// The same with somebody watching. Where the watcher sets stops, [`Self::set_instruction_limit`] is its own to keep.
    pub fn run_watched<W: Watcher>(&mut self, watcher: &mut W) -> Result<Outcome, RunError> {
        let mut limits = Limits::from_now(self.time_limit);
        if W::HOLDS {
            limits = limits.coming_back();
        }
        // For as long as there is output to write, too.
        let mut limit_alarm = Alarm::insistent();
        if let Some(deadline) = limits.deadline() {
            limit_alarm.set(deadline).map_err(RunError::Timer)?;
        }
        let start = Instant::now();
        self.ports.facts().begin();
        let mut result = self.run_to_end(&mut limits, watcher);
        if let Ok(outcome) = &result
            && let Err(error) =
                self.watched(&mut limits, watcher, |watcher, engine| watcher.ended(engine, outcome))
        {
            result = Err(error);
        }
        self.stats.time += start.elapsed().saturating_sub(limits.held());
        let delivered = match result {
            Ok(Outcome::Stopped(..)) => self.ports.flush_within(Self::LAST_FLUSH).map(|()| None),
            _ => self.ports.flush(&limits),
        };
        match (result, delivered) {
            // Whoever reads our output may leave when they have seen enough; a fault is news all the same.
            (Ok(Outcome::Halted | Outcome::EndOfInput | Outcome::Exited(_)), Err(StreamError::Closed)) => {
                Ok(Outcome::OutputClosed)
            }
            (Err(RunError::Stream(StreamError::Closed)), _) => Ok(Outcome::OutputClosed),
            (result, Err(StreamError::Closed)) => result,
            (Ok(_), Err(error)) => Err(error.into()),
            (Ok(_), Ok(Some(stop))) => {
                self.ports.flush_within(Self::LAST_FLUSH)?;
                self.stopped(stop)
            }
            (result, _) => result,
        }
    }

    fn run_to_end<W: Watcher>(&mut self, limits: &mut Limits, watcher: &mut W) -> Result<Outcome, RunError> {
        let mut reminder = Reminder::new();
        if let Some(End::Stopped(stop)) =
            self.watched(limits, watcher, |watcher, engine| watcher.begins(engine))?
        {
            return self.stopped(stop);
        }
        self.remind_of_output(&mut reminder)?;
        loop {
            let mut transfer = None;
            let mut note = |port, width, direction, data: &[u8]| {
                if W::WANTS_TRANSFERS {
                    transfer = Some(Transfer { port, width, direction, data: data.to_vec() });
                }
            };
            let end = match self.engine.run()? {
                Exit::Out { port, width, data } => {
                    self.stats.count(port, Direction::Out, data.len());
                    let end = self.ports.output(port, width, data, limits)?;
                    if matches!(end, None | Some(End::Exited(_))) {
                        note(port, width, Direction::Out, data);
                    }
                    if self.ports.output_waits() {
                        reminder.set().map_err(RunError::Timer)?;
                    }
                    end
                }
                Exit::In { port, width: 1, .. }
                    if self.pause_at_input
                        && [Port::Console, Port::InputReady].map(Port::number).contains(&port) =>
                {
                    // Its instruction is to be the next one.
                    let registers = self.engine.registers()?;
                    self.engine.set_registers(&registers)?;
                    Some(End::Stopped(Stop::Input))
                }
                Exit::In { port, width, data } => {
                    self.stats.count(port, Direction::In, data.len());
                    match self.ports.input(port, width, data, limits)? {
                        Some(End::Kicked) => self.go_on_waiting(limits, &mut reminder, watcher, &mut note)?,
                        end => {
                            if end.is_none() {
                                note(port, width, Direction::In, data);
                            }
                            end
                        }
                    }
                }
                Exit::Halt => return Ok(Outcome::Halted),
                Exit::Fault(fault) => return Ok(Outcome::Fault(fault)),
                Exit::Kicked => {
                    self.stats.kicks += 1;
                    self.on_watched_kick(limits, &mut reminder, watcher)?
                }
                Exit::Debug(DebugStop::InstructionLimit) => {
                    Some(End::Stopped(Stop::InstructionLimit(self.instruction_limit.unwrap_or_default())))
                }
                Exit::Debug(stop) => {
                    self.watched(limits, watcher, |watcher, engine| watcher.stopped(engine, stop))?
                }
            };
            if let Some(transfer) = transfer {
                watcher.transferred(&mut self.engine, &transfer)?;
            }
            let end = match end {
                None if reminder.is_due() => self.write_output(limits, &mut reminder)?,
                end => end,
            };
            match end {
                None | Some(End::Kicked) => {}
                Some(End::OfInput) => return Ok(Outcome::EndOfInput),
                Some(End::Exited(status)) => return Ok(Outcome::Exited(status)),
                Some(End::Stopped(stop)) => return self.stopped(stop),
                Some(End::Fault(kind)) => {
                    return Ok(Outcome::Fault(Fault { kind, location: self.engine.location()? }));
                }
            }
        }
    }

    /// Calls the watcher, which may hold the guest and may end the run. What it holds has sent what it had to send.
    fn watched<W: Watcher>(
        &mut self,
        limits: &mut Limits,
        watcher: &mut W,
        call: impl FnOnce(&mut W, &mut E) -> Result<(), EngineError>,
    ) -> Result<Option<End>, RunError> {
        if W::HOLDS {
            self.ports.flush_within(Self::FLUSH_BEFORE_HOLDING)?;
            let start = Instant::now();
            let result = call(watcher, &mut self.engine);
            limits.add_held(start.elapsed());
            result?;
        } else {
            call(watcher, &mut self.engine)?;
        }
        Ok(watcher.ends().then_some(End::Stopped(Stop::Debugger)))
    }

    fn on_watched_kick<W: Watcher>(
        &mut self,
        limits: &mut Limits,
        reminder: &mut Reminder,
        watcher: &mut W,
    ) -> Result<Option<End>, RunError> {
        match self.on_kick(limits, reminder)? {
            None => self.watched(limits, watcher, |watcher, engine| watcher.kicked(engine)),
            end => Ok(end),
        }
    }

    /// A wait for input was interrupted for the watcher: lets it look, and waits again.
    fn go_on_waiting<W: Watcher>(
        &mut self,
        limits: &mut Limits,
        reminder: &mut Reminder,
        watcher: &mut W,
        note: &mut impl FnMut(u16, u8, Direction, &[u8]),
    ) -> Result<Option<End>, RunError> {
        loop {
            let end = self.on_watched_kick(limits, reminder, watcher)?;
            if end.is_some() {
                return Ok(end);
            }
            // Nobody waits any more where the watcher has changed the registers.
            let Some((port, width, data)) = self.engine.pending_input() else { return Ok(None) };
            let end = self.ports.input(port, width, data, limits)?;
            if end.is_none() {
                note(port, width, Direction::In, data);
            }
            if end != Some(End::Kicked) {
                return Ok(end);
            }
        }
    }

    /// The clock or a signal wants something. Signals that mean nothing to us come here too, such as
    /// SIGCONT after a stop (KVM API 4.10, EINTR).
    fn on_kick(&mut self, limits: &Limits, reminder: &mut Reminder) -> Result<Option<End>, RunError> {
        if let Some(stop) = limits.stop() {
            return Ok(Some(End::Stopped(stop)));
        }
        if !kick::answer() {
            return Ok(None);
        }
        let waited = self.ports.output_waits();
        let end = self.ports.flush(limits)?.map(End::Stopped);
        reminder.rang(waited);
        self.remind_of_output(reminder)?;
        Ok(end)
    }

    /// Writes what the guest has sent so far.
    fn write_output(&mut self, limits: &Limits, reminder: &mut Reminder) -> Result<Option<End>, RunError> {
        let end = self.ports.flush(limits)?.map(End::Stopped);
        reminder.clear();
        self.remind_of_output(reminder)?;
        Ok(end)
    }

    /// Sees to it that a person sees output in time: what waits to be written, and what the engine may hold.
    fn remind_of_output(&mut self, reminder: &mut Reminder) -> Result<(), RunError> {
        if self.ports.output_waits() || self.engine.holds_output() {
            reminder.set().map_err(RunError::Timer)?;
        }
        Ok(())
    }

    fn stopped(&mut self, stop: Stop) -> Result<Outcome, RunError> {
        // Leave no ring behind for the next run on this thread.
        kick::answer();
        Ok(Outcome::Stopped(stop, self.engine.location()?))
    }
}
