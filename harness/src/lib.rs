#![doc = include_str!("../README.md")]

mod cover;
mod failures;
mod format;
mod options;
mod outcome;
mod run;
mod suite;

use std::cell::RefCell;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::mem;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cover::Cover;
use failures::Failures;
use flatland::coverage::{Request, Scope};
use flatland::report::{Colors, Paint};
use flatland::x86::Stops;
use flatland::{EngineChoice, EngineKind, MemorySize};
use flatland_contract::status;
use options::{Asked, Options};
use outcome::{Done, Outcome};
use suite::{Ram, Report, Suite, Test, TestMachine};

/// The program. `arguments` are those behind its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    Colors::from_environment().choose();
    let Command { engine, ram, some, failures, coverage, elves, libtest } =
        match Command::parse(arguments.into_iter()) {
            Ok(command) => command,
            Err(message) => {
                say(&message);
                return status::USAGE.into();
            }
        };
    let mut options = match Asked::parse(libtest) {
        Ok(Asked::Tests(options)) => options,
        Ok(Asked::Help) => {
            run::write(options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            say(&message);
            return status::USAGE.into();
        }
    };
    if let Some(colors) = options.colors {
        colors.choose();
    }
    // The names of tests have underscores where a program's name has hyphens.
    for name in options.filters.iter_mut().chain(&mut options.skip) {
        *name = name.replace('-', "_");
    }
    // Said once, and not for each test.
    if let Err(error) = engine.open_for_many_runs(MemorySize::default(), &Stops::default()) {
        say(&error.to_string());
        return status::HOST.into();
    }
    let cover = match Cover::begin(coverage) {
        Ok(cover) => cover,
        Err(message) => {
            say(&message);
            return status::HOST.into();
        }
    };
    let (no_capture, paint) = (options.no_capture, options.paint());
    let settings = Settings { engine, no_capture, paint, failures: failures.map(Failures::new), cover };
    let mut tests = Vec::new();
    for elf in &elves {
        match Suite::open(elf, ram) {
            Ok(suite) => {
                let suite = Arc::new(suite);
                tests.extend(suite.tests().iter().map(|test| (test.clone(), suite.clone())));
            }
            Err(error) => {
                say(&error.to_string());
                return status::HOST.into();
            }
        }
    }
    let Options { filters, exact, .. } = &options;
    if let (Some(list), Some(filter)) = (some, filters.first())
        && !tests.iter().any(|(test, _)| run::is_named(&test.name, filters, *exact))
    {
        say(&format!("no test in the guest has `{filter}` in its name: `{list} -- --list` lists them"));
        return status::USAGE.into();
    }
    let all = tests.len();
    run::choose(&mut tests, &options);
    if options.list {
        run::write(&format::list(tests.iter().map(|(test, _)| test), options.format));
        return ExitCode::SUCCESS;
    }
    let run_one = |test: &Test, suite: &Arc<Suite>| {
        run_test(suite, test, &settings).unwrap_or_else(|error| {
            Done::not_run(&format!("the test at {}:{} was not run: {error}", test.file, test.line))
        })
    };
    let summary = match run::run(&tests, all - tests.len(), &options, run_one) {
        Ok(summary) => summary,
        Err(message) => {
            say(&message);
            return status::HOST.into();
        }
    };
    let has_failed = summary.failed > 0;
    if let Some(cover) = &settings.cover {
        match cover.end() {
            Ok(covered) => {
                if let Some(message) = &covered.written {
                    say(message);
                }
                // A write error cannot be reported anywhere.
                let _ = io::stderr().write_all(covered.table.as_bytes());
                if let Some(why) = covered.too_low.filter(|_| !has_failed) {
                    say(&why);
                    return status::COVERAGE.into();
                }
            }
            Err(message) => {
                say(&message);
                return status::HOST.into();
            }
        }
    }
    if let Some(where_they_ran) = where_they_ran(settings.cover.is_some()) {
        say(&where_they_ran);
    }
    // As with `cargo test`.
    if has_failed { status::PANIC.into() } else { ExitCode::SUCCESS }
}

/// The command line.
struct Command {
    engine: EngineChoice,
    /// The RAM of the machines.
    ram: Ram,
    /// The command that lists all tests, if a filter that matches none is an error.
    some: Option<String>,
    /// The folder for recordings of tests that fail.
    failures: Option<PathBuf>,
    /// What to say of coverage.
    coverage: Request,
    elves: Vec<PathBuf>,
    libtest: Vec<OsString>,
}

impl Command {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut engine, mut memory, mut stack) = (EngineChoice::Auto, MemorySize::default(), None);
        let (mut some, mut failures, mut elves) = (None, None, Vec::new());
        let mut coverage = Request::default();
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--") => break,
                Some("--some") => some = Some(value("--some", arguments.next())?),
                Some("--engine") => engine = value("--engine", arguments.next())?,
                Some("--failures") => {
                    failures = Some(arguments.next().ok_or("--failures needs a folder")?.into());
                }
                Some("--coverage-all") => coverage.scope = Scope::All,
                Some("--coverage-add") => {
                    coverage.added.push(arguments.next().ok_or("--coverage-add needs a file")?.into());
                }
                Some("--coverage-min") => {
                    coverage.least = Some(value("--coverage-min", arguments.next())?);
                }
                Some(option) if option == "--coverage" || option.starts_with("--coverage=") => {
                    coverage.is_made = true;
                    coverage.to = option.strip_prefix("--coverage=").map(PathBuf::from);
                }
                Some("--memory") => memory = value("--memory", arguments.next())?,
                Some("--stack") => stack = Some(value("--stack", arguments.next())?),
                Some(option) if option.starts_with('-') => {
                    return Err(format!(
                        "there is no option `{option}`: options of libtest stand behind a `--`"
                    ));
                }
                _ => elves.push(argument.into()),
            }
        }
        if elves.is_empty() {
            return Err("give the ELF files to test, such as `flatland-test NAME.elf -- --list`".into());
        }
        let ram = Ram { size: memory, stack };
        ram.map().map_err(|error| error.to_string())?;
        let libtest = arguments.collect();
        if let Some(why) = coverage.contradiction() {
            return Err(why);
        }
        if coverage.is_made && engine == EngineChoice::Kvm {
            return Err("KVM does not show what it executes: leave out --engine kvm".into());
        }
        Ok(Self { engine, ram, some, failures, coverage, elves, libtest })
    }
}

fn value<T: FromStr<Err: Display>>(option: &str, given: Option<OsString>) -> Result<T, String> {
    let text = given.ok_or_else(|| format!("{option} needs a value"))?;
    let text = text.to_string_lossy();
    text.parse().map_err(|error| format!("{option} `{text}` is {error}"))
}

/// How many tests have ended on each engine: soft and KVM.
static ENDED_ON: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Which engines the tests have run on, if that was not chosen.
fn where_they_ran(with_coverage: bool) -> Option<String> {
    let [soft, kvm] = ENDED_ON.each_ref().map(|count| count.load(Ordering::Relaxed));
    match (soft, kvm) {
        (0, 0) => None,
        (_, 0) if with_coverage => Some(
            "the tests ran on the soft engine, because --coverage needs it: KVM does not show what it executes".into(),
        ),
        (_, 0) => Some("the tests ran on the soft engine".into()),
        (_, _) => Some(format!("the tests began on the soft engine; {kvm} of {} went on to KVM", soft + kvm)),
    }
}

/// How tests are run.
struct Settings {
    engine: EngineChoice,
    no_capture: bool,
    /// The colours of reports, which are on standard output.
    paint: Paint,
    failures: Option<Failures>,
    cover: Option<Cover>,
}

thread_local! {
    /// The machine that ran this thread's last test, its RAM, and the suite it belongs to.
    static MACHINE: RefCell<Option<(Arc<Suite>, Ram, TestMachine)>> = const { RefCell::new(None) };
}

/// This thread's machine for the suite with this RAM, or a new one.
fn machine(suite: &Arc<Suite>, ram: Ram, engine: EngineChoice) -> Result<TestMachine, Box<dyn Error>> {
    match MACHINE.take() {
        Some((last, with, machine)) if Arc::ptr_eq(&last, suite) && with == ram => Ok(machine),
        _ => {
            let engines = engine.open_for_many_runs(suite.memory_map(ram)?, &Stops::default())?;
            Ok(suite.machine(engines)?)
        }
    }
}

/// Runs a test, and says why it failed.
fn run_test(suite: &Arc<Suite>, test: &Test, settings: &Settings) -> Result<Done, Box<dyn Error>> {
    let Settings { engine, no_capture, paint, failures, cover } = settings;
    let ram = suite.ram(test);
    let mut machine = machine(suite, ram, *engine)?;
    let recorded = failures.as_ref().map(|failures| failures.of(&test.name));
    let recorder = recorded.as_ref().map(|recorded| recorded.recorder(suite.elf()));
    let Report { failure, timed_out, details, output, diagnostics, left_out } =
        suite.run(test, &mut machine, recorder, *paint, cover.as_ref())?;
    if *engine == EngineChoice::Auto {
        let is_on_kvm = machine.engine() == EngineKind::Kvm.name();
        ENDED_ON[usize::from(is_on_kvm)].fetch_add(1, Ordering::Relaxed);
    }
    MACHINE.set(Some((suite.clone(), ram, machine)));
    let mut text = String::new();
    if left_out > 0 {
        text = format!(
            "flatland: {left_out} bytes before these are left out, because only the last 4 MiB are kept: send less\n"
        );
    }
    if *no_capture {
        // A write error cannot be reported anywhere.
        let _ = io::stdout().write_all(mem::take(&mut text).as_bytes());
        let _ = io::stdout().write_all(&output);
        let _ = io::stderr().write_all(&diagnostics);
    } else {
        for bytes in [output, diagnostics].iter().filter(|bytes| !bytes.is_empty()) {
            text += &String::from_utf8_lossy(bytes);
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
    }
    let Some(reason) = failure else {
        if let Some(recorded) = recorded {
            recorded.remove();
        }
        return Ok(Done { output: text, ..Done::without_output(Outcome::Passed) });
    };
    let reason = format!("the test at {}:{} {reason}", test.file, test.line);
    text += &format!("{reason}\n");
    if !details.is_empty() {
        text += &format!("{}\n", details.trim_end());
    }
    let mut recording = None;
    if let Some(recorded) = recorded {
        let message;
        (message, recording) = recorded.keep();
        text += &format!("{message}\n");
    }
    let result = if timed_out { Outcome::TimedOut(reason) } else { Outcome::Failed(reason) };
    Ok(Done { output: text, recording, ..Done::without_output(result) })
}

fn say(message: &str) {
    // A write error cannot be reported anywhere.
    let _ = writeln!(io::stderr(), "{} {message}", Paint::for_standard_error().mark("flatland:"));
}
