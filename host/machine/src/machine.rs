//! The machine: a run that is resumed and returns events. It is the same for all engines.

mod blocks;
mod interrupts;
mod moving;
mod put_back;
mod recorded;
mod resume;
mod rewind;
mod sought;

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use flatland_contract::Port;
use flatland_contract::memory::LOAD_ADDRESS;
use flatland_x86::{
    DebugStop, Engine, EngineError, Fpu, Location, MemoryMap, Registers, Sent, Stops, SystemRegisters,
    Unsupported,
};

use crate::bus::Bus;
use crate::interrupt::{InterruptLine, Shared, reason};
use crate::log::Log;
use crate::time::Instant;
use crate::{
    Builder, ChoiceError, Device, Engines, FileError, Image, ImageError, InterruptHandle, Outcome, Stats,
    StreamError, Streams, Wants, devices,
};
use interrupts::Due;
pub use moving::MoveError;
use moving::Moving;
pub use put_back::RestoreError;
pub use recorded::Divergence;
pub use rewind::Checkpoint;
use sought::Sought;

/// A processor with a program in its RAM, devices at its ports, and streams for the devices.
///
/// [`Machine::builder`] makes one. A machine may be sent to another thread, also in the middle of a run.
#[derive(Debug)]
pub struct Machine {
    engines: Engines,
    moving: Moving,
    pub(crate) bus: Bus,
    log: Log,
    sought: Sought,
    streams: Streams,
    shared: Arc<Shared>,
    /// Where the engine stops.
    stops: Stops,
    limits: Limits,
    /// How long this run has taken so far.
    used: Duration,
    has_begun: bool,
    /// When [`Machine::resume`] was called, while it runs.
    resumed_at: Option<Instant>,
    /// Whether the engine has been entered ([`Engine::enter`]).
    is_entered: bool,
    /// The guest waits for input: the engine's last exit is an input without data yet.
    waits_for_input: bool,
    /// How many bytes of the engine's last exit, an input, were filled.
    input_filled: usize,
    /// [`Event::InputWanted`] has been returned for this input.
    input_is_announced: bool,
    /// Output that must be made before the guest continues: it was interrupted, or the engine had not reported it.
    pub(crate) unsent: VecDeque<Sent>,
    /// A stop that the engine had not reported before it was left.
    unreported: Option<DebugStop>,
    /// The end of the run, to be returned before the next instruction.
    pub(crate) next: Option<Outcome>,
    /// When the timer is due, if it runs.
    timer: Option<Due>,
    /// A flush is scheduled with the alarm.
    flush_is_scheduled: bool,
    is_buffered: bool,
    whole_lines: bool,
    /// The number of bytes of RAM that the program was loaded into, from address 0.
    loaded: u32,
    /// How often registers or RAM were changed from outside. See [`Machine::changes`].
    changes: u64,
    stats: Stats,
}

/// The limits of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub time: Option<Duration>,
    pub instructions: Option<u64>,
}

/// Why a run failed on the host's side.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The engine failed.
    Engine(EngineError),
    /// The engine does not support what was requested.
    Unsupported(Unsupported),
    /// A stream failed.
    Stream(StreamError),
    /// The alarm's thread could not be started.
    Alarm(io::Error),
    /// The recording cannot be written.
    Recording(FileError),
    /// A replay has left its recording.
    Diverged(Box<Divergence>),
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
            Self::Recording(error) => write!(f, "the recording cannot go on: {error}"),
            Self::Diverged(divergence) => divergence.fmt(f),
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
            Self::Recording(error) => Some(error),
            Self::Diverged(divergence) => Some(&divergence.how),
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
    /// The longest time that output stays buffered while the guest computes.
    pub const FLUSH_WITHIN: Duration = Duration::from_millis(20);

    /// How long a run that was stopped waits for a reader that does not read.
    const LAST_FLUSH: Duration = Duration::from_secs(1);

    /// The settings of a new machine.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A machine on these engines, with the contract's devices and no limits. [`Self::builder`] also makes the engines.
    pub fn new(engines: impl Into<Engines>, image: &Image, streams: Streams) -> Result<Self, ImageError> {
        let mut machine = Self::empty(engines.into(), streams);
        let engine = &mut machine.engines.current;
        let written = engine.write_ram(LOAD_ADDRESS, image.bytes());
        if written < image.bytes().len() {
            let ram = engine.memory_map().ram();
            return Err(ImageError::TooLarge { size: image.bytes().len() as u64, ram });
        }
        machine.loaded = written as u32;
        Ok(machine)
    }

    /// The same without a program.
    pub(crate) fn empty(engines: Engines, mut streams: Streams) -> Self {
        let engine = &engines.current;
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
        bus.replace(Port::Span, devices::Span::default());
        bus.replace(Port::Timer, devices::Timer::default());
        streams.begin(false);
        let stats = Stats::of_run_on(engines.kind());
        Self {
            moving: Moving::new(&engines),
            engines,
            bus,
            log: Log::default(),
            sought: Sought::default(),
            streams,
            shared,
            stops: Stops::default(),
            limits: Limits::default(),
            used: Duration::ZERO,
            has_begun: false,
            resumed_at: None,
            is_entered: false,
            waits_for_input: false,
            input_filled: 0,
            input_is_announced: false,
            unsent: VecDeque::new(),
            unreported: None,
            next: None,
            timer: None,
            flush_is_scheduled: false,
            is_buffered: true,
            whole_lines: false,
            loaded: 0,
            changes: 0,
            stats,
        }
    }

    /// A handle that interrupts this machine's run, from any thread or from a signal handler.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        InterruptHandle::new(self.shared.clone())
    }

    /// The line by which devices raise interrupts of the guest's processor.
    pub(crate) fn interrupt_line(&self) -> InterruptLine {
        InterruptLine::new(self.shared.clone())
    }

    /// Whether an interrupt is pending: the next [`Self::resume`] will return
    /// [`Event::Interrupted`](crate::Event::Interrupted). For observers that hold a run for a long time.
    pub fn is_interrupted(&self) -> bool {
        self.shared.reasons() & reason::REQUESTED != 0
    }

    /// Ends a run that takes longer than this. Only the time inside of [`Self::resume`] counts, since the start or the
    /// last [`Self::restore`].
    pub fn set_time_limit(&mut self, limit: impl Into<Option<Duration>>) {
        self.limits.time = limit.into();
    }

    /// Ends a run that has executed this many instructions since entry. After a restore the count includes the
    /// instructions of the snapshot. An error if the engine cannot count instructions.
    pub fn set_instruction_limit(&mut self, limit: impl Into<Option<u64>>) -> Result<(), Unsupported> {
        let limit = limit.into();
        let before = std::mem::replace(&mut self.limits.instructions, limit);
        let result = self.set_stops(&Wants::nothing());
        if result.is_err() {
            self.limits.instructions = before;
        }
        result
    }

    /// Turns fast transfers on or off: the shortcuts of the engine ([`Engine::set_fast_transfers`]) and the buffering
    /// of output. Neither changes what the guest does or sends.
    pub fn set_fast_transfers(&mut self, on: bool) {
        self.is_buffered = on;
        self.streams.set_buffered(on);
        self.engines.current.set_fast_transfers(on);
    }

    /// Sets the guest's arguments. None may have a zero byte.
    pub fn set_arguments(&mut self, arguments: impl IntoIterator<Item = Vec<u8>>) {
        self.bus.replace(Port::Arguments, devices::Arguments::new(arguments));
    }

    /// The first device of this type.
    pub fn device<T: Device>(&mut self) -> Option<&mut T> {
        self.bus.device()
    }

    /// From here on the guest is told that somebody listens to its [spans](flatland_contract::span), which are transfers
    /// at a port. A guest asks once.
    pub fn listen_to_spans(&mut self) {
        if let Some(span) = self.device::<devices::Span>() {
            span.listen();
        }
    }

    /// The cost of all runs so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The streams. For example, the guest's output if it is kept in memory.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Why [`EngineChoice::Auto`](crate::EngineChoice::Auto) did not use KVM, if it did not.
    pub fn fell_back(&self) -> Option<&ChoiceError> {
        self.engines.fell_back()
    }

    /// The engine, for reading the processor's state. To change that state, use the machine's own methods.
    pub fn engine(&mut self) -> &mut (dyn Engine + Send) {
        self.engines.engine()
    }

    /// The memory map.
    pub fn memory_map(&self) -> &MemoryMap {
        self.engines.current.memory_map()
    }

    /// The registers. See [`Engine::registers`].
    pub fn registers(&mut self) -> Result<Registers, EngineError> {
        self.engines.current.registers()
    }

    /// Changes the registers. Cancels an unfinished input. A run that has ended continues from there.
    pub fn set_registers(&mut self, registers: &Registers) -> Result<(), EngineError> {
        self.engines.current.set_registers(registers)?;
        self.next = None;
        self.forget_exit();
        Ok(())
    }

    /// The registers of x87, MMX and SSE.
    pub fn fpu(&mut self) -> Result<Fpu, EngineError> {
        let (processor, _) = self.engines.current.processor()?;
        Ok(processor.fpu.map_or_else(Fpu::default, |fpu| *fpu))
    }

    /// Changes the registers of x87, MMX and SSE. Cancels an unfinished input, as [`Self::set_registers`] does.
    pub fn set_fpu(&mut self, fpu: &Fpu) -> Result<(), EngineError> {
        self.settle()?;
        let engine = &mut self.engines.current;
        let (mut processor, position) = engine.processor()?;
        processor.fpu = Some(Box::new(fpu.clone()));
        engine.set_processor(&processor, position)?;
        self.moving.forget_refusal();
        self.changes += 1;
        Ok(())
    }

    /// The registers are others than the engine's last exit has left.
    fn forget_exit(&mut self) {
        self.waits_for_input = false;
        self.input_filled = 0;
        self.unreported = None;
        self.moving.forget_refusal();
        self.changes += 1;
    }

    /// Counts how often registers or RAM were changed from outside, by [`Self::set_registers`], [`Self::write_ram`]
    /// and [`Self::restore`]. For observers that follow a run instruction by instruction, beside others that may
    /// change its state.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The segment and control registers.
    pub fn system_registers(&mut self) -> Result<SystemRegisters, EngineError> {
        self.engines.current.system_registers()
    }

    /// The location of the instruction that the last event came from. See [`Engine::location`].
    pub fn location(&mut self) -> Result<Location, EngineError> {
        self.engines.current.location()
    }

    /// Copies RAM. See [`Engine::read_ram`].
    pub fn read_ram(&self, address: u32, bytes: &mut [u8]) -> usize {
        self.engines.current.read_ram(address, bytes)
    }

    /// Writes RAM. See [`Engine::write_ram`].
    pub fn write_ram(&mut self, address: u32, bytes: &[u8]) -> usize {
        self.moving.forget_refusal();
        self.changes += 1;
        self.engines.current.write_ram(address, bytes)
    }

    /// Checks whether an engine supports this, without running the guest. A run that moves by itself moves to the engine
    /// that does.
    pub fn check(&mut self, wants: &Wants) -> Result<(), Unsupported> {
        self.set_stops(wants)
    }

    /// Writes a line of the host's own to the diagnostics, in order with the guest's diagnostics. The line starts on
    /// a line of its own: before the line that the guest has begun, or, if that is written already, below it. It is
    /// written while the run goes on; after the end of the run by [`Self::flush_notes_within`].
    pub fn note(&mut self, line: &str) -> Result<(), StreamError> {
        self.streams.note(line, &self.shared)
    }

    /// Writes the lines of [`Self::note`], as many as can be written in this time.
    pub fn flush_notes_within(&mut self, time: Duration) -> Result<(), StreamError> {
        self.streams.flush_notes_within(time)
    }

    /// Turns on or off that the guest's diagnostics are written in whole lines, so that [`Self::note`] does not split
    /// any. The same applies to its output if both are written to the same file, pipe or terminal. An unfinished line
    /// is held back until it ends, until the guest waits for input or sends to another stream, until the run ends, or
    /// until the line is very long.
    pub fn set_whole_lines(&mut self, on: bool) {
        if self.whole_lines != on {
            self.whole_lines = on;
            self.streams.set_whole_lines(on);
        }
    }

    /// Writes the output so far, as much as can be written in this time. For observers that hold a run for a long
    /// time.
    pub fn flush_within(&mut self, time: Duration) -> Result<(), StreamError> {
        self.streams.flush_within(time)
    }

    /// Starts a new run from a restored state.
    pub(crate) fn begin_anew(&mut self, unsent: VecDeque<Sent>, next: Option<Outcome>, streams: Streams) {
        // A failure of streams that nobody uses any more is no failure of the new run.
        let _ = self.streams.flush_within(Self::LAST_FLUSH);
        self.streams = streams;
        self.streams.set_buffered(self.is_buffered);
        self.streams.begin(self.whole_lines);
        self.forget_exit();
        self.unsent = unsent;
        self.used = Duration::ZERO;
        self.has_begun = true;
        self.input_is_announced = false;
        self.next = next;
        // What devices of the run before have raised is not this run's.
        self.shared.take_raised();
        self.unpark_timer();
        self.moving.begin(&self.engines);
        if self.flush_is_scheduled {
            self.cancel_flush();
        }
    }
}
