//! `flatland-test`: runs the tests in guest programs, each in a machine as fresh as the first one.
//!
//! The command line is a list of ELF files, and behind a `--` that of libtest, which everybody knows from `cargo test`. A
//! crate of its own, since that costs a while to compile and only those who test need it.

use std::cell::RefCell;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use flatland::engine::choice::{self, Choice};
use flatland::engine::{Engine, Stops};
use flatland::suite::{Report, Suite, Test, TestMachine};
use flatland::{MemorySize, Paint};
use flatland_contract::status;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let Some(Command { engine, elves, libtest }) = Command::parse(env::args_os().skip(1)) else {
        say("give the ELF files to test, such as `flatland-test [--engine ENGINE] NAME.elf -- --list`");
        return status::USAGE.into();
    };
    let arguments = Arguments::from_iter([OsString::from("flatland-test")].into_iter().chain(libtest));
    let engine = match usable(engine) {
        Ok(engine) => engine,
        Err(message) => {
            say(&message);
            return status::HOST.into();
        }
    };
    let mut trials = Vec::new();
    for elf in &elves {
        match Suite::open(elf) {
            Ok(suite) => trials.extend(trials_of(Arc::new(suite), engine, arguments.nocapture)),
            Err(error) => {
                say(&error.to_string());
                return status::HOST.into();
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The command line.
struct Command {
    engine: Choice,
    elves: Vec<PathBuf>,
    libtest: Vec<OsString>,
}

impl Command {
    fn parse(arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments.peekable();
        let mut engine = Choice::Auto;
        if arguments.next_if(|argument| argument == "--engine").is_some() {
            engine = arguments.next()?.to_str()?.parse().ok()?;
        }
        let elves: Vec<_> =
            arguments.by_ref().take_while(|argument| argument != "--").map(PathBuf::from).collect();
        let is_option = |path: &PathBuf| path.as_os_str().as_encoded_bytes().starts_with(b"-");
        if elves.is_empty() || elves.iter().any(is_option) {
            return None;
        }
        Some(Self { engine, elves, libtest: arguments.collect() })
    }
}

/// The engine that all tests run on: what can be used is asked once, and not said for each test.
fn usable(engine: Choice) -> Result<Choice, String> {
    let chosen =
        choice::open(engine, MemorySize::default(), &Stops::default()).map_err(|error| error.to_string())?;
    Ok(match (engine, chosen.fell_back) {
        (Choice::Auto, Some(why)) => {
            say(&format!("running on the soft engine, because {why}"));
            Choice::Soft
        }
        (Choice::Auto, None) => Choice::Kvm,
        (engine, _) => engine,
    })
}

fn trials_of(suite: Arc<Suite>, engine: Choice, no_capture: bool) -> Vec<Trial> {
    let trial = |test: &Test| {
        let (suite, test) = (suite.clone(), test.clone());
        let (name, ignored) = (test.name.clone(), test.ignored.is_some());
        Trial::test(name, move || run(&suite, &test, engine, no_capture)).with_ignored_flag(ignored)
    };
    suite.tests().iter().map(trial).collect()
}

type AnyMachine = TestMachine<Box<dyn Engine>>;

thread_local! {
    /// The machine in which this thread has run its last test, and whose that was.
    static MACHINE: RefCell<Option<(Arc<Suite>, AnyMachine)>> = const { RefCell::new(None) };
}

/// This thread's machine for the suite, or a new one.
fn machine(suite: &Arc<Suite>, engine: Choice) -> Result<AnyMachine, Failed> {
    match MACHINE.take() {
        Some((last, machine)) if Arc::ptr_eq(&last, suite) => Ok(machine),
        _ => {
            let chosen = choice::open(engine, suite.memory_map().clone(), &Stops::default())?;
            Ok(suite.machine(chosen.engine)?)
        }
    }
}

/// Runs a test, and says why it failed.
fn run(suite: &Arc<Suite>, test: &Test, engine: Choice, no_capture: bool) -> Result<(), Failed> {
    let mut machine = machine(suite, engine)?;
    let Report { failure, details, output, diagnostics } =
        suite.run(test, &mut machine, Paint::for_standard_error())?;
    MACHINE.set(Some((suite.clone(), machine)));
    if no_capture {
        // Nobody is left to tell if that fails.
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

fn say(message: &str) {
    // Nobody is left to tell if that fails.
    let _ = writeln!(io::stderr(), "flatland: {message}");
}
