//! Builds machines.

use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::time::Duration;

use flatland_contract as contract;
use flatland_contract::Port;
use flatland_x86::{Engine, MemoryMapError, MemorySize, Stops, Unsupported};

use crate::bus::Taken;
use crate::{
    ChoiceError, Device, EngineChoice, Engines, ImageError, Input, Machine, Output, Program, Recording,
    RestoreError, Snapshot, Streams, devices,
};

/// The settings of a new machine. The defaults are KVM where it can be used and the soft engine otherwise, 16 MiB of
/// RAM, no input, output in memory, and no limits.
///
/// ```
/// use std::time::Duration;
/// use flatland_machine::{Machine, MemorySize, Program};
///
/// // in al, 0xe9; inc al; out 0xe9, al; hlt
/// let program = Program::from_bytes(vec![0xe4, 0xe9, 0xfe, 0xc0, 0xe6, 0xe9, 0xf4])?;
/// let mut machine = Machine::builder()
///     .memory(MemorySize::mib(1))
///     .input("a")
///     .time_limit(Duration::from_secs(10))
///     .build(&program)?;
/// machine.run()?;
/// assert_eq!(machine.streams().output.bytes(), b"b");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct Builder {
    engine: EngineChoice,
    memory: MemorySize,
    stack: Option<MemorySize>,
    streams: Streams,
    arguments: Vec<Vec<u8>>,
    time_limit: Option<Duration>,
    instruction_limit: Option<u64>,
    devices: Vec<(u16, Box<dyn Device>)>,
    clock: Option<devices::Clock>,
    random: Option<devices::Random>,
    is_fast: bool,
    has_many_runs: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            engine: EngineChoice::Auto,
            memory: MemorySize::default(),
            stack: None,
            streams: Streams::none(),
            arguments: Vec::new(),
            time_limit: None,
            instruction_limit: None,
            devices: Vec::new(),
            clock: None,
            random: None,
            is_fast: true,
            has_many_runs: false,
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Builder")
            .field("engine", &self.engine)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

/// Why a machine cannot be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The program does not fit.
    Image(ImageError),
    /// The layout of RAM is impossible.
    Memory(MemoryMapError),
    /// The engine cannot be used.
    Engine(ChoiceError),
    /// Another device has this port.
    PortIsTaken(u16),
    /// The device would need ports above 0xffff.
    NoSuchPort(u16),
    /// The snapshot cannot be restored.
    Restore(RestoreError),
    /// The recording was made without its program.
    NoProgram,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
            Self::PortIsTaken(port) => {
                write!(
                    f,
                    "there is a device at port {port:#x} already: put yours at a free one, such as 0x3f8"
                )
            }
            Self::NoSuchPort(port) => {
                write!(f, "a device at port {port:#x} needs ports above 0xffff: put it at a lower one")
            }
            Self::Restore(error) => error.fmt(f),
            Self::NoProgram => {
                f.write_str("the recording was made without its program: give the program too")
            }
        }
    }
}

impl Error for BuildError {}

impl Builder {
    /// Selects the engine.
    pub fn engine(mut self, engine: EngineChoice) -> Self {
        self.engine = engine;
        self
    }

    /// The size of RAM.
    pub fn memory(mut self, memory: MemorySize) -> Self {
        self.memory = memory;
        self
    }

    /// The size of the stack, which is part of RAM.
    pub fn stack(mut self, stack: MemorySize) -> Self {
        self.stack = Some(stack);
        self
    }

    /// The guest's arguments. None may have a zero byte.
    pub fn arguments<A: AsRef<[u8]>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments = arguments.into_iter().map(|argument| argument.as_ref().to_vec()).collect();
        self
    }

    /// The guest's input: bytes, standard input, a file, a pipe, or [any reader](Input::from_reader).
    pub fn input(mut self, input: impl Into<Input>) -> Self {
        self.streams.input = input.into();
        self
    }

    /// The guest's output: memory (a `Vec`), standard output, a file, a pipe, or [any writer](Output::from_writer).
    pub fn output(mut self, output: impl Into<Output>) -> Self {
        self.streams.output = output.into();
        self
    }

    /// The guest's diagnostics.
    pub fn diagnostics(mut self, diagnostics: impl Into<Output>) -> Self {
        self.streams.diagnostics = diagnostics.into();
        self
    }

    /// All three streams.
    pub fn streams(mut self, streams: Streams) -> Self {
        self.streams = streams;
        self
    }

    /// Ends a run that takes longer than this: see [`Machine::set_time_limit`].
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Ends a run that executes more instructions than this: see [`Machine::set_instruction_limit`]. The engine must be able
    /// to count them.
    pub fn instruction_limit(mut self, limit: u64) -> Self {
        self.instruction_limit = Some(limit);
        self
    }

    /// Adds a device at `port` and the ports after it, as many as the device has. The ports must be free.
    pub fn device(mut self, port: u16, device: impl Device) -> Self {
        self.devices.push((port, Box::new(device)));
        self
    }

    /// The guest's clock, instead of the host's.
    pub fn clock(self, clock: impl FnMut() -> contract::Clock + Send + 'static) -> Self {
        self.clock_device(devices::Clock::of(clock))
    }

    /// Sets the clock as a device: [`devices::Clock::repeatable`] makes runs repeatable.
    pub fn clock_device(mut self, clock: devices::Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The source of the guest's random bytes, instead of the operating system.
    pub fn entropy(self, source: impl FnMut(&mut [u8]) -> io::Result<()> + Send + 'static) -> Self {
        self.random_device(devices::Random::of(source))
    }

    /// Sets the source as a device: [`devices::Random::repeatable`] makes runs repeatable.
    pub fn random_device(mut self, random: devices::Random) -> Self {
        self.random = Some(random);
        self
    }

    /// Whether bulk input and output are fast: see [`Machine::set_fast_transfers`].
    pub fn fast_transfers(mut self, on: bool) -> Self {
        self.is_fast = on;
        self
    }

    /// This machine will be put back to snapshots again and again. With [`EngineChoice::Auto`] it begins with the soft
    /// engine, and makes no VM until a run computes for long.
    pub fn many_runs(mut self) -> Self {
        self.has_many_runs = true;
        self
    }

    /// Builds the machine, with the program in its RAM.
    pub fn build(self, program: &Program) -> Result<Machine, BuildError> {
        program.image().check_fits(self.memory).map_err(BuildError::Image)?;
        let map = program.memory_map(self.memory, self.stack).map_err(BuildError::Memory)?;
        let stops = Stops { instructions: self.instruction_limit, ..Stops::default() };
        let engines = match self.has_many_runs {
            true => self.engine.open_for_many_runs(map, &stops),
            false => self.engine.open(map, &stops),
        };
        self.build_on(engines.map_err(BuildError::Engine)?, program)
    }

    /// Builds the machine on the caller's engine, which has its memory map already.
    pub fn build_with(
        self,
        engine: Box<dyn Engine + Send>,
        program: &Program,
    ) -> Result<Machine, BuildError> {
        self.build_on(engine.into(), program)
    }

    /// Builds a machine that goes on from a snapshot. Memory, stack and arguments are those of the snapshot; all else is
    /// as set here. The instruction limit includes the instructions of the snapshot. With [`EngineChoice::Auto`] the
    /// run goes on with the soft engine if that can, and with KVM if it computes for long.
    pub fn build_from(mut self, snapshot: &Snapshot) -> Result<Machine, BuildError> {
        let streams = mem::replace(&mut self.streams, Streams::none());
        let limit = self.instruction_limit.take();
        let stops = Stops { instructions: limit, ..Stops::default() };
        let engines = self.engine.open_for_many_runs(snapshot.map.clone(), &stops);
        let mut machine =
            self.set_up(Machine::empty(engines.map_err(BuildError::Engine)?, Streams::none()))?;
        machine.restore(snapshot, streams).map_err(BuildError::Restore)?;
        // Only now is it known whether the instructions before were counted.
        set_instruction_limit(&mut machine, limit)?;
        Ok(machine)
    }

    /// Builds a machine that runs a recorded run again. The guest's input is the recorded one, and what it sends is
    /// compared with the recording: [`RunError::Diverged`](crate::RunError::Diverged) is where it leaves that. With
    /// [`EngineChoice::Auto`] the run goes on with the soft engine as long as that can.
    ///
    /// Takes no memory for the recorded input, which it shares with the [`Recording`](crate::Recording): besides what
    /// [`Self::build_from`] takes, at most 1 MiB.
    pub fn replay(self, recording: &Recording) -> Result<Machine, BuildError> {
        if recording.lacks_program() {
            return Err(BuildError::NoProgram);
        }
        let state = &recording.start.state;
        let mut machine = self.build_from(state)?;
        machine.bus.stand_in_for(&state.devices);
        machine.play(recording);
        Ok(machine)
    }

    fn build_on(mut self, engines: Engines, program: &Program) -> Result<Machine, BuildError> {
        let streams = mem::replace(&mut self.streams, Streams::none());
        self.set_up(Machine::new(engines, program.image(), streams).map_err(BuildError::Image)?)
    }

    fn set_up(self, mut machine: Machine) -> Result<Machine, BuildError> {
        machine.set_time_limit(self.time_limit);
        set_instruction_limit(&mut machine, self.instruction_limit)?;
        machine.set_arguments(self.arguments);
        if let Some(clock) = self.clock {
            machine.bus.replace(Port::Clock, clock);
        }
        if let Some(random) = self.random {
            machine.bus.replace(Port::Random, random);
        }
        if !self.is_fast {
            machine.set_fast_transfers(false);
        }
        for (port, mut device) in self.devices {
            device.connect(machine.interrupt_line());
            machine.bus.add(port, device).map_err(|taken| match taken {
                Taken::Port(port) => BuildError::PortIsTaken(port),
                Taken::OutOfRange(port) => BuildError::NoSuchPort(port),
            })?;
        }
        Ok(machine)
    }
}

fn set_instruction_limit(machine: &mut Machine, limit: Option<u64>) -> Result<(), BuildError> {
    let unsupported = |error: Unsupported| BuildError::Engine(error.into());
    if limit.is_some() { machine.set_instruction_limit(limit).map_err(unsupported) } else { Ok(()) }
}
