//! The programs `flatland` and `flatland-inspect`, as functions of their arguments: other programs contain them.

mod begin;
mod closed_output;
mod coverage;
mod files;
mod info;
pub mod inspect;
mod messages;
mod options;
mod page;
mod profiles;
mod recordings;
mod sandbox;
mod save;
mod signals;
mod symbols;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::gdb::Debugger;
use crate::origins::{self, Origin};
use crate::report::{Colors, Paint, Report, Run};
use crate::timeline::Timeline;
use crate::trace::{self, Trace};
use crate::{Machine, Observer, Outcome, Recorder, RunError, Stop, observe};
use flatland_contract::status;

use begin::{Given, machine};
use coverage::Cover;
use messages::{line, say};
use options::{Command, Options};
use profiles::Profiler;
use sandbox::Sandbox;
use save::SaveFile;

/// The program `flatland`: runs a program on a bare 32-bit processor. `arguments` are those behind its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    Colors::from_environment().choose();
    let text = match options::parse(arguments) {
        Ok(Command::Run(options)) => return run(&options).into(),
        Ok(Command::Help) => options::HELP.into(),
        Ok(Command::Version) => concat!("flatland ", env!("CARGO_PKG_VERSION")).into(),
        Ok(Command::Page(options)) => match page::make(&options) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(message) => {
                say(&message);
                return status::HOST.into();
            }
        },
        Ok(Command::Info(path)) => match info::info(&path) {
            Ok(text) => text,
            Err(message) => {
                say(&message);
                return status::HOST.into();
            }
        },
        Err(message) => {
            let hint = if message.ends_with('?') { "" } else { "; `flatland --help` lists what there is" };
            say(&format!("{message}{hint}"));
            return status::USAGE.into();
        }
    };
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => status::OUTPUT_CLOSED.into(),
        Err(error) => {
            say(&format!("standard output cannot be written ({error}): send it elsewhere"));
            status::HOST.into()
        }
    }
}

/// Runs an image, reports how the run ended, and returns the exit status.
fn run(options: &Options) -> u8 {
    let start = Instant::now();
    if let Some(colors) = options.colors {
        colors.choose();
    }
    let (mut machine, mut given) = match machine(options) {
        Ok(ready) => ready,
        Err(message) => {
            say(&message);
            return status::HOST;
        }
    };
    let taken = (given.recorder.take(), given.trace_file.take());
    let ended = run_to_end(options, &mut machine, &given, taken);
    let Ended { outcome: ended, origins, cover, profiler, trace_error, sandbox } = match ended {
        Ok(ended) => ended,
        Err(message) => {
            say(&message);
            return status::HOST;
        }
    };
    let (mut report, failure) = match &ended {
        Ok(outcome) => {
            let symbols = given.symbols.as_deref();
            (Report::new(outcome, machine.engine(), symbols, options.backtraces), None)
        }
        Err(error) => (Report::without_outcome(), Some(failure_message(error, options, &given))),
    };
    match origins {
        Ok(origins) => report.origins = origins,
        Err(error) => report.notes.push(error.to_string()),
    }
    let mut status = failure.as_ref().map_or(report.outcome.status(), |_| status::HOST);

    let paint = Paint::for_standard_error();
    let mut text = String::new();
    for message in failure.iter().chain(&report.message()) {
        text += &line(paint, message);
    }
    text += &report.body(paint);
    for note in &report.notes {
        text += &line(paint, note);
    }
    if let Some(error) = trace_error {
        status = status::HOST;
        text += &line(paint, &error);
    }
    if let (Some(to), Some(profiler)) = (&given.profile, &profiler) {
        match to.end(profiler, &mut machine, &given.image) {
            Ok((message, body)) => text += &(line(paint, &message) + &body),
            Err(message) => {
                status = status::HOST;
                text += &line(paint, &message);
            }
        }
    }
    if let Some((file, path)) = &given.report {
        let (mut file, image, symbols) = (file, &given.image, given.symbols.as_deref());
        let run = Run { image, symbols, stats: machine.stats().clone(), total: start.elapsed(), failure };
        if let Err(error) = file.write_all(report.json(&run, machine.engine()).as_bytes()) {
            status = status::HOST;
            text += &line(
                paint,
                &format!("cannot write --report `{}` ({error}): give another place", path.display()),
            );
        }
    }
    if options.stats {
        text += &line(paint, &stats(&mut machine, sandbox));
    }
    match cover.map(|cover| cover.end(&mut machine, ended.as_ref().ok())) {
        None => {}
        Some(Ok(covered)) => {
            text += &covered.written.map(|message| line(paint, &message)).unwrap_or_default();
            text += &covered.table;
            if let Some(why) = covered.too_low {
                status = if status == status::SUCCESS { status::COVERAGE } else { status };
                text += &line(paint, &why);
            }
        }
        Some(Err(message)) => {
            status = status::HOST;
            text += &line(paint, &message);
        }
    }
    // The report comes before: a state that can be saved no longer has the last exit.
    let has_failed = status != status::SUCCESS;
    match given.record.as_ref().map(|to| to.end(&mut machine, &ended, has_failed)) {
        None | Some(Ok(None)) => {}
        Some(Ok(Some(message))) => text += &line(paint, &message),
        Some(Err(message)) => {
            status = status::HOST;
            text += &line(paint, &message);
        }
    }
    if let Some((file, path)) = given.save
        && let Err(why) = save(file, &mut machine, ended.is_ok())
    {
        status = status::HOST;
        text += &line(paint, &format!("cannot save --save-snapshot `{}`: {why}", path.display()));
    }
    if !text.is_empty() {
        // A blocked reader of the guest's output does not delay this. As in `say`, a failure cannot be reported.
        let _ = machine.note(text.trim_end()).and_then(|()| machine.flush_notes_within(Duration::MAX));
    }
    status
}

/// Why the run failed on the host's side.
fn failure_message(error: &RunError, options: &Options, given: &Given) -> String {
    match (error, &given.recorded_on, &options.replay, &given.record) {
        (RunError::Diverged(_), Some(engine), Some(path), _) => recordings::diverged(error, engine, path),
        (RunError::Recording(_), _, _, Some(to)) => to.failure(error),
        _ => error.to_string(),
    }
}

/// Saves the state of a run that has ended.
fn save(file: SaveFile, machine: &mut Machine, has_ended: bool) -> Result<(), String> {
    if !has_ended {
        return Err("the run has failed: mend that, and run it again".into());
    }
    let snapshot = machine.snapshot().map_err(|error| error.to_string())?;
    file.save(&snapshot).map_err(|error| error.to_string())
}

/// What a run and the tools that observed it came to.
struct Ended<'a> {
    outcome: Result<Outcome, RunError>,
    cover: Option<Cover<'a>>,
    profiler: Option<Profiler>,
    /// Where the values come from that a fault fell over, if that was asked for.
    origins: Result<Vec<Origin>, RunError>,
    /// Why the trace is incomplete, if it is.
    trace_error: Option<String>,
    /// What the run was kept in.
    sandbox: Sandbox,
}

/// Runs the guest with the tools that the command line asks for.
fn run_to_end<'a>(
    options: &'a Options,
    machine: &mut Machine,
    given: &'a Given,
    (recorder, trace_file): (Option<Recorder>, Option<(File, &Path)>),
) -> Result<Ended<'a>, String> {
    let symbols = given.symbols.as_deref();
    let cover = Cover::begin(&options.coverage, machine, symbols)?;
    let mut debugger = match &options.gdb {
        Some(address) => Some(Debugger::listen(address, say).map_err(|error| error.to_string())?),
        None => None,
    };
    // All files are made, and there is no other thread. One of the first to begin writes the recording.
    let mut sandbox = Sandbox::default();
    if options.is_sandboxed {
        sandbox = sandbox::enter(&given.needs(options))?;
        sandbox.lack().iter().for_each(|lack| say(lack));
    }
    if let (Some(recorder), Some(to)) = (recorder, &given.record) {
        machine.record(recorder).map_err(|error| to.failure(&error))?;
    }
    let mut profiler = profiles::begin(options, machine, symbols)?;
    let mut trace = match options.trace.is_empty() {
        true => None,
        false => Some(trace(options, symbols, machine, trace_file)),
    };
    let mut timeline = match options.tracks_origins {
        true => Some(Timeline::new(machine).map_err(|error| error.to_string())?),
        false => None,
    };
    let mut observers: Vec<&mut dyn Observer> = Vec::new();
    observers.extend(timeline.iter_mut().map(|timeline| timeline as &mut dyn Observer));
    let sampler = profiler.as_mut().and_then(Profiler::observer);
    observers.extend(sampler.map(|sampler| sampler as &mut dyn Observer));
    observers.extend(trace.iter_mut().map(|trace| trace as &mut dyn Observer));
    observers.extend(debugger.iter_mut().map(|debugger| debugger as &mut dyn Observer));
    let outcome = match observers.is_empty() {
        true => machine.run(),
        false => observe(machine, &mut observers),
    };
    let outcome = outcome.map(|outcome| match (outcome, signals::received()) {
        (Outcome::Stopped(Stop::Interrupted, location), Some(signal)) => {
            Outcome::Stopped(Stop::Signal(signal), location)
        }
        (outcome, _) => outcome,
    });
    let origins = match (&outcome, &mut timeline) {
        (Ok(Outcome::Fault(fault)), Some(timeline)) => {
            // The report says why there are none.
            let symbols = symbols.and_then(|path| symbols::open(path, machine).ok());
            origins::of_fault(fault, machine, timeline, symbols.as_ref())
        }
        _ => Ok(Vec::new()),
    };
    let trace_error = trace.as_mut().and_then(Trace::error).map(|error| error.to_string());
    Ok(Ended { outcome, cover, profiler, origins, trace_error, sandbox })
}

/// The trace that the command line asks for.
fn trace(options: &Options, symbols: Option<&Path>, machine: &Machine, file: Option<(File, &Path)>) -> Trace {
    let symbols = match symbols.map(|path| symbols::open(path, machine)) {
        Some(Err(error)) => {
            say(&error.to_string());
            None
        }
        symbols => symbols.and_then(Result::ok),
    };
    let sink = file.map_or(trace::Sink::Diagnostics, |(file, path)| {
        trace::Sink::Writer(Box::new(BufWriter::new(file)), trace::Form::of(path))
    });
    let settings = trace::Settings {
        kinds: options.trace.clone(),
        filter: options.trace_filter.clone(),
        most_lines: options.trace_limit.unwrap_or(trace::MOST_LINES),
    };
    Trace::new(settings, symbols, sink)
}

/// The cost of the run, in one line.
fn stats(machine: &mut Machine, sandbox: Sandbox) -> String {
    let engine = machine.engine();
    let name = engine.name();
    let instructions = match engine.instructions() {
        Some(count) => format!("{count} instructions"),
        None => "instructions not counted".into(),
    };
    let stats = machine.stats();
    let engines = stats.engines_in_words().unwrap_or_else(|| name.into());
    format!("stats: {engines}, {instructions}, {stats}; {sandbox}")
}
