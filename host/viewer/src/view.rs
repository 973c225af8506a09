//! A recorded run that is looked at.

use std::error::Error;
use std::fmt;

use flatland_machine::{
    BuildError, EngineChoice, Event, FileError, Machine, MemorySize, MoveError, Outcome, Output, Recording,
    RunError, Stop, Streams, Wants,
};
use flatland_tools::instruction::{Instruction, reader};
use flatland_tools::timeline::Timeline;
use flatland_tools::{Observer, Verdict, words};
use flatland_x86::{MemoryMap, Registers};

use crate::history::{self, History};
use crate::{Lines, Sample, TransferredByte};

/// A recorded run, at a point of it.
///
/// It is executed once, from its beginning to its end or to where the caller ends that ([`Self::execute`]). Then it goes
/// to any point that has been executed. Memory: RAM, twice what the recording takes, and some 100 MiB.
///
/// ```
/// use flatland_machine::{EngineChoice, Machine, Program, Recorder};
/// use flatland_viewer::{Progress, View};
///
/// // inc eax; inc eax; inc eax; hlt
/// let program = Program::from_bytes(vec![0x40, 0x40, 0x40, 0xf4])?;
/// let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program)?;
/// let (recorder, file) = Recorder::to_memory();
/// machine.record(recorder)?;
/// let outcome = machine.run()?;
/// machine.end_recording(&outcome)?;
///
/// let mut view = View::open(&file.take(), Default::default())?;
/// assert_eq!(view.execute(1000)?, Progress::Ended);
/// assert_eq!((view.position(), view.registers()?.eax), (4, 3));
/// view.go_to(1)?;
/// assert_eq!(view.registers()?.eax, 1);
/// assert!(view.step_back()?);
/// assert!(!view.step_back()?, "this is the beginning");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct View {
    pub(crate) machine: Machine,
    pub(crate) timeline: Timeline,
    history: History,
    /// How the run ended, once it has been executed.
    end: Option<Outcome>,
}

/// Whether a run has been executed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Some is left.
    Unfinished,
    /// It has been.
    Ended,
}

/// Why a run cannot be looked at.
#[derive(Debug)]
#[non_exhaustive]
pub enum ViewError {
    /// The recording cannot be read.
    Recording(FileError),
    /// The run had more RAM than there is room for.
    TooMuchMemory(MemorySize),
    /// The recording cannot be run again.
    Build(BuildError),
    /// The run cannot be gone back in.
    Move(MoveError),
    /// The run failed.
    Run(RunError),
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Recording(error) => write!(f, "the recording cannot be read: {error}"),
            Self::TooMuchMemory(size) => {
                let most = View::MOST_MEMORY >> 20;
                write!(
                    f,
                    "the run had {size} of RAM, and a page has room for {most}M: record it with less, by --memory"
                )
            }
            Self::Build(error) => error.fmt(f),
            Self::Move(error) => error.fmt(f),
            Self::Run(error) => error.fmt(f),
        }
    }
}

impl Error for ViewError {}

impl From<RunError> for ViewError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl View {
    /// The most RAM of a run, in bytes: 256 MiB.
    pub const MOST_MEMORY: u32 = 256 << 20;

    /// How many instructions lie between two checkpoints: 20 ms in a browser.
    const SPACING: u64 = 1_000_000;

    /// How much memory the checkpoints may take, in bytes.
    const CHECKPOINTS: usize = 64 << 20;

    /// Opens a recording, which may be anything. Nothing is executed yet.
    pub fn open(recording: &[u8], lines: Lines) -> Result<Self, ViewError> {
        let recording = Recording::read_from(recording).map_err(ViewError::Recording)?;
        if recording.memory().bytes() > Self::MOST_MEMORY {
            return Err(ViewError::TooMuchMemory(recording.memory()));
        }
        // What is sent is kept with where it was sent, and not again here.
        let streams = Streams {
            output: Output::memory_up_to(0),
            diagnostics: Output::memory_up_to(0),
            ..Streams::none()
        };
        let mut machine = Machine::builder()
            .engine(EngineChoice::Soft)
            .streams(streams)
            .replay(&recording)
            .map_err(ViewError::Build)?;
        let mut timeline = Timeline::new(&mut machine).map_err(ViewError::Move)?;
        timeline.set_spacing(Self::SPACING);
        timeline.set_bound(Self::CHECKPOINTS);
        let len = recording.end().and_then(|end| end.instructions);
        let history = History::new(timeline.beginning(), len, lines);
        Ok(Self { machine, timeline, history, end: None })
    }

    /// Executes at most this many more instructions of the run for the first time. The run is at the last of them then.
    pub fn execute(&mut self, instructions: u64) -> Result<Progress, ViewError> {
        self.timeline.go_to_end(&mut self.machine)?;
        if self.end.is_some() {
            return Ok(Progress::Ended);
        }
        let mut pause = Pause { at: self.position().saturating_add(instructions), is_there: false };
        let observers: &mut [&mut dyn Observer] = &mut [&mut self.timeline, &mut self.history, &mut pause];
        let outcome = flatland_tools::observe(&mut self.machine, observers)?;
        if pause.is_there {
            return Ok(Progress::Unfinished);
        }
        self.end = Some(outcome);
        Ok(Progress::Ended)
    }

    /// How the run ended, once it has been executed: in a sentence.
    pub fn ending(&self) -> Option<String> {
        let outcome = self.end.as_ref()?;
        let words = words::outcome(outcome, &words::Names::default());
        Some(words.unwrap_or_else(|| format!("ended with status {}", outcome.status())))
    }

    /// How many instructions have been executed here.
    pub fn position(&self) -> u64 {
        self.machine.instructions().unwrap_or_default()
    }

    /// How many instructions had been executed where the recording begins.
    pub fn beginning(&self) -> u64 {
        self.timeline.beginning()
    }

    /// How many instructions have been executed of the run in all.
    pub fn len(&self) -> u64 {
        self.timeline.end(&self.machine)
    }

    /// Whether nothing has been executed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == self.beginning()
    }

    /// The registers.
    pub fn registers(&mut self) -> Result<Registers, ViewError> {
        Ok(self.machine.registers().map_err(RunError::Engine)?)
    }

    /// Copies RAM, and returns how many bytes there are.
    pub fn read_memory(&self, address: u32, bytes: &mut [u8]) -> usize {
        self.machine.read_ram(address, bytes)
    }

    /// What is where in RAM.
    pub fn memory_map(&self) -> &MemoryMap {
        self.machine.memory_map()
    }

    /// The bytes that the guest has read and sent in the whole run, in order. Of many, the first.
    pub fn transfers(&self) -> &[TransferredByte] {
        &self.history.transfers
    }

    /// How many more bytes were read and sent than [`Self::transfers`] has.
    pub fn transfers_left_out(&self) -> u64 {
        self.history.left_out
    }

    /// Which calls led to where the run was, at some thousand points of it.
    pub fn samples(&self) -> &[Sample] {
        &self.history.samples
    }

    /// The calls that led to here: addresses inside of instructions, the innermost first.
    pub fn calls(&mut self) -> Result<Vec<u32>, ViewError> {
        Ok(history::calls(&mut self.machine, &self.history.lines)?.addresses)
    }

    /// The lines of the program.
    pub fn lines(&self) -> &Lines {
        &self.history.lines
    }

    /// The instructions from this address on. Fewer where there are none.
    pub fn instructions(&mut self, address: u32, most: usize) -> Vec<Instruction> {
        let read = reader(self.machine.engine());
        let mut at = Some(address);
        let next = || {
            let instruction = Instruction::at(at?, &read)?;
            at = at?.checked_add(instruction.bytes.len() as u32);
            Some(instruction)
        };
        std::iter::from_fn(next).take(most).collect()
    }
}

/// Ends an execution at a count of instructions.
struct Pause {
    at: u64,
    is_there: bool,
}

impl Observer for Pause {
    fn wants(&self) -> Wants {
        Wants { instructions: Some(self.at), ..Wants::default() }
    }

    fn observe(&mut self, machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
        let is_end = matches!(event, Event::Ended(_));
        self.is_there = !is_end && machine.instructions().is_some_and(|count| count >= self.at);
        Ok(if self.is_there { Verdict::End(Stop::Interrupted) } else { Verdict::Continue })
    }
}
