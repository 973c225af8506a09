//! Tests in the guest: found in an ELF file without running it, and each run in a machine as fresh as the first one.
//!
//! What a test is, where it stands and when it has passed is the contract's: `flatland_contract::test`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flatland_contract::status;
use flatland_contract::test::{Order, Record, Text, flag};

use crate::engine::{Engine, EngineError};
use crate::{
    Backtraces, Image, Machine, MemoryMap, MemoryMapError, MemorySize, Outcome, Paint, Program, ProgramError,
    RunError, Snapshot, Stop, StreamError, Streams, report,
};

/// A guest program with tests.
#[derive(Debug)]
pub struct Suite {
    program: Program,
    memory_map: MemoryMap,
    tests: Vec<Test>,
}

/// A machine that runs one test of a [`Suite`] after the other. Each finds it as a fresh one, in registers, RAM and ports: only
/// putting it back takes a small part of the time.
#[derive(Debug)]
pub struct TestMachine<E> {
    machine: Machine<E>,
    start: Snapshot,
}

/// A test of a guest program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Its path, as in `answer::tests::the_answer`.
    pub name: String,
    /// The file that it stands in.
    pub file: String,
    /// The line.
    pub line: u32,
    /// What it must do to pass.
    pub expected: Expected,
    /// Why it runs only when asked for, if it does; it may not say why.
    pub ignored: Option<String>,
    /// How long it may take.
    pub time_limit: Duration,
    function: u32,
}

/// What a test must do to pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Come to its end.
    Completion,
    /// Panic, with this in the message.
    Panic(String),
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Nothing if it passed, or why it did not.
    pub failure: Option<String>,
    /// What is to be seen of a failure, in lines: the fault, the calls that led to it. It may be nothing.
    pub details: String,
    /// What it sent to the console.
    pub output: Vec<u8>,
    /// What it sent to diagnostics: a panic's message, for one.
    pub diagnostics: Vec<u8>,
}

/// Why there are no tests to run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The ELF file cannot be read.
    #[error("cannot read the ELF file `{0}`: {1}")]
    Program(PathBuf, ProgramError),
    /// The program does not fit the machine.
    #[error(transparent)]
    Memory(#[from] MemoryMapError),
    /// The records are not what the contract says.
    #[error(
        "the tests in `{0}` are not of this version's form: build it again with `cargo xtask test --guest`"
    )]
    Records(PathBuf),
}

impl Suite {
    /// The tests in this ELF file. A program without tests has none.
    pub fn open(elf: &Path) -> Result<Self, SuiteError> {
        let ram = MemorySize::default();
        let program = Program::open_for(elf, ram).map_err(|error| SuiteError::Program(elf.into(), error))?;
        let tests = tests(program.tests(), program.image()).ok_or_else(|| SuiteError::Records(elf.into()))?;
        let memory_map = program.memory_map(ram, None)?;
        Ok(Self { program, memory_map, tests })
    }

    /// What lies where in RAM: a test's processor is made with it.
    pub fn memory_map(&self) -> &MemoryMap {
        &self.memory_map
    }

    /// The tests, in the order of their files.
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }

    /// A machine for one test after the other, on a fresh processor with [`Self::memory_map`].
    pub fn machine<E: Engine>(&self, engine: E) -> Result<TestMachine<E>, EngineError> {
        let mut machine =
            Machine::new(engine, self.program.image(), Streams::none()).expect("the image fits the default size");
        let start = machine.snapshot()?;
        Ok(TestMachine { machine, start })
    }

    /// Runs a test in a machine of this suite, which is put back to its start for it. After an error the machine is of no
    /// more use.
    pub fn run<E: Engine>(
        &self,
        test: &Test,
        machine: &mut TestMachine<E>,
        paint: Paint,
    ) -> Result<Report, RunError> {
        let TestMachine { machine, start } = machine;
        machine.restore(start, Streams::none())?;
        let mut token = [0; 4];
        getrandom::fill(&mut token).map_err(|error| StreamError::Random(error.into()))?;
        machine.set_test(Order { function: test.function, token: u32::from_le_bytes(token) });
        machine.set_time_limit(test.time_limit);
        let outcome = machine.run()?;
        let complete = machine.test_is_complete();
        let diagnostics = machine.streams().diagnostics.bytes().to_vec();
        let mut failure = self.failure(test, &outcome, complete, &diagnostics);
        let mut details = String::new();
        if let Some(failure) = &mut failure {
            let seen = report::Report::new(&outcome, machine.engine(), self.program.elf(), Backtraces::Auto);
            details = seen.body(paint);
            match (&seen.outcome, seen.message()) {
                (Outcome::Fault(_), Some(message)) => *failure += &format!(": {message}"),
                (Outcome::Stopped(Stop::TimeLimit(_), _), _) => {
                    *failure += &format!("{}: give it more with `#[timeout(SECONDS)]`", seen.names.place);
                }
                _ => {}
            }
        }
        Ok(Report { failure, details, output: machine.streams().output.bytes().to_vec(), diagnostics })
    }

    /// Why a test that ended like this has not passed.
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
                format!("took longer than {} s", limit.as_secs_f64(),)
            }
            // The report says the rest of both.
            (Outcome::Fault(_), _) => "ended with a fault".into(),
            (Outcome::Stopped(..) | Outcome::OutputClosed, _) => {
                "was stopped from outside: run it again".into()
            }
        };
        Some(reason)
    }
}

/// The tests that these records describe, with their texts in the image.
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
