//! Tests in the guest: finds them in an ELF file without running it, and runs each in a machine in its initial state.
//!
//! `flatland_contract::test` defines the records of tests, and when a test has passed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flatland_contract::status;
use flatland_contract::test::{Order, Record, Text, flag};

use flatland::coverage::Counter;
use flatland::report::{self, Backtraces, Paint};
use flatland::x86::{EngineError, Fault, FaultKind, MemoryMap, MemoryMapError};
use flatland::{
    Engines, Image, Machine, MemorySize, MoveError, Outcome, Output, Program, ProgramError, Recorder,
    RestoreError, RunError, Snapshot, Stop, StreamError, Streams, devices,
};

use crate::cover::Cover;

/// A guest program with tests.
#[derive(Debug)]
pub struct Suite {
    program: Program,
    ram: Ram,
    tests: Vec<Test>,
}

/// The RAM of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ram {
    pub size: MemorySize,
    /// An eighth, if nothing is said.
    pub stack: Option<MemorySize>,
}

impl Ram {
    /// Without protection.
    pub fn map(self) -> Result<MemoryMap, MemoryMapError> {
        self.stack.map_or(Ok(self.size.into()), |stack| MemoryMap::with_stack(self.size, stack))
    }
}

/// A machine that runs the tests of a [`Suite`] one after another. Each test finds registers, RAM and ports in their
/// initial state. Restoring that state takes a small part of the time that a new machine takes.
#[derive(Debug)]
pub struct TestMachine {
    machine: Machine,
    start: Snapshot,
}

impl TestMachine {
    /// The name of the engine that the last test ended on.
    pub fn engine(&mut self) -> &'static str {
        self.machine.engine().name()
    }
}

/// A test of a guest program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Its path, as in `answer::tests::the_answer`.
    pub name: String,
    /// The source file.
    pub file: String,
    /// The line of the source file.
    pub line: u32,
    /// What it must do to pass.
    pub expected: Expected,
    /// If the test runs only on request: the reason, which may be empty.
    pub ignored: Option<String>,
    /// The time limit.
    pub time_limit: Duration,
    /// The RAM that it asks for.
    memory: Option<MemorySize>,
    /// The stack that it asks for.
    stack: Option<MemorySize>,
    function: u32,
}

/// What a test must do to pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Run to its end.
    Completion,
    /// Panic with a message that contains this text.
    Panic(String),
}

/// The result of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `None` if the test passed, or else the reason.
    pub failure: Option<String>,
    /// The test reached its time limit.
    pub timed_out: bool,
    /// The report of a failure, in lines: the fault, and the calls that led to it. It may be empty.
    pub details: String,
    /// The bytes that the test sent to the console.
    pub output: Vec<u8>,
    /// The bytes that the test sent to diagnostics, such as a panic's message.
    pub diagnostics: Vec<u8>,
    /// How many bytes came before these and were not kept.
    pub left_out: u64,
}

/// How many bytes of what a test sends are kept, of each stream: the last. A test that prints without end needs twice as much
/// memory and no more, until its time is over.
const MOST_OUTPUT: usize = 4 << 20;

/// What is kept of a stream, and how many bytes came before.
fn last(output: &Output) -> (Vec<u8>, u64) {
    let bytes = output.bytes();
    let (first, last) = bytes.split_at(bytes.len().saturating_sub(MOST_OUTPUT));
    (last.to_vec(), output.left_out() + first.len() as u64)
}

/// Why a suite cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The ELF file cannot be read.
    #[error("cannot read the ELF file `{0}`: {1}")]
    Program(PathBuf, ProgramError),
    /// The program does not fit the machine.
    #[error(transparent)]
    Memory(#[from] MemoryMapError),
    /// The records do not have the contract's format.
    #[error(
        "the tests in `{0}` are not of this version's form: build it again with the flatland-guest of this version"
    )]
    Records(PathBuf),
}

/// Why a test cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The machine cannot be put back to its initial state.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The test cannot be shown.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// The host failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// There are no random numbers.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl Suite {
    /// Opens the tests in an ELF file, for machines with this RAM. A program without tests is an empty suite.
    pub fn open(elf: &Path, ram: Ram) -> Result<Self, SuiteError> {
        let program =
            Program::open_for(elf, ram.size).map_err(|error| SuiteError::Program(elf.into(), error))?;
        let tests = tests(program.tests(), program.image()).ok_or_else(|| SuiteError::Records(elf.into()))?;
        let suite = Self { program, ram, tests };
        suite.memory_map(ram)?;
        Ok(suite)
    }

    /// The RAM of a test's machine: what the test asks for, or else what the suite was opened for.
    pub fn ram(&self, test: &Test) -> Ram {
        Ram { size: test.memory.unwrap_or(self.ram.size), stack: test.stack.or(self.ram.stack) }
    }

    /// The memory map that a processor for [`Self::machine`] is opened with.
    pub fn memory_map(&self, ram: Ram) -> Result<MemoryMap, MemoryMapError> {
        ram.map()?.protecting(self.program.segments().unwrap_or_default())
    }

    /// The ELF file.
    pub fn elf(&self) -> Option<&Path> {
        self.program.elf()
    }

    /// The tests, sorted by file and line.
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }

    /// Makes a machine for the suite's tests, of fresh engines with [`Self::memory_map`].
    pub fn machine(&self, engines: impl Into<Engines>) -> Result<TestMachine, EngineError> {
        let mut machine = Machine::new(engines, self.program.image(), Streams::none())
            .expect("the image fits the RAM that its memory map was made for");
        let start = machine.snapshot()?;
        Ok(TestMachine { machine, start })
    }

    /// Restores a machine of this suite to its initial state, and runs a test in it. If the test fails, all of it has been
    /// recorded. After an error the machine must not be used again.
    pub fn run(
        &self,
        test: &Test,
        machine: &mut TestMachine,
        recorder: Option<Recorder>,
        paint: Paint,
        cover: Option<&Cover>,
    ) -> Result<Report, TestError> {
        let TestMachine { machine, start } = machine;
        let kept = || Output::memory_up_to(MOST_OUTPUT);
        machine.restore(start, Streams { output: kept(), diagnostics: kept(), ..Streams::none() })?;
        let mut token = [0; 4];
        getrandom::fill(&mut token).map_err(|error| StreamError::Random(error.into()))?;
        test_port(machine).request(Order { function: test.function, token: u32::from_le_bytes(token) });
        machine.set_time_limit(test.time_limit);
        if let Some(recorder) = recorder {
            machine.record_from(start, recorder)?;
        }
        if cover.is_some() {
            machine.watch_blocks(Counter::default())?;
        }
        let outcome = machine.run()?;
        if let (Some(cover), Some(elf)) = (cover, self.program.elf()) {
            let counter = machine.unwatch_blocks::<Counter>().unwrap_or_default().finish();
            cover.add(elf, &counter);
        }
        let complete = test_port(machine).is_complete();
        let (diagnostics, before_diagnostics) = last(&machine.streams().diagnostics);
        let mut failure = self.failure(test, &outcome, complete, &diagnostics);
        let mut details = String::new();
        if let Some(failure) = &mut failure {
            let seen = report::Report::new(&outcome, machine.engine(), self.program.elf(), Backtraces::Auto);
            details = seen.body(paint);
            match (&seen.outcome, seen.message()) {
                (
                    Outcome::Fault(Fault { kind: FaultKind::StackOverflow { stack_size }, .. }),
                    Some(message),
                ) => {
                    *failure += &format!(": {}", message.replace("--stack SIZE", &more_stack(*stack_size)));
                }
                (Outcome::Fault(_), Some(message)) => *failure += &format!(": {message}"),
                (Outcome::Stopped(Stop::TimeLimit(_), _), _) => {
                    *failure += &format!("{}: give it more with `#[timeout(SECONDS)]`", seen.names.place);
                }
                _ => {}
            }
            machine.end_recording(&outcome)?;
        }
        machine.stop_recording();
        let timed_out = matches!(outcome, Outcome::Stopped(Stop::TimeLimit(_), _));
        let (output, before_output) = last(&machine.streams().output);
        let left_out = before_output + before_diagnostics;
        Ok(Report { failure, timed_out, details, output, diagnostics, left_out })
    }

    /// Why a test that ended like this has not passed; `None` if it has.
    fn failure(&self, test: &Test, outcome: &Outcome, complete: bool, diagnostics: &[u8]) -> Option<String> {
        let too_early = "before the test was through";
        let reason = match (outcome, &test.expected) {
            (Outcome::Exited(status::PANIC), Expected::Panic(text)) => match panic_message(diagnostics) {
                None => format!("ended with status {} without a panic", status::PANIC),
                Some(message) if message.contains(text.as_str()) => return None,
                Some(_) => format!("panicked with another message than one that contains `{text}`"),
            },
            (Outcome::Exited(status::SUCCESS), Expected::Completion) if complete => return None,
            (Outcome::Exited(status::SUCCESS), Expected::Panic(_)) if complete => {
                "did not panic, and should have".into()
            }
            (Outcome::Exited(status::PANIC), _) if panic_message(diagnostics).is_some() => "panicked".into(),
            (Outcome::Exited(status::SUCCESS), _) => format!("ended the run with status 0 {too_early}"),
            (Outcome::Exited(status), _) => format!("ended with status {status}"),
            (Outcome::Halted, _) => format!("executed `hlt` {too_early}"),
            (Outcome::EndOfInput, _) => {
                format!("read the console, which has no input for a test, {too_early}")
            }
            (Outcome::Stopped(Stop::TimeLimit(limit), _), _) => {
                format!("took longer than {} s", limit.as_secs_f64())
            }
            // `run` completes this text and the time limit's.
            (Outcome::Fault(_), _) => "ended with a fault".into(),
            _ => "was stopped from outside: run it again".into(),
        };
        Some(reason)
    }
}

/// What gives a test twice as much stack.
fn more_stack(bytes: u32) -> String {
    let twice = MemorySize::from_bytes(u64::from(bytes) * 2);
    twice.map_or_else(|_| "`#[stack(SIZE)]`".into(), |twice| format!("`#[stack(\"{twice}\")]`"))
}

fn test_port(machine: &mut Machine) -> &mut devices::Test {
    machine.device().expect("every machine has one")
}

/// Parses test records, whose texts are in the image. `None` if they are malformed.
fn tests(records: &[u8], image: &Image) -> Option<Vec<Test>> {
    let (records, rest) = records.as_chunks::<{ size_of::<Record<u32, u32>>() }>();
    let tests: Option<Vec<_>> = records.iter().map(|record| test(record, image)).collect();
    let mut tests = tests.filter(|_| rest.is_empty())?;
    tests.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Some(tests)
}

fn test(bytes: &[u8; size_of::<Record<u32, u32>>()], image: &Image) -> Option<Test> {
    let mut words = [0; Record::<u32, u32>::WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let record = Record::from_words(words)?;
    let text = |text: Text<u32>| {
        let start = usize::try_from(text.start).ok()?;
        let bytes = image.bytes().get(start..start.checked_add(text.len as usize)?)?;
        Some(str::from_utf8(bytes).ok()?.to_owned())
    };
    // 0 is what nothing is said by.
    let size = |bytes: u32| match bytes {
        0 => Some(None),
        _ => Some(Some(MemorySize::from_bytes(bytes.into()).ok()?)),
    };
    let reason = text(record.ignore_reason)?;
    let expected_panic = text(record.expected_panic)?;
    Some(Test {
        name: text(record.name)?,
        file: text(record.file)?,
        line: record.line,
        expected: if record.flags & flag::SHOULD_PANIC != 0 {
            Expected::Panic(expected_panic)
        } else {
            Expected::Completion
        },
        ignored: (record.flags & flag::IGNORE != 0).then_some(reason),
        time_limit: Duration::from_secs(record.time_limit.into()),
        memory: size(record.memory)?,
        stack: size(record.stack)?,
        function: record.function,
    })
}

/// The message of the panic that ended a run, as the guest's runtime writes it: `guest panicked at FILE:LINE:COLUMN:`,
/// and the message from the next line on.
fn panic_message(diagnostics: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(diagnostics);
    let begin = text.rfind("guest panicked at ")?;
    Some(text[begin..].split_once('\n')?.1.to_owned())
}
