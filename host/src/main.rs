//! `flatland`: runs a flat image on a bare 32-bit processor.

mod options;

use std::env;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use flatland::engine::choice::{self, Choice};
use flatland::engine::{Engine, Stops};
use flatland::gdb::Debugger;
use flatland::report::{Paint, Report, Run};
use flatland::trace::{self, TraceError, Tracer};
use flatland::{
    Image, Machine, MemoryMap, Outcome, RunError, Segment, SegmentsError, StreamError, Streams, Symbols, kick,
};
use flatland_contract::status;
use options::{Command, Options};

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

/// Runs an image, says what there is to say, and returns the status.
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
        text += &line(paint, &error.to_string());
    }
    if let Some((mut file, path)) = given.report {
        let run = Run {
            image: &options.image,
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
    if !text.is_empty() && machine.streams().mid_line() {
        // End the line that the guest left open.
        text.insert(0, '\n');
    }
    // As in `say`, nobody is left to tell if that fails.
    let _ = io::stderr().write_all(text.as_bytes());
    status
}

/// Runs the guest, with whoever is to watch it, and says what became of the trace.
fn run_to_end(
    options: &Options,
    machine: &mut Machine<Box<dyn Engine>>,
    symbols: Option<&Path>,
) -> Result<(Result<Outcome, RunError>, Option<TraceError>), String> {
    if let Some(address) = &options.gdb {
        let debugger = Debugger::listen(address, options.max_instructions, say);
        let mut debugger = debugger.map_err(|error| error.to_string())?;
        return Ok((machine.run_watched(&mut debugger), None));
    }
    let Some(mut tracer) = tracer(options, symbols, machine.engine())? else {
        return Ok((machine.run(), None));
    };
    let ended = machine.run_watched(&mut tracer);
    Ok((ended, tracer.error()))
}

/// What traces the run, if anybody asked for it.
fn tracer(options: &Options, symbols: Option<&Path>, engine: &dyn Engine) -> Result<Option<Tracer>, String> {
    let Some(kind) = options.trace else { return Ok(None) };
    let read = |address: u32, bytes: &mut [u8]| engine.read_ram(address, bytes);
    let symbols = match symbols.map(|path| Symbols::open(path, &read)) {
        Some(Err(error)) => {
            say(&error.to_string());
            None
        }
        symbols => symbols.and_then(Result::ok),
    };
    let (sink, prefix): (Box<dyn Write>, _) = match &options.trace_file {
        None => (Box::new(io::stderr()), "trace: "),
        Some(path) => {
            let file = File::create(path).map_err(|error| {
                format!("cannot write --trace-file `{}` ({error}): choose another place", path.display())
            })?;
            (Box::new(BufWriter::new(file)), "")
        }
    };
    let settings = trace::Settings {
        kind,
        filter: options.trace_filter.clone(),
        most_lines: options.trace_limit.unwrap_or(trace::MOST_LINES),
        instruction_limit: options.max_instructions,
    };
    Ok(Some(Tracer::new(settings, symbols, sink, prefix)))
}

/// What of the command line was found to be usable.
struct Given<'a> {
    /// The ELF file, if it is this image's.
    symbols: Option<&'a Path>,
    /// Where to write the report.
    report: Option<(File, &'a Path)>,
}

/// What the run has cost, in one line.
fn stats(machine: &mut Machine<Box<dyn Engine>>) -> String {
    let engine = machine.engine();
    let name = engine.name();
    let instructions = match engine.instructions() {
        Some(count) => format!("{count} instructions"),
        None => "instructions not counted".into(),
    };
    format!("stats: {name}, {instructions}, {}", machine.stats())
}

/// Whether standard output was closed when the process began. The standard library opens /dev/null in its place
/// before `main`, and the guest's output would be lost without a word; so this looks earlier.
#[cfg(target_os = "linux")]
mod closed_output {
    use std::os::fd::BorrowedFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::fcntl::{FcntlArg, fcntl};

    static CLOSED: AtomicBool = AtomicBool::new(false);

    // SAFETY: functions listed here are called once, before `main` (System V ABI, "Initialization and Termination
    // Functions"), and this one needs nothing that is set up later.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static BEFORE_MAIN: extern "C" fn() = look;

    extern "C" fn look() {
        // SAFETY: nothing is done with it but asking whether it is open.
        let output = unsafe { BorrowedFd::borrow_raw(1) };
        CLOSED.store(fcntl(output, FcntlArg::F_GETFD).is_err(), Ordering::Relaxed);
    }

    pub fn is() -> bool {
        CLOSED.load(Ordering::Relaxed)
    }
}

#[cfg(not(target_os = "linux"))]
mod closed_output {
    pub fn is() -> bool {
        false
    }
}

/// Everything that must be there before the first instruction. An error is one sentence.
fn machine(options: &Options) -> Result<(Machine<Box<dyn Engine>>, Given<'_>), String> {
    let image_error = |error| format!("cannot run `{}`: {error}", options.image.display());
    let image = Image::open(&options.image, options.memory).map_err(image_error)?;
    if let Some(symbols) = &options.symbols {
        // Read when there is something to report; a wrong path is worth knowing at once.
        File::open(symbols).map_err(|error| {
            format!("cannot read --symbols `{}` ({error}): check the path", symbols.display())
        })?;
    }
    let report = match &options.report {
        // Before the run: what it has cost to come here would be lost.
        Some(path) => match File::create(path) {
            Ok(file) => Some((file, &**path)),
            Err(error) => {
                return Err(format!(
                    "cannot write --report `{}` ({error}): give another place",
                    path.display()
                ));
            }
        },
        None => None,
    };
    let (memory, symbols) = memory_map(options, &image)?;
    let stops = Stops { instructions: options.max_instructions, ..Stops::default() };
    let chosen = choice::open(options.engine, memory, &stops).map_err(|error| match options.engine {
        Choice::Kvm => format!("{error}; or choose --engine soft"),
        _ => error.to_string(),
    })?;
    if let Some(why) = &chosen.fell_back {
        say(&format!("running on the soft engine, because {why}"));
    }
    if closed_output::is() {
        return Err("standard output is closed: redirect it to a file, or to /dev/null for no output".into());
    }
    let streams = Streams::standard().map_err(|error: StreamError| error.to_string())?;
    let mut machine = Machine::new(chosen.engine, &image, streams).map_err(image_error)?;
    machine.set_arguments(options.arguments.iter().map(|argument| argument.as_encoded_bytes().to_vec()));
    if let Some(limit) = options.max_instructions {
        machine.set_instruction_limit(limit).map_err(|error| error.to_string())?;
    }
    if let Some(limit) = options.timeout {
        machine.set_time_limit(limit);
    }
    kick::on_termination_signals().map_err(|errno| {
        format!("cannot listen for Ctrl-C ({errno}): report it, with your kernel's version")
    })?;
    Ok((machine, Given { symbols, report }))
}

/// What lies where in RAM: with symbols, code and constants are read-only and there is a hole below the stack. And the
/// symbols, if they are this image's.
fn memory_map<'a>(options: &'a Options, image: &Image) -> Result<(MemoryMap, Option<&'a Path>), String> {
    let map = match options.stack {
        Some(stack) => MemoryMap::with_stack(options.memory, stack).map_err(|error| error.to_string())?,
        None => options.memory.into(),
    };
    let Some(path) = options.symbols.as_deref() else { return Ok((map, None)) };
    match flatland::segments(path, image) {
        Ok(mut segments) => {
            // What can be written may be longer in the image than the file says, and must not lie in the hole all the
            // same: nothing, where it ends.
            let end = image.bytes().len() as u32;
            segments.push(Segment { start: end, end: end.into(), writable: true });
            Ok((map.protecting(&segments).map_err(|error| error.to_string())?, Some(path)))
        }
        Err(error) => {
            say(&error.to_string());
            let has_names = matches!(error, SegmentsError::Unusable { .. });
            Ok((map, Some(path).filter(|_| has_names)))
        }
    }
}

/// Says something of our own: on standard error, and marked so that nobody takes it for the guest's. There
/// is nobody left to tell if that fails.
fn say(message: &str) {
    let _ = io::stderr().write_all(line(Paint::for_standard_error(), message).as_bytes());
}

/// A line of our own, marked as such.
fn line(paint: Paint, message: &str) -> String {
    format!("{} {message}\n", paint.mark("flatland:"))
}
