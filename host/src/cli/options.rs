//! The command line of `flatland`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::coverage::{Request, Scope};
use crate::gdb::Address;
use crate::profile::Format;
use crate::report::{Backtraces, Colors};
use crate::trace::{self, Filter};
use crate::{EngineChoice, MemorySize};
use lexopt::{Arg, Parser, ValueExt};

use super::page::options::{self as page, PageOptions};

/// What `--help` prints.
pub const HELP: &str = "\
Run a program on a bare 32-bit processor.

Usage: flatland [OPTIONS] PROGRAM [-- ARGS]
       flatland [OPTIONS] --from-snapshot FILE [PROGRAM]
       flatland [OPTIONS] replay FILE [PROGRAM]
       flatland info FILE
       flatland page FILE [ELF] -o HTML [--no-sources]

PROGRAM is an ELF file, or a flat image: machine code as it lies in memory. It is put at address 0 of zeroed RAM and
started there, in 32-bit protected mode with paging off. Its input is standard input, its output standard output.
ARGS are for the guest.

replay runs a recorded run again, with its input and without any other, on the soft engine unless --engine names one. Of
PROGRAM, an ELF file, names are taken (default: the one that was recorded, if it is still there). info says what a
recording holds. page makes one file of it for a browser, in which the run is looked at forward and back; --no-sources
leaves the program's sources out.

Options:
  --engine ENGINE           kvm, soft (an interpreter), or auto: moves between the two (default: auto)
  --memory SIZE             RAM in bytes, or with K, M or G (default: 16M)
  --stack SIZE              how much of it is the stack's (default: an eighth)
  --timeout SECONDS         end a run that takes longer, with status 124
  --max-instructions COUNT  end a run that executes more, with status 124 (not with kvm)
  --symbols ELF             the ELF file a flat image was made of: names and lines in messages, code and constants
                            read-only, and a guard below the stack that catches its overflow
  --clock SECONDS           a clock that tells the same in each run: from this time on, since 1970, a millisecond
                            more each time it is read
  --seed NUMBER             random bytes that are the same in each run
  --trace KIND              write what the guest does: io, calls, insn (instructions) or spans (what it names), or several
                            of them, such as io,calls, to standard error
  --trace-file FILE         write it there instead: as lines, as JSON in each line (.jsonl), or as a timeline for
                            ui.perfetto.dev, on which a microsecond is an instruction (.json)
  --trace-filter FILTER     only in functions with FILTER in their names, or at addresses 0xSTART-0xEND
  --trace-limit LINES       write no more lines than this (default: 1000000)
  --gdb[=ADDR]              let gdb connect, and wait for it: a port of this machine, such as 1234 (the default) or 0
                            for any that is free, or a unix socket, such as unix:/tmp/gdb
  --save-snapshot FILE      save where the run has ended, also at a limit, by Ctrl-C or with a fault
  --from-snapshot FILE      go on from there, with memory, stack and ARGS as they were, and --clock and --seed if given
                            again; of PROGRAM, an ELF file, only names are taken
  --record FILE             record the run, to replay it; FILE holds the program, its input and the program's path
  --record-on-failure FILE  keep that only if the run ends with another status than 0, and say how to open it in gdb;
                            FILE may be a folder, for a file of its own for each run
  --record-without-program  leave the program out of it: `replay FILE PROGRAM` then needs it
  --sandbox                 let this process do only what the run needs, once all files are open (Linux; SECURITY.md)
  --stats                   say in the end what the run has cost
  --backtrace WHEN          show the calls that led to a fault, a panic or where the guest was stopped: auto (where
                            there are symbols), always (with addresses, and the runtime's own), or never
  --coverage[=FILE]         say which lines, functions and branches were executed (on the soft engine): a table, and in
                            FILE LCOV (.info, .lcov), JSON (.json) or else a folder of HTML
  --coverage-all            also of libraries and the standard library
  --coverage-add FILE       add what an earlier --coverage=FILE.json has counted; may be repeated
  --coverage-min PERCENT    end with status 123 if fewer of the lines were executed
  --track-origins           say of a fault where the values come from that it fell over: who wrote them, and when (on
                            the soft engine)
  --profile FILE            count each instruction by its call path (on the soft engine; with --engine kvm, look 400
                            times a second where the guest is), say where most went, and write all to FILE: a flame graph
                            (.svg), folded stacks (.folded) or Firefox's profiler (.json)
  --report FILE             write how the run ended to this file, as a JSON object (docs/report.md)
  --color WHEN              colour messages and reports: auto (on a terminal, and not with NO_COLOR), always or never
                            (default: what CARGO_TERM_COLOR says, or auto)
  -h, --help                print this
  -V, --version             print the version

Ports, one byte at a time:
  0xe9 console       in: the next byte of standard input; out: a byte to standard output
  0xea diagnostics   out: a byte to standard error
  0xeb input ready   in: how many bytes can be read without waiting, a little-endian u32 in four reads
  0xec layout        in: the ends of heap, guard and RAM, three little-endian u32
  0xed arguments     in: how many bytes, a little-endian u32, and ARGS, each with a zero byte behind it
  0xee clock         in: nanoseconds since the start and since 1970, two little-endian u64
  0xef random        in: a random byte
  0xf4 exit          out: end the run with this status
  0xf5 test          in: which test to run; out: that it is through (for `cargo xtask test --guest`)
  0xf6 span          in: 1 if somebody listens to spans, else 0; out: a name and a zero byte begin one, a zero byte alone
                     ends one
  0xf7 timer         out: the period of its interrupts, a little-endian u32, in instructions, or in nanoseconds on KVM

Exit status: the guest's own (0 for `hlt`, 101 for a panic); 134 for a fault, 124 for the time limit, 125 when
the run cannot be done, 130 after Ctrl-C, 141 when the reader of standard output has gone, 2 for a wrong
command line.";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
    /// Run an image.
    Run(Box<Options>),
    /// Say what a recording holds.
    Info(PathBuf),
    /// Make a page of a recording.
    Page(PageOptions),
}

/// How to run an image.
#[derive(Debug, Default, PartialEq)]
pub struct Options {
    /// The program: an ELF file or a flat image. With a snapshot there may be none.
    pub program: Option<PathBuf>,
    /// The ELF file with names and lines.
    pub symbols: Option<PathBuf>,
    /// The snapshot to go on from.
    pub from_snapshot: Option<PathBuf>,
    /// The recording to replay.
    pub replay: Option<PathBuf>,
    /// Where to record the run.
    pub record: Option<PathBuf>,
    /// Where to keep a recording if the run fails: a file, or a folder.
    pub record_on_failure: Option<PathBuf>,
    /// Whether the recording leaves the program out.
    pub leaves_program_out: bool,
    /// Where to save a snapshot of the end.
    pub save_snapshot: Option<PathBuf>,
    /// The size of RAM, if it is given.
    pub memory: Option<MemorySize>,
    /// The size of the stack, which is part of RAM.
    pub stack: Option<MemorySize>,
    /// The engine that runs the processor.
    pub engine: EngineChoice,
    /// The address where gdb may connect.
    pub gdb: Option<Address>,
    /// Whether the process gives up what the run does not need.
    pub is_sandboxed: bool,
    /// Whether to print the cost of the run.
    pub stats: bool,
    /// When to show the calls that led to the end of the run.
    pub backtraces: Backtraces,
    /// When messages have colours, if that is said.
    pub colors: Option<Colors>,
    /// Whether to count which lines are executed, and what to do with that.
    pub coverage: Request,
    /// Whether to search where the values come from that a fault fell over.
    pub tracks_origins: bool,
    /// Where to write a profile, and how.
    pub profile: Option<(PathBuf, Format)>,
    /// Where to write the report of the run.
    pub report: Option<PathBuf>,
    /// The instruction limit.
    pub max_instructions: Option<u64>,
    /// The time limit.
    pub timeout: Option<Duration>,
    /// When the guest's clock begins, since 1970, if runs are to be repeatable.
    pub clock: Option<Duration>,
    /// The seed of the guest's random bytes, if runs are to be repeatable.
    pub seed: Option<u64>,
    /// The kinds of trace to write.
    pub trace: Vec<trace::Kind>,
    /// The file for the trace.
    pub trace_file: Option<PathBuf>,
    /// Which part of the guest to trace.
    pub trace_filter: Option<Filter>,
    /// The most lines of the trace.
    pub trace_limit: Option<u64>,
    /// The guest's arguments.
    pub arguments: Vec<OsString>,
}

impl Options {
    /// Whether the trace is a timeline.
    pub fn has_timeline(&self) -> bool {
        self.trace_file.as_ref().is_some_and(|path| trace::Form::of(path) == trace::Form::TraceEvents)
    }

    /// Whether the run is recorded, for whatever reason.
    fn is_recorded(&self) -> bool {
        self.record.is_some() || self.record_on_failure.is_some()
    }
}

/// Reads the command line, without the program's name. An error is one sentence.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut args = args.into_iter().peekable();
    if args.next_if(|word| word == "page").is_some() {
        return page::parse(args).map(Command::Page);
    }
    let mut parser = Parser::from_args(args);
    let mut options = Options::default();
    let mut words = Vec::new();
    // The argument that is parsed, as it was given.
    let mut given = OsString::new();
    loop {
        if let Some(raw) = parser.try_raw_args() {
            given = raw.peek().unwrap_or_default().into();
            if given == "--" {
                options.arguments = raw.skip(1).collect();
                break;
            }
        }
        let Some(arg) = parser.next().map_err(|error| error.to_string())? else { break };
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Long("symbols") => options.symbols = Some(value(&mut parser, "--symbols")?.into()),
            Arg::Long("from-snapshot") => {
                options.from_snapshot = Some(value(&mut parser, "--from-snapshot")?.into());
            }
            Arg::Long(name @ ("record" | "record-on-failure")) => {
                let (to, name) = match name {
                    "record" => (&mut options.record, "--record"),
                    _ => (&mut options.record_on_failure, "--record-on-failure"),
                };
                let path = value(&mut parser, name)?;
                if path == "-" {
                    return Err(format!("{name} `-` would be among the guest's output: give a file"));
                }
                *to = Some(path.into());
            }
            Arg::Long("record-without-program") => options.leaves_program_out = true,
            Arg::Long("save-snapshot") => {
                let path = value(&mut parser, "--save-snapshot")?;
                if path == "-" {
                    return Err("--save-snapshot `-` would be among the guest's output: give a file".into());
                }
                options.save_snapshot = Some(path.into());
            }
            Arg::Long("memory") => {
                let text = text(&mut parser, "--memory")?;
                let size = text.parse().map_err(|error| format!("--memory `{text}` is {error}"))?;
                options.memory = Some(size);
            }
            Arg::Long("stack") => {
                let text = text(&mut parser, "--stack")?;
                let size = text.parse().map_err(|error| format!("--stack `{text}` is {error}"))?;
                options.stack = Some(size);
            }
            Arg::Long("engine") => {
                let text = text(&mut parser, "--engine")?;
                options.engine = text.parse().map_err(|error| format!("--engine `{text}` is {error}"))?;
            }
            Arg::Long("max-instructions") => {
                let text = text(&mut parser, "--max-instructions")?;
                options.max_instructions = Some(text.parse().map_err(|_| {
                    format!(
                        "--max-instructions `{text}` is not a count: give a whole number, such as 1000000"
                    )
                })?);
            }
            Arg::Long("trace") => {
                let text = text(&mut parser, "--trace")?;
                for kind in text.split(',') {
                    options.trace.push(kind.parse().map_err(|error| format!("--trace `{kind}` is {error}"))?);
                }
            }
            Arg::Long("trace-file") => {
                options.trace_file = Some(value(&mut parser, "--trace-file")?.into());
            }
            Arg::Long("trace-filter") => {
                let text = text(&mut parser, "--trace-filter")?;
                options.trace_filter =
                    Some(text.parse().map_err(|error| format!("--trace-filter `{text}` is {error}"))?);
            }
            Arg::Long("trace-limit") => {
                let text = text(&mut parser, "--trace-limit")?;
                options.trace_limit =
                    Some(text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| {
                        format!(
                            "--trace-limit `{text}` is no number of lines: give a whole number, such as 1000"
                        )
                    })?);
            }
            Arg::Long("gdb") => {
                options.gdb = Some(match parser.optional_value() {
                    None => Address::default(),
                    Some(value) => {
                        let text = value.string().map_err(|_| "the value of --gdb is not UTF-8")?;
                        text.parse().map_err(|error| format!("--gdb `{text}` is {error}"))?
                    }
                });
            }
            Arg::Long("coverage") => {
                options.coverage.is_made = true;
                options.coverage.to = parser.optional_value().map(Into::into);
            }
            Arg::Long("coverage-all") => options.coverage.scope = Scope::All,
            Arg::Long("coverage-add") => {
                options.coverage.added.push(value(&mut parser, "--coverage-add")?.into());
            }
            Arg::Long("coverage-min") => {
                let text = text(&mut parser, "--coverage-min")?;
                let least = text.parse().map_err(|error| format!("--coverage-min `{text}` is {error}"))?;
                options.coverage.least = Some(least);
            }
            Arg::Long("track-origins") => options.tracks_origins = true,
            Arg::Long("profile") => {
                let path = PathBuf::from(value(&mut parser, "--profile")?);
                let format = Format::of(&path)
                    .map_err(|error| format!("--profile `{}` is {error}", path.display()))?;
                options.profile = Some((path, format));
            }
            Arg::Long("sandbox") => options.is_sandboxed = true,
            Arg::Long("stats") => options.stats = true,
            Arg::Long("backtrace") => {
                let text = text(&mut parser, "--backtrace")?;
                options.backtraces =
                    text.parse().map_err(|error| format!("--backtrace `{text}` is {error}"))?;
            }
            Arg::Long("color") => {
                let text = text(&mut parser, "--color")?;
                options.colors = Some(text.parse().map_err(|error| format!("--color `{text}` is {error}"))?);
            }
            Arg::Long("report") => {
                let path = value(&mut parser, "--report")?;
                if path == "-" {
                    return Err(
                        "--report `-` would be among the guest's output: give a file, or /dev/stderr".into(),
                    );
                }
                options.report = Some(path.into());
            }
            Arg::Long("clock") => {
                let text = text(&mut parser, "--clock")?;
                let start = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                options.clock = Some(start.ok_or_else(|| {
                    format!("--clock `{text}` is not a time: give seconds since 1970, such as 1000000000")
                })?);
            }
            Arg::Long("seed") => {
                let text = text(&mut parser, "--seed")?;
                options.seed =
                    Some(text.parse().map_err(|_| {
                        format!("--seed `{text}` is not a seed: give a whole number, such as 1")
                    })?);
            }
            Arg::Long("timeout") => {
                let text = text(&mut parser, "--timeout")?;
                options.timeout = Some(seconds(&text).ok_or_else(|| {
                    format!("--timeout `{text}` is not a time: give seconds above 0, such as 10 or 0.5")
                })?);
            }
            Arg::Value(word) => words.push(word),
            Arg::Short(_) | Arg::Long(_) => return Err(no_option(&given.to_string_lossy())),
        }
    }
    let mut words = words.into_iter().peekable();
    if let Some(command) = words.next_if(|word| word == "replay" || word == "info") {
        let command = command.to_string_lossy();
        let file = words.next().map(PathBuf::from);
        let file =
            file.ok_or_else(|| format!("`flatland {command}` needs a recording: `flatland {command} FILE`"))?;
        match &*command {
            "info" => {
                none_left(words, "", &file)?;
                return match options == (Options { colors: options.colors, ..Options::default() }) {
                    true => Ok(Command::Info(file)),
                    false => Err("`flatland info` takes no options: `flatland info FILE`".into()),
                };
            }
            _ => options.replay = Some(file),
        }
    }
    options.program = words.next().map(PathBuf::from);
    let program = options.program.as_deref().unwrap_or(Path::new(""));
    none_left(words, "the program ", program).map_err(|message| {
        let is_without_file = options.coverage.is_made && options.coverage.to.is_none();
        message + if is_without_file { ": a file for coverage is given as --coverage=FILE" } else { "" }
    })?;
    check(&options)?;
    Ok(Command::Run(options.into()))
}

/// Says that there is no such option, and which one may be meant.
fn no_option(given: &str) -> String {
    let name = given.split('=').next().unwrap_or_default();
    let word = format!("--{}", name.trim_start_matches('-'));
    let lines = HELP.lines().filter(|line| line.starts_with("  -"));
    let known = lines.filter_map(|line| line[line.find("--")?..].split([' ', '[']).next());
    let distances = known.map(|known| (strsim::osa_distance(&word, known), known));
    // A third of the letters may be wrong.
    match distances.min().filter(|(distance, _)| *distance <= word.len() / 3) {
        Some((_, meant)) => format!("there is no option `{name}`: did you mean `{meant}`?"),
        None => format!("there is no option `{name}`"),
    }
}

/// Checks that there is no word more on the command line than those up to this one.
fn none_left(mut words: impl Iterator<Item = OsString>, what: &str, last: &Path) -> Result<(), String> {
    match words.next() {
        None => Ok(()),
        Some(extra) => {
            Err(format!("`{}` is one argument too many, after {what}`{}`", extra.display(), last.display()))
        }
    }
}

/// Checks that the options go together.
fn check(options: &Options) -> Result<(), String> {
    if options.program.is_none() && options.from_snapshot.is_none() && options.replay.is_none() {
        return Err("no program is given".into());
    }
    let of_start = [
        ("--memory", options.memory.is_some()),
        ("--stack", options.stack.is_some()),
        ("ARGS", !options.arguments.is_empty()),
    ];
    let of_world = [
        ("--from-snapshot", options.from_snapshot.is_some()),
        ("--clock", options.clock.is_some()),
        ("--seed", options.seed.is_some()),
    ];
    let given =
        |options: &[(&'static str, bool)]| options.iter().find(|(_, given)| *given).map(|(what, _)| *what);
    if options.replay.is_some() {
        if let Some(what) = given(&[of_start, of_world].concat()) {
            return Err(format!("a replay has what its run had: leave out {what}"));
        }
        if options.is_recorded() || options.leaves_program_out {
            return Err("a replay is recorded already: copy its recording".into());
        }
    }
    if options.record.is_some() && options.record_on_failure.is_some() {
        return Err("--record keeps what --record-on-failure keeps, too: leave one out".into());
    }
    if options.is_recorded() && options.gdb.is_some() {
        return Err(
            "what gdb changes is not recorded: record the run without --gdb, and then open it with `flatland replay FILE \
             --gdb`"
                .into(),
        );
    }
    if options.tracks_origins && options.gdb.is_some() {
        return Err("in gdb, `last-write` and `who` track origins: leave out --track-origins".into());
    }
    if options.has_timeline() && options.engine == EngineChoice::Kvm {
        return Err("KVM counts no instructions, and they are the time of a timeline: leave out --engine kvm, or give a \
             --trace-file that does not end in .json"
            .into());
    }
    let not_on_kvm = [
        ("--track-origins", options.tracks_origins, "keeps no past"),
        ("--coverage", options.coverage.is_made, "does not show what it executes"),
    ];
    if options.engine == EngineChoice::Kvm
        && let Some((option, _, why)) = not_on_kvm.into_iter().find(|(_, given, _)| *given)
    {
        return Err(format!(
            "KVM {why}: leave out --engine kvm, or record the run with --record FILE, and then `flatland replay {option} \
             FILE`"
        ));
    }
    if let Some(why) = options.coverage.contradiction() {
        return Err(why);
    }
    if options.profile.is_some() && options.coverage.is_made {
        return Err("--coverage and --profile look at a run in turn: record it with --record FILE, and then give them \
             to two runs of `flatland replay FILE`"
            .into());
    }
    if options.from_snapshot.is_some()
        && let Some(what) = given(&of_start)
    {
        return Err(format!("--from-snapshot goes on with what the run had: leave out {what}"));
    }
    if options.leaves_program_out && !options.is_recorded() {
        return Err(
            "--record-without-program says how to record, and --record FILE where: give that too".into()
        );
    }
    let of_trace = [
        ("--trace-file", options.trace_file.is_some()),
        ("--trace-filter", options.trace_filter.is_some()),
        ("--trace-limit", options.trace_limit.is_some()),
    ];
    if let Some((option, _)) = of_trace.into_iter().find(|(_, given)| *given && options.trace.is_empty()) {
        return Err(format!(
            "{option} says how to trace, and --trace KIND what: choose io, calls, insn or spans"
        ));
    }
    Ok(())
}

fn value(parser: &mut Parser, option: &str) -> Result<OsString, String> {
    parser.value().map_err(|_| format!("{option} needs a value"))
}

fn text(parser: &mut Parser, option: &str) -> Result<String, String> {
    value(parser, option)?.string().map_err(|_| format!("the value of {option} is not UTF-8"))
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests;
