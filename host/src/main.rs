//! `flatland`: runs a program on a bare 32-bit processor.

mod closed_output;
mod options;
mod save;
mod signals;

use std::env;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use flatland::gdb::Debugger;
use flatland::program::Symbols;
use flatland::report::{Paint, Report, Run};
use flatland::trace::{self, Trace};
use flatland::x86::Unsupported;
use flatland::{
    BuildError, Builder, ChoiceError, EngineChoice, FileError, Machine, Observer, Outcome, Program,
    ProgramError, RunError, Snapshot, Stop, StreamError, Streams, devices, observe,
};
use flatland_contract::status;
use options::{Command, Options};
use save::SaveFile;

fn main() -> ExitCode {
    let text = match options::parse(env::args_os().skip(1)) {
        Ok(Command::Run(options)) => return run(&options).into(),
        Ok(Command::Help) => options::HELP,
        Ok(Command::Version) => concat!("flatland ", env!("CARGO_PKG_VERSION")),
        Err(message) => {
            say(&format!("{message}; `flatland --help` lists what there is"));
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
    let (mut machine, given) = match machine(options) {
        Ok(ready) => ready,
        Err(message) => {
            say(&message);
            return status::HOST;
        }
    };
    let (ended, trace_error) = match run_to_end(options, &mut machine, given.symbols) {
        Ok(ended) => ended,
        Err(message) => {
            say(&message);
            return status::HOST;
        }
    };
    let (report, failure) = match &ended {
        Ok(outcome) => (Report::new(outcome, machine.engine(), given.symbols, options.backtraces), None),
        Err(error) => (Report::without_outcome(), Some(error.to_string())),
    };
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
        text += &line(paint, &error);
    }
    if let Some((mut file, path)) = given.report {
        let run = Run {
            image: options.program.as_ref().or(options.from_snapshot.as_ref()).expect("one of them is given"),
            symbols: given.symbols,
            stats: machine.stats().clone(),
            total: start.elapsed(),
            failure,
        };
        if let Err(error) = file.write_all(report.json(&run, machine.engine()).as_bytes()) {
            status = status::HOST;
            text += &line(
                paint,
                &format!("cannot write --report `{}` ({error}): give another place", path.display()),
            );
        }
    }
    if options.stats {
        text += &line(paint, &stats(&mut machine));
    }
    // The report comes before: a state that can be saved no longer has the last exit.
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

/// Saves the state of a run that has ended.
fn save(file: SaveFile, machine: &mut Machine, has_ended: bool) -> Result<(), String> {
    if !has_ended {
        return Err("the run has failed: mend that, and run it again".into());
    }
    let snapshot = machine.snapshot().map_err(|error| error.to_string())?;
    file.save(&snapshot).map_err(|error| error.to_string())
}

/// Runs the guest with the tools that the command line asks for. Also returns why the trace is incomplete, if it is.
fn run_to_end(
    options: &Options,
    machine: &mut Machine,
    symbols: Option<&Path>,
) -> Result<(Result<Outcome, RunError>, Option<String>), String> {
    let mut debugger = match &options.gdb {
        Some(address) => Some(Debugger::listen(address, say).map_err(|error| error.to_string())?),
        None => None,
    };
    let mut trace = match options.trace.is_empty() {
        true => None,
        false => Some(trace(options, symbols, machine)?),
    };
    let mut observers: Vec<&mut dyn Observer> = Vec::new();
    observers.extend(trace.iter_mut().map(|trace| trace as &mut dyn Observer));
    observers.extend(debugger.iter_mut().map(|debugger| debugger as &mut dyn Observer));
    let ended = match observers.is_empty() {
        true => machine.run(),
        false => observe(machine, &mut observers),
    };
    let ended = ended.map(|outcome| match (outcome, signals::received()) {
        (Outcome::Stopped(Stop::Interrupted, location), Some(signal)) => {
            Outcome::Stopped(Stop::Signal(signal), location)
        }
        (outcome, _) => outcome,
    });
    let error = trace.as_mut().and_then(Trace::error);
    Ok((ended, error.map(|error| error.to_string())))
}

/// The trace that the command line asks for.
fn trace(options: &Options, symbols: Option<&Path>, machine: &Machine) -> Result<Trace, String> {
    let read = |address: u32, bytes: &mut [u8]| machine.read_ram(address, bytes);
    let symbols = match symbols.map(|path| Symbols::open(path, &read)) {
        Some(Err(error)) => {
            say(&error.to_string());
            None
        }
        symbols => symbols.and_then(Result::ok),
    };
    let sink = match &options.trace_file {
        None => trace::Sink::Diagnostics,
        Some(path) => {
            let file = File::create(path).map_err(|error| {
                format!("cannot write --trace-file `{}` ({error}): choose another place", path.display())
            })?;
            trace::Sink::Writer(Box::new(BufWriter::new(file)))
        }
    };
    let settings = trace::Settings {
        kinds: options.trace.clone(),
        filter: options.trace_filter.clone(),
        most_lines: options.trace_limit.unwrap_or(trace::MOST_LINES),
    };
    Ok(Trace::new(settings, symbols, sink))
}

/// The files of the command line that could be opened.
struct Given<'a> {
    /// The ELF file, if it is this program's.
    symbols: Option<&'a Path>,
    /// Where to write the report.
    report: Option<(File, &'a Path)>,
    /// Where to save the state at the end.
    save: Option<(SaveFile, &'a Path)>,
}

/// What a run begins with.
enum Begin {
    Program(Program),
    Snapshot(Box<Snapshot>),
}

/// The cost of the run, in one line.
fn stats(machine: &mut Machine) -> String {
    let engine = machine.engine();
    let name = engine.name();
    let instructions = match engine.instructions() {
        Some(count) => format!("{count} instructions"),
        None => "instructions not counted".into(),
    };
    let stats = machine.stats();
    let engines = stats.engines_in_words().unwrap_or_else(|| name.into());
    format!("stats: {engines}, {instructions}, {stats}")
}

/// Creates the file of an option, if it is given.
fn to_write<'a, T>(
    option: &str,
    path: Option<&'a Path>,
    create: impl Fn(&Path) -> io::Result<T>,
) -> Result<Option<(T, &'a Path)>, String> {
    let Some(path) = path else { return Ok(None) };
    let failed = |error| format!("cannot write {option} `{}` ({error}): give another place", path.display());
    Ok(Some((create(path).map_err(failed)?, path)))
}

/// The machine, with all files open. An error is one sentence.
fn machine(options: &Options) -> Result<(Machine, Given<'_>), String> {
    let begin = match &options.from_snapshot {
        Some(path) => Begin::Snapshot(Box::new(read_snapshot(path)?)),
        None => Begin::Program(open_program(options)?),
    };
    // Created before the run: a failure afterwards would lose the results of the run.
    let report = to_write("--report", options.report.as_deref(), |path| File::create(path))?;
    let save = to_write("--save-snapshot", options.save_snapshot.as_deref(), SaveFile::create)?;
    if closed_output::is_closed() {
        return Err("standard output is closed: redirect it to a file, or to /dev/null for no output".into());
    }
    let builder = builder(options)?;
    let (machine, symbols) = match begin {
        Begin::Program(program) => {
            let machine = builder.build(&program).map_err(|error| build_message(&error, options))?;
            let symbols = program.elf().and(options.symbols.as_ref().or(options.program.as_ref()));
            (machine, symbols.map(|path| &**path))
        }
        Begin::Snapshot(snapshot) => {
            let machine = builder.build_from(&snapshot).map_err(|error| build_message(&error, options))?;
            if snapshot.outcome().is_some() {
                say(
                    "the run of the snapshot had ended, and ends in the same way: to go on, save one at a limit or by \
                     Ctrl-C",
                );
            }
            let symbols = names_for(&machine, options)?;
            (machine, symbols)
        }
    };
    if let Some(why) = machine.fell_back() {
        let why = match why {
            // What it advises has been done.
            ChoiceError::Unsupported(Unsupported { engine, what, .. }) => {
                format!("{engine} cannot {what}: give --engine soft to leave out this line")
            }
            why => engine_message(why),
        };
        say(&format!("running on the soft engine, because {why}"));
    }
    signals::listen(machine.interrupt_handle()).map_err(|errno| {
        format!("cannot listen for Ctrl-C ({errno}): report it, with your kernel's version")
    })?;
    Ok((machine, Given { symbols, report, save }))
}

/// The settings of the machine, without its program.
fn builder(options: &Options) -> Result<Builder, String> {
    let streams = Streams::standard().map_err(|error: StreamError| error.to_string())?;
    let mut builder = Machine::builder()
        .engine(options.engine)
        .memory(options.memory.unwrap_or_default())
        .streams(streams)
        .arguments(options.arguments.iter().map(|argument| argument.as_encoded_bytes()));
    if let Some(stack) = options.stack {
        builder = builder.stack(stack);
    }
    if let Some(limit) = options.max_instructions {
        builder = builder.instruction_limit(limit);
    }
    if let Some(limit) = options.timeout {
        builder = builder.time_limit(limit);
    }
    if let Some(start) = options.clock {
        builder = builder.clock_device(devices::Clock::repeatable(start));
    }
    if let Some(seed) = options.seed {
        builder = builder.random_device(devices::Random::repeatable(seed));
    }
    Ok(builder)
}

/// The program, with its ELF file if that can be used.
fn open_program(options: &Options) -> Result<Program, String> {
    let path = options.program.as_deref().unwrap_or(Path::new(""));
    let mut program = Program::open_for(path, options.memory.unwrap_or_default()).map_err(|error| {
        let hint = match &error {
            ProgramError::Image(flatland::ImageError::TooLarge { .. }) => " with --memory SIZE",
            _ => "",
        };
        program_message(options, &error, hint)
    })?;
    if let Some(symbols) = &options.symbols {
        // Its contents are read only for a report. Opening it now reports a wrong path before the run.
        check_symbols(symbols)?;
        if let Err(error) = program.add_elf(symbols) {
            say(&format!("{error} as --symbols"));
        }
    }
    Ok(program)
}

fn check_symbols(path: &Path) -> Result<(), String> {
    let opened = File::open(path).map(drop);
    opened.map_err(|error| format!("cannot read --symbols `{}` ({error}): check the path", path.display()))
}

fn program_message(options: &Options, error: &dyn std::fmt::Display, hint: &str) -> String {
    let path = options.program.as_deref().unwrap_or(Path::new(""));
    format!("cannot run `{}`: {error}{hint}", path.display())
}

fn read_snapshot(path: &Path) -> Result<Snapshot, String> {
    let read =
        File::open(path).map_err(FileError::Read).and_then(|file| Snapshot::read_from(BufReader::new(file)));
    read.map_err(|error| format!("cannot go on from `{}`: {error}", path.display()))
}

/// The ELF file with the names of a program that came from a snapshot, if it is this program's.
fn names_for<'a>(machine: &Machine, options: &'a Options) -> Result<Option<&'a Path>, String> {
    let path = match (&options.symbols, &options.program) {
        (Some(symbols), _) => {
            check_symbols(symbols)?;
            symbols
        }
        (None, Some(program)) => {
            File::open(program).map_err(|error| {
                format!("cannot read `{}` ({error}): check the path, or leave it out", program.display())
            })?;
            program
        }
        (None, None) => return Ok(None),
    };
    match Symbols::open(path, &|address, bytes| machine.read_ram(address, bytes)) {
        Ok(_) => Ok(Some(path)),
        Err(error) => {
            say(&error.to_string());
            Ok(None)
        }
    }
}

/// Why the machine cannot be built, with the options that would help.
fn build_message(error: &BuildError, options: &Options) -> String {
    if let (BuildError::Restore(error), Some(path)) = (error, &options.from_snapshot) {
        return format!("cannot go on from `{}`: {error}", path.display());
    }
    match error {
        BuildError::Image(error) => program_message(options, error, " with --memory SIZE"),
        BuildError::Memory(error) => format!("{error} (--memory SIZE, --stack SIZE)"),
        BuildError::Engine(error) if options.engine == EngineChoice::Kvm => {
            format!("{}; or choose --engine soft", engine_message(error))
        }
        BuildError::Engine(error) => engine_message(error),
        error => error.to_string(),
    }
}

fn engine_message(error: &ChoiceError) -> String {
    match error {
        #[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
        ChoiceError::Kvm(error @ flatland::kvm::KvmError::NoMemory(_)) => {
            format!("{error} with --memory SIZE")
        }
        error => error.to_string(),
    }
}

/// Writes a message of the host to standard error, marked to distinguish it from the guest's. A failure cannot be
/// reported.
fn say(message: &str) {
    let _ = io::stderr().write_all(line(Paint::for_standard_error(), message).as_bytes());
}

/// A line of the host, marked as such.
fn line(paint: Paint, message: &str) -> String {
    format!("{} {message}\n", paint.mark("flatland:"))
}
