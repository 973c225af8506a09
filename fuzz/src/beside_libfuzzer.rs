//! `flatland-fuzz-compare`: how long flatland-fuzz and libFuzzer take to find each planted bug. `cargo xtask fuzz --compare`
//! builds both and starts it.
//!
//! Both begin with nothing, have one process and the same seeds, and look for one bug at a time. The stack is as large for
//! both. Without AddressSanitizer libFuzzer does not see what `memcmp` compares; with it, as `cargo fuzz` builds by default,
//! a run takes longer.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use flatland_contract::status;
use lexopt::Arg::Long;
use lexopt::ValueExt;

/// The error is a sentence that ends with what to do.
type Result<T, E = String> = std::result::Result<T, E>;

/// The functions with the bugs, in the order of their formats: guest/src/bin/planted/bugs.rs.
const BUGS: [&str; 8] =
    ["trusted_length", "magic", "checksum", "index", "nested", "no_progress", "recursion", "overflow"];

/// The stack, in KiB: the eighth of RAM that a guest has.
const STACK: u32 = 2048;

/// How often to look whether something was found.
const LOOK_EVERY: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let comparison = match Comparison::parse(env::args_os().skip(1)) {
        Ok(comparison) => comparison,
        Err(message) => return fail(&message, status::USAGE),
    };
    match comparison.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message, status::HOST),
    }
}

fn fail(message: &str, status: u8) -> ExitCode {
    eprintln!("flatland-fuzz-compare: {message}");
    status.into()
}

/// The command line. xtask describes the options: xtask/src/options/commands.rs.
#[derive(Debug)]
struct Comparison {
    fuzzers: Vec<Fuzzer>,
    planted: PathBuf,
    /// For what the fuzzers write.
    folder: PathBuf,
    bugs: Vec<usize>,
    rounds: u32,
    limit: Duration,
}

#[derive(Debug)]
enum Fuzzer {
    Flatland(PathBuf),
    LibFuzzer { name: &'static str, program: PathBuf },
}

impl Comparison {
    fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self> {
        let said = |error| format!("{error}: `cargo xtask fuzz --help` lists what there is");
        let mut parser = lexopt::Parser::from_args(arguments);
        let mut comparison = Self {
            fuzzers: Vec::new(),
            planted: PathBuf::new(),
            folder: PathBuf::new(),
            bugs: Vec::new(),
            rounds: 5,
            limit: Duration::from_secs(600),
        };
        while let Some(argument) = parser.next().map_err(said)? {
            let Long(option) = argument else { return Err(said(argument.unexpected())) };
            let option = option.to_owned();
            let value = parser.value().map_err(said)?;
            match &*option {
                "flatland-fuzz" => comparison.fuzzers.push(Fuzzer::Flatland(value.into())),
                "libfuzzer" => {
                    let program = value.into();
                    comparison.fuzzers.push(Fuzzer::LibFuzzer { name: "libFuzzer", program });
                }
                "libfuzzer-asan" => {
                    let program = value.into();
                    comparison
                        .fuzzers
                        .push(Fuzzer::LibFuzzer { name: "libFuzzer with AddressSanitizer", program });
                }
                "planted" => comparison.planted = value.into(),
                "folder" => comparison.folder = value.into(),
                "bug" => {
                    let bug = BUGS.iter().position(|bug| value == *bug);
                    let bug = bug.ok_or_else(|| {
                        format!("there is no bug `{}`: name one of {}", value.display(), BUGS.join(", "))
                    })?;
                    comparison.bugs.push(bug);
                }
                "rounds" => comparison.rounds = value.parse().map_err(said)?,
                "seconds" => comparison.limit = Duration::from_secs(value.parse().map_err(said)?),
                _ => {
                    return Err(format!(
                        "there is no option --{option}: `cargo xtask fuzz --help` lists what there is"
                    ));
                }
            }
        }
        if comparison.bugs.is_empty() {
            comparison.bugs = (0..BUGS.len()).collect();
        }
        Ok(comparison)
    }

    fn run(&self) -> Result<()> {
        let mut table = String::from("| bug |");
        self.fuzzers.iter().for_each(|fuzzer| table += &format!(" {} |", fuzzer.name()));
        table += &format!("\n|---|{}\n", "---:|".repeat(self.fuzzers.len()));
        for &bug in &self.bugs {
            let mut times = vec![Vec::new(); self.fuzzers.len()];
            // The fuzzers take turns, so that another load of the machine meets each.
            for seed in 1..=self.rounds {
                for (fuzzer, times) in self.fuzzers.iter().zip(&mut times) {
                    let time = self.time(fuzzer, bug, seed)?;
                    eprintln!("{}, seed {seed}, {}: {}", BUGS[bug], fuzzer.name(), self.words(time));
                    times.push(time);
                }
            }
            let cells = times.into_iter().map(|times| format!(" {} |", self.cell(times)));
            table += &format!("| `{}` |{}\n", BUGS[bug], cells.collect::<String>());
        }
        println!("{table}");
        println!(
            "The median of {} runs, each with a seed of its own and up to {} s, and the shortest and the longest.",
            self.rounds,
            self.limit.as_secs()
        );
        Ok(())
    }

    /// How long a fuzzer takes to find a bug. `None` if it does not.
    fn time(&self, fuzzer: &Fuzzer, bug: usize, seed: u32) -> Result<Option<Duration>> {
        let folder = self.folder.join(BUGS[bug]);
        let _ = fs::remove_dir_all(&folder);
        let findings = folder.join("findings");
        fs::create_dir_all(&findings)
            .map_err(|error| format!("cannot make `{}` ({error}): free its place", findings.display()))?;
        let has_found = || fs::read_dir(&findings).is_ok_and(|mut findings| findings.next().is_some());
        let mut command = self.command(fuzzer, bug, seed, &folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let child = command.spawn();
        let child =
            child.map_err(|error| format!("cannot run {} ({error}): build it again", fuzzer.name()))?;
        let mut child = Killed(child);
        loop {
            let time = start.elapsed();
            let ended = child.0.try_wait().map_err(|error| format!("cannot wait ({error}): report it"))?;
            match ended {
                // An input is kept before it is made smaller.
                _ if has_found() => return Ok(Some(time)),
                None => thread::sleep(LOOK_EVERY),
                Some(status) if status.success() => return Ok(None),
                // libFuzzer does not survive a stack that overflows.
                Some(status) if status.signal() == Some(SIGSEGV) => return Ok(Some(time)),
                Some(status) => {
                    return Err(format!(
                        "{} has ended with {status}: call it alone, {command:?}",
                        fuzzer.name()
                    ));
                }
            }
        }
    }

    fn command(&self, fuzzer: &Fuzzer, bug: usize, seed: u32, folder: &Path) -> Command {
        let limit = self.limit.as_secs();
        match fuzzer {
            Fuzzer::Flatland(program) => {
                let mut command = Command::new(program);
                command.args([format!("--seed={seed}"), format!("--seconds={limit}")]);
                command
                    .arg("--corpus")
                    .arg(folder.join("corpus"))
                    .arg("--findings")
                    .arg(folder.join("findings"));
                command
                    .arg(format!("--stack={STACK}K"))
                    .arg(format!("--first-byte={bug}"))
                    .arg(&self.planted);
                command
            }
            Fuzzer::LibFuzzer { program, .. } => {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("ulimit -s {STACK} && exec \"$0\" \"$@\"")]).arg(program);
                command.args([format!("-seed={seed}"), format!("-max_total_time={limit}")]);
                // A hang is the shortest that there is, a second.
                command
                    .arg("-timeout=1")
                    .arg(format!("-artifact_prefix={}/", folder.join("findings").display()));
                command.env("FORMAT", bug.to_string()).env("RUST_BACKTRACE", "0");
                command.env("ASAN_OPTIONS", "detect_leaks=0:symbolize=0");
                command
            }
        }
    }

    /// The median, and the shortest and the longest.
    fn cell(&self, mut times: Vec<Option<Duration>>) -> String {
        times.sort_by_key(|time| time.unwrap_or(Duration::MAX));
        let words = |index: usize| times.get(index).map_or_else(String::new, |time| self.words(*time));
        format!("{} ({} to {})", words(times.len() / 2), words(0), words(times.len().saturating_sub(1)))
    }

    fn words(&self, time: Option<Duration>) -> String {
        match time {
            Some(time) => format!("{:.2} s", time.as_secs_f64()),
            None => format!("> {} s", self.limit.as_secs()),
        }
    }
}

impl Fuzzer {
    fn name(&self) -> &'static str {
        match self {
            Self::Flatland(_) => "flatland-fuzz",
            Self::LibFuzzer { name, .. } => name,
        }
    }
}

const SIGSEGV: i32 = 11;

/// A process that is ended when this is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
