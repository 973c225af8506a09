//! The command line of `flatland`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flatland::gdb::Address;
use flatland::report::Backtraces;
use flatland::trace::{self, Filter};
use flatland::{EngineChoice, MemorySize};
use lexopt::{Arg, Parser, ValueExt};

/// What `--help` prints.
pub const HELP: &str = "\
Run a program on a bare 32-bit processor.

Usage: flatland [OPTIONS] PROGRAM [-- ARGS]
       flatland [OPTIONS] --from-snapshot FILE [PROGRAM]
       flatland [OPTIONS] replay FILE [PROGRAM]
       flatland info FILE

PROGRAM is an ELF file, or a flat image: machine code as it lies in memory. It is put at address 0 of zeroed RAM and
started there, in 32-bit protected mode with paging off. Its input is standard input, its output standard output.
ARGS are for the guest.

replay runs a recorded run again, with its input and without any other, on the soft engine unless --engine names one. Of
PROGRAM, an ELF file, names are taken (default: the one that was recorded, if it is still there). info says what a
recording holds.

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
  --trace KIND              write what the guest does: io, calls or insn (instructions), or several of them, such as
                            io,calls, to standard error
  --trace-file FILE         write it there instead
  --trace-filter FILTER     only in functions with FILTER in their names, or at addresses 0xSTART-0xEND
  --trace-limit LINES       write no more lines than this (default: 1000000)
  --gdb[=ADDR]              let gdb connect, and wait for it: a port of this machine, such as 1234 (the default) or 0
                            for any that is free, or a unix socket, such as unix:/tmp/gdb
  --save-snapshot FILE      save where the run has ended, also at a limit, by Ctrl-C or with a fault
  --from-snapshot FILE      go on from there, with memory, stack and ARGS as they were, and --clock and --seed if given
                            again; of PROGRAM, an ELF file, only names are taken
  --record FILE             record the run, to replay it; FILE holds the program, its input and the program's path
  --record-on-failure FILE  keep that only if the run ends with another status than 0
  --record-without-program  leave the program out of it: `replay FILE PROGRAM` then needs it
  --stats                   say in the end what the run has cost
  --backtrace WHEN          show the calls that led to a fault, a panic or where the guest was stopped: auto (where
                            there are symbols), always (with addresses, and the runtime's own), or never
  --report FILE             write how the run ended to this file, as a JSON object (docs/report.md)
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

Exit status: the guest's own (0 for `hlt`, 101 for a panic); 134 for a fault, 124 for the time limit, 125 when
the run cannot be done, 130 after Ctrl-C, 141 when the reader of standard output has gone, 2 for a wrong
command line.";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
    /// Run an image.
    Run(Box<Options>),
    /// Say what a recording holds.
    Info(PathBuf),
}

/// How to run an image.
#[derive(Debug, Default, PartialEq, Eq)]
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
    /// Whether to keep the recording only if the run fails.
    pub records_failures_only: bool,
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
    /// Whether to print the cost of the run.
    pub stats: bool,
    /// When to show the calls that led to the end of the run.
    pub backtraces: Backtraces,
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

/// Reads the command line, without the program's name. An error is one sentence.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = Parser::from_args(args);
    let mut options = Options::default();
    let mut words = Vec::new();
    loop {
        if let Some(raw) = parser.try_raw_args()
            && raw.peek().is_some_and(|arg| arg == "--")
        {
            options.arguments = raw.skip(1).collect();
            break;
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
                options.records_failures_only = name == "record-on-failure";
                let name = format!("--{name}");
                let path = value(&mut parser, &name)?;
                if path == "-" {
                    return Err(format!("{name} `-` would be among the guest's output: give a file"));
                }
                options.record = Some(path.into());
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
            Arg::Long("stats") => options.stats = true,
            Arg::Long("backtrace") => {
                let text = text(&mut parser, "--backtrace")?;
                options.backtraces =
                    text.parse().map_err(|error| format!("--backtrace `{text}` is {error}"))?;
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
            Arg::Short(letter) => return Err(format!("there is no option `-{letter}`")),
            Arg::Long(name) => return Err(format!("there is no option `--{name}`")),
        }
    }
    let mut words = words.into_iter().peekable();
    if let Some(command) = words.next_if(|word| word == "replay" || word == "info") {
        let command = command.to_string_lossy();
        let file = words.next().map(PathBuf::from);
        let file =
            file.ok_or_else(|| format!("`flatland {command}` needs a recording: `flatland {command} FILE`"))?;
        match &*command {
            "info" => return none_left(words, "", &file).map(|()| Command::Info(file)),
            _ => options.replay = Some(file),
        }
    }
    options.program = words.next().map(PathBuf::from);
    none_left(words, "the program ", options.program.as_deref().unwrap_or(Path::new("")))?;
    check(&options)?;
    Ok(Command::Run(options.into()))
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
        if options.record.is_some() {
            return Err("a replay is recorded already: copy its recording".into());
        }
    }
    if options.from_snapshot.is_some()
        && let Some(what) = given(&of_start)
    {
        return Err(format!("--from-snapshot goes on with what the run had: leave out {what}"));
    }
    if options.leaves_program_out && options.record.is_none() {
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
        return Err(format!("{option} says how to trace, and --trace KIND what: choose io, calls or insn"));
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
mod tests {
    use flatland_contract::Direction;

    use super::*;

    fn parse_words(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn options(line: &str) -> Options {
        match parse_words(line) {
            Ok(Command::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_in_any_order_and_both_spellings() {
        let all = Options {
            program: Some("a.bin".into()),
            symbols: Some("a.elf".into()),
            from_snapshot: None,
            replay: None,
            record: Some("a.rec".into()),
            records_failures_only: false,
            leaves_program_out: true,
            save_snapshot: Some("a.snap".into()),
            memory: Some("64K".parse().unwrap()),
            stack: Some("8K".parse().unwrap()),
            timeout: Some(Duration::from_millis(1500)),
            engine: EngineChoice::Soft,
            gdb: None,
            stats: true,
            backtraces: Backtraces::Always,
            report: Some("a.json".into()),
            max_instructions: Some(1000),
            trace: vec![trace::Kind::Calls],
            clock: Some(Duration::from_secs(1_000_000_000)),
            seed: Some(7),
            trace_file: Some("a.txt".into()),
            trace_filter: Some(Filter::Function("main".into())),
            trace_limit: Some(10),
            arguments: Vec::new(),
        };
        let line = "--symbols a.elf --memory 64K --stack 8K --engine soft --stats --backtrace always --report a.json \
                    --save-snapshot a.snap --max-instructions 1000 --timeout 1.5 --trace calls --trace-file a.txt \
                    --trace-filter main --trace-limit 10 --clock 1000000000 --seed 7 --record a.rec \
                    --record-without-program a.bin";
        assert_eq!(options(line), all);
        let line = "a.bin --record-without-program --record=a.rec --seed=7 --clock=1000000000 --trace-limit=10 --trace-filter=main --trace-file=a.txt --trace=calls --timeout=1.5 \
                    --max-instructions=1000 --save-snapshot=a.snap --report=a.json --backtrace=always --stats --engine=soft \
                    --stack=8K --memory=64K --symbols=a.elf";
        assert_eq!(options(line), all);
        assert_eq!(options("a.bin"), Options { program: Some("a.bin".into()), ..Options::default() });
        let gdb =
            Options { program: Some("a.bin".into()), gdb: Some(Address::default()), ..Options::default() };
        assert_eq!(options("--gdb a.bin"), gdb);
        let gdb = Options { gdb: Some("[::1]:99".parse().unwrap()), ..gdb };
        assert_eq!(options("--gdb=[::1]:99 a.bin"), gdb);
        let snapshot = Options { from_snapshot: Some("a.snap".into()), ..Options::default() };
        assert_eq!(options("--from-snapshot a.snap"), snapshot);
        let replay = Options { replay: Some("a.rec".into()), ..Options::default() };
        assert_eq!(options("replay a.rec"), replay);
        let replay = Options { program: Some("a.elf".into()), stats: true, ..replay };
        assert_eq!(options("replay --stats a.rec a.elf"), replay);
        assert_eq!(parse_words("info a.rec"), Ok(Command::Info("a.rec".into())));
        let failures = Options {
            program: Some("a.bin".into()),
            record: Some("a.rec".into()),
            records_failures_only: true,
            ..Options::default()
        };
        assert_eq!(options("--record-on-failure a.rec a.bin"), failures);
        let snapshot = Options { program: Some("a.elf".into()), ..snapshot };
        assert_eq!(options("a.elf --from-snapshot=a.snap --"), snapshot);
        assert_eq!(options("a.bin --"), Options { program: Some("a.bin".into()), ..Options::default() });
    }

    #[test]
    fn arguments_after_dashes_are_the_guests() {
        for line in ["a.bin -- --stats -- b", "-- --stats -- b"] {
            let with_image = line.starts_with("a.bin");
            let parsed = parse_words(line);
            if with_image {
                let arguments = ["--stats", "--", "b"].map(OsString::from).to_vec();
                let expected = Options { program: Some("a.bin".into()), arguments, ..Options::default() };
                assert_eq!(parsed, Ok(Command::Run(expected.into())));
            } else {
                assert_eq!(parsed, Err("no program is given".into()));
            }
        }
    }

    #[test]
    fn help_and_version_win() {
        assert_eq!(parse_words("--help"), Ok(Command::Help));
        assert_eq!(parse_words("a.bin -h"), Ok(Command::Help));
        assert_eq!(parse_words("-V"), Ok(Command::Version));
        assert_eq!(parse_words("--version"), Ok(Command::Version));
    }

    #[test]
    fn errors_name_the_wrong_option() {
        for (line, message) in [
            ("", "no program is given"),
            ("a b", "`b` is one argument too many, after the program `a`"),
            ("replay", "`flatland replay` needs a recording: `flatland replay FILE`"),
            ("info a b", "`b` is one argument too many, after `a`"),
            ("replay a b c", "`c` is one argument too many, after the program `b`"),
            ("replay a --memory 1M", "a replay has what its run had: leave out --memory"),
            ("replay a --seed 1", "a replay has what its run had: leave out --seed"),
            ("replay a --record b", "a replay is recorded already: copy its recording"),
            ("a --record -", "--record `-` would be among the guest's output: give a file"),
            (
                "a --record-without-program",
                "--record-without-program says how to record, and --record FILE where: give that too",
            ),
            ("--frob a", "there is no option `--frob`"),
            ("-x a", "there is no option `-x`"),
            ("a --memory", "--memory needs a value"),
            ("a --memory 0", "--memory `0` is too little: give at least 4K"),
            ("a --stack 100", "--stack `100` is not whole pages: give a multiple of 4K"),
            ("a --backtrace full", "--backtrace `full` is not a choice: give auto, always or never"),
            ("a --engine fast", "--engine `fast` is not an engine: choose auto, kvm or soft"),
            (
                "a --max-instructions few",
                "--max-instructions `few` is not a count: give a whole number, such as 1000000",
            ),
            ("a --trace all", "--trace `all` is no trace: choose io, calls or insn"),
            (
                "a --trace io --trace-filter 0x2-0x1",
                "--trace-filter `0x2-0x1` is no filter: give part of a function's name, or addresses such as \
                 0x100-0x200",
            ),
            (
                "a --trace io --trace-limit 0",
                "--trace-limit `0` is no number of lines: give a whole number, such as 1000",
            ),
            (
                "a --trace-file b",
                "--trace-file says how to trace, and --trace KIND what: choose io, calls or insn",
            ),
            (
                "a --gdb=0.0.0.0:1234",
                "--gdb `0.0.0.0:1234` is not an address of this machine alone, and whoever connects owns the guest: \
                 give a port, such as 1234, or a unix socket, such as unix:/tmp/gdb; from elsewhere, come through \
                 ssh -L 1234:127.0.0.1:1234",
            ),
            ("a --report -", "--report `-` would be among the guest's output: give a file, or /dev/stderr"),
            ("a --save-snapshot -", "--save-snapshot `-` would be among the guest's output: give a file"),
            (
                "a --from-snapshot b --memory 1M",
                "--from-snapshot goes on with what the run had: leave out --memory",
            ),
            (
                "--from-snapshot b --stack 1M",
                "--from-snapshot goes on with what the run had: leave out --stack",
            ),
            ("--from-snapshot b -- c", "--from-snapshot goes on with what the run had: leave out ARGS"),
            ("a --seed x", "--seed `x` is not a seed: give a whole number, such as 1"),
            ("a --clock now", "--clock `now` is not a time: give seconds since 1970, such as 1000000000"),
            ("a --timeout 0", "--timeout `0` is not a time: give seconds above 0, such as 10 or 0.5"),
            ("a --timeout -1", "--timeout `-1` is not a time: give seconds above 0, such as 10 or 0.5"),
            ("a --timeout nan", "--timeout `nan` is not a time: give seconds above 0, such as 10 or 0.5"),
            ("a --timeout 1e99", "--timeout `1e99` is not a time: give seconds above 0, such as 10 or 0.5"),
        ] {
            assert_eq!(parse_words(line), Err(message.into()), "{line}");
        }
    }

    #[test]
    fn help_lists_every_port_of_the_contract() {
        for port in flatland_contract::Port::ALL {
            let begin = format!("  {:#x} {} ", port.number(), port.name());
            let line = HELP.lines().find(|line| line.starts_with(&begin)).expect("the port has a line");
            assert_eq!(line.contains(" in: "), port.allows(Direction::In), "{line}");
            assert_eq!(line.contains(" out: "), port.allows(Direction::Out), "{line}");
        }
    }
}
