//! A guest that is run again and again from the place where it first asks for input.

use std::path::PathBuf;

use flatland::devices::{Clock, Random};
use flatland::program::Program;
use flatland::report::{Backtraces, Report};
use flatland::x86::BlockSink;
use flatland::{
    EngineChoice, Event, Input, Machine, MemorySize, Outcome, Output, Recorder, RunError, Snapshot, Stop,
    Streams, Wants,
};
use flatland_contract::status;

use crate::Result;

/// What a guest is, and what a run of it may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An ELF file or a flat image.
    pub program: PathBuf,
    /// What the guest is told, as behind `--` of a run.
    pub arguments: Vec<Vec<u8>>,
    /// What the guest reads before each input.
    pub prefix: Vec<u8>,
    pub memory: MemorySize,
    pub stack: Option<MemorySize>,
    /// A run that executes more instructions than these after its set-up hangs.
    pub max_instructions: u64,
}

/// A guest, put back before each run to where it first asks for input.
pub struct Target {
    machine: Machine,
    /// Where it begins.
    begin: Snapshot,
    /// Where it asks for input.
    asking: Snapshot,
    /// The most instructions of a run, with those before it asks.
    limit: u64,
    program: Program,
    /// What it reads before each input.
    prefix: Vec<u8>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Target").field("elf", &self.program.elf()).finish_non_exhaustive()
    }
}

impl Target {
    /// Loads a guest and runs it to where it asks for input. Its clock and its random numbers are the same in each run.
    pub fn open(settings: &Settings) -> Result<Self> {
        let path = settings.program.display();
        let program = Program::open_for(&settings.program, settings.memory)
            .map_err(|error| format!("`{path}`: {error}"))?;
        let mut builder = Machine::builder()
            .engine(EngineChoice::Soft)
            .many_runs()
            .memory(settings.memory)
            .arguments(&settings.arguments)
            .clock_device(Clock::repeatable(std::time::Duration::ZERO))
            .random_device(Random::repeatable(0));
        if let Some(stack) = settings.stack {
            builder = builder.stack(stack);
        }
        let mut machine = builder.build(&program).map_err(|error| format!("`{path}`: {error}"))?;
        let begin = machine.snapshot().map_err(|error| error.to_string())?;
        // A guest that never asks for input is no target.
        machine.set_instruction_limit(Self::MOST_BEFORE).map_err(|error| error.to_string())?;
        if let Some(outcome) = machine.run_until_input().map_err(|error| error.to_string())? {
            let why = match outcome {
                Outcome::Stopped(..) => format!("does not within {} instructions", Self::MOST_BEFORE),
                _ => "ends before".into(),
            };
            return Err(format!(
                "a fuzzer needs a guest that reads its input, and `{path}` {why}: try it with `flatland {path}`"
            ));
        }
        let asking = machine.snapshot().map_err(|error| error.to_string())?;
        let before = machine.instructions().unwrap_or_default();
        let limit = before.saturating_add(settings.max_instructions);
        let mut target = Self { machine, begin, asking, limit, program, prefix: settings.prefix.clone() };
        target.set_limit(Some(limit))?;
        Ok(target)
    }

    /// The most instructions of a run, with those before it asks.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Sets another limit, or none.
    pub fn set_limit(&mut self, limit: Option<u64>) -> Result<()> {
        self.machine.set_instruction_limit(limit).map_err(|error| error.to_string())
    }

    /// How many instructions a guest may execute before it asks for input.
    const MOST_BEFORE: u64 = 10_000_000_000;

    /// How much of what a guest sends in a run is kept, in bytes: enough for a panic's message. One that sends without end
    /// stays within twice as much.
    const MOST_OUTPUT: usize = 64 << 10;

    /// Lets a sink see the blocks of each run.
    pub fn watch(&mut self, sink: impl BlockSink) -> Result<()> {
        self.machine.watch_blocks(sink).map_err(|error| error.to_string())
    }

    /// Ends that, and returns the sink.
    pub fn unwatch<T: BlockSink>(&mut self) -> T {
        self.machine.unwatch_blocks().expect("it was given to `watch`")
    }

    /// The sink that sees them.
    pub fn sink<T: BlockSink>(&mut self) -> &mut T {
        self.machine.block_sink().expect("it was given to `watch`")
    }

    /// Runs the guest on an input.
    pub fn run(&mut self, input: &[u8]) -> Result<Outcome> {
        self.put_back(input)?;
        self.machine.run().map_err(|error| error.to_string())
    }

    /// Runs the guest on an input from its beginning, with its set-up.
    pub fn run_from_begin(&mut self, input: &[u8]) -> Result<Outcome> {
        self.machine.restore(&self.begin, self.streams(input)).map_err(|error| error.to_string())?;
        self.machine.run().map_err(|error| error.to_string())
    }

    /// Puts the guest to where it asks for this input.
    pub fn put_back(&mut self, input: &[u8]) -> Result<()> {
        self.machine.restore(&self.asking, self.streams(input)).map_err(|error| error.to_string())
    }

    fn streams(&self, input: &[u8]) -> Streams {
        let kept = || Output::memory_up_to(Self::MOST_OUTPUT);
        Streams {
            input: Input::from_bytes([&self.prefix, input].concat()),
            output: kept(),
            diagnostics: kept(),
        }
    }

    /// Runs the guest to the next of these events.
    pub fn resume(&mut self, wants: &Wants) -> Result<Event> {
        self.machine.resume(wants).map_err(|error| error.to_string())
    }

    /// Runs the guest on an input from its beginning, and records that.
    pub fn record(&mut self, input: &[u8], recorder: Recorder) -> Result<Outcome> {
        self.machine.restore(&self.begin, self.streams(input)).map_err(|error| error.to_string())?;
        let record = || -> Result<Outcome, RunError> {
            self.machine.record_from(&self.begin, recorder)?;
            let outcome = self.machine.run()?;
            self.machine.end_recording(&outcome)?;
            Ok(outcome)
        };
        let recorded = record().map_err(|error| error.to_string());
        self.machine.stop_recording();
        recorded
    }

    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// How many edges a map of this program has room for: an edge for every few bytes of code. It is looked at after each run,
    /// so a short one matters.
    pub fn map_size(&self) -> usize {
        const BYTES_OF_EACH: usize = 8;
        let code = self.program.segments().map(|segments| {
            let constant = segments.iter().filter(|segment| !segment.writable);
            constant.map(|segment| segment.end.saturating_sub(segment.start.into()) as usize).sum()
        });
        let code: usize = code.unwrap_or_else(|| self.program.image().bytes().len());
        (code / BYTES_OF_EACH).next_power_of_two().clamp(1 << 10, 1 << 16)
    }

    /// Examines the end of the run.
    pub fn report(&mut self, outcome: &Outcome) -> Report {
        Report::new(outcome, self.machine.engine(), self.program.elf(), Backtraces::Always)
    }
}

/// How a run ended that is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// The guest panicked.
    Panic,
    /// The processor could not continue.
    Fault,
    /// It executed as many instructions as it may.
    Hang,
}

impl Bad {
    /// `None` if the run ended well.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Exited(status::PANIC) => Some(Self::Panic),
            Outcome::Fault(_) => Some(Self::Fault),
            Outcome::Stopped(Stop::InstructionLimit(_), _) => Some(Self::Hang),
            _ => None,
        }
    }
}
