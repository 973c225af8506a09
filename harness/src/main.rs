//! `flatland-test`: runs the tests in guest programs, each in a fresh machine.
//!
//! The command line is a list of ELF files, each with its flat image in the same folder (`NAME.elf`, `NAME.bin`), and after
//! a `--` the options of libtest, as with `cargo test`. This is a crate of its own so that its dependencies are compiled
//! only if there are tests to run.

mod suite;

use std::cell::RefCell;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use flatland::report::Paint;
use flatland::x86::Stops;
use flatland::{EngineChoice, MemorySize};
use flatland_contract::status;
use libtest_mimic::{Arguments, Failed, Trial};
use suite::{Report, Suite, Test, TestMachine};

fn main() -> ExitCode {
    let Some(Command { engine, elf_files, libtest }) = Command::parse(env::args_os().skip(1)) else {
        report("give the ELF files to test, such as `flatland-test [--engine ENGINE] NAME.elf -- --list`");
        return status::USAGE.into();
    };
    let arguments = Arguments::from_iter([OsString::from("flatland-test")].into_iter().chain(libtest));
    let engine = match choose_engine(engine) {
        Ok(engine) => engine,
        Err(message) => {
            report(&message);
            return status::HOST.into();
        }
    };
    let mut trials = Vec::new();
    for elf in &elf_files {
        match Suite::open(&elf.with_extension("bin"), elf) {
            Ok(suite) => trials.extend(make_trials(Arc::new(suite), engine, arguments.nocapture)),
            Err(error) => {
                report(&error.to_string());
                return status::HOST.into();
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The command line.
struct Command {
    engine: EngineChoice,
    elf_files: Vec<PathBuf>,
    libtest: Vec<OsString>,
}

impl Command {
    fn parse(arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments.peekable();
        let mut engine = EngineChoice::Auto;
        if arguments.next_if(|argument| argument == "--engine").is_some() {
            engine = arguments.next()?.to_str()?.parse().ok()?;
        }
        let elf_files: Vec<_> =
            arguments.by_ref().take_while(|argument| argument != "--").map(PathBuf::from).collect();
        let is_option = |path: &PathBuf| path.as_os_str().as_encoded_bytes().starts_with(b"-");
        if elf_files.is_empty() || elf_files.iter().any(is_option) {
            return None;
        }
        Some(Self { engine, elf_files, libtest: arguments.collect() })
    }
}

/// Chooses the engine for all tests. If it is not the preferred one, that is reported once and not for each test.
fn choose_engine(engine: EngineChoice) -> Result<EngineChoice, String> {
    let (_, fell_back) =
        engine.open(MemorySize::default(), &Stops::default()).map_err(|error| error.to_string())?;
    Ok(match (engine, fell_back) {
        (EngineChoice::Auto, Some(why)) => {
            report(&format!("running on the soft engine, because {why}"));
            EngineChoice::Soft
        }
        (EngineChoice::Auto, None) => EngineChoice::Kvm,
        (engine, _) => engine,
    })
}

/// Makes a trial for libtest-mimic of each test.
fn make_trials(suite: Arc<Suite>, engine: EngineChoice, no_capture: bool) -> Vec<Trial> {
    let trial = |test: &Test| {
        let (suite, test) = (suite.clone(), test.clone());
        let (name, ignored) = (test.name.clone(), test.ignored.is_some());
        Trial::test(name, move || run(&suite, &test, engine, no_capture)).with_ignored_flag(ignored)
    };
    suite.tests().iter().map(trial).collect()
}

thread_local! {
    /// The machine in which this thread ran its last test, and the suite of that test.
    static MACHINE: RefCell<Option<(Arc<Suite>, TestMachine)>> = const { RefCell::new(None) };
}

/// Takes this thread's machine if its last test was in this suite; otherwise makes a new one.
fn take_machine(suite: &Arc<Suite>, engine: EngineChoice) -> Result<TestMachine, Failed> {
    match MACHINE.take() {
        Some((last, machine)) if Arc::ptr_eq(&last, suite) => Ok(machine),
        _ => {
            let (processor, _) = engine.open(suite.memory_map().clone(), &Stops::default())?;
            Ok(suite.machine(processor)?)
        }
    }
}

/// Runs a test. The error says why it failed.
fn run(suite: &Arc<Suite>, test: &Test, engine: EngineChoice, no_capture: bool) -> Result<(), Failed> {
    let mut machine = take_machine(suite, engine)?;
    let Report { failure, details, output, diagnostics } =
        suite.run(test, &mut machine, Paint::for_standard_error())?;
    MACHINE.set(Some((suite.clone(), machine)));
    if no_capture {
        // If the streams are closed, there is nowhere to report that.
        let _ = io::stdout().write_all(&output);
        let _ = io::stderr().write_all(&diagnostics);
    }
    let Some(reason) = failure else { return Ok(()) };
    let mut text = String::new();
    for bytes in [output, diagnostics] {
        if !no_capture && !bytes.is_empty() {
            text += &String::from_utf8_lossy(&bytes);
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
    }
    let mut text = format!("{text}the test at {}:{} {reason}", test.file, test.line);
    if !details.is_empty() {
        text += &format!("\n{}", details.trim_end());
    }
    Err(Failed::from(text))
}

fn report(message: &str) {
    // If standard error is closed, there is nowhere to report that.
    let _ = writeln!(io::stderr(), "flatland: {message}");
}
