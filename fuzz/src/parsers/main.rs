//! `flatland-fuzz-parsers`: fuzzes what the host reads from outside, with LibAFL. `cargo xtask fuzz --parsers` builds it with
//! the compiler's coverage and starts it.

mod counters;
mod fuzzing;
mod seeds;
mod targets;

// What the tests of damaged files have: an allocator that counts, and files with right checksums.
#[path = "../../../host/machine/tests/damaged_recordings/changes.rs"]
#[allow(dead_code)]
mod changes;
#[path = "../../../host/machine/tests/common/mod.rs"]
#[allow(dead_code)]
mod common;
#[path = "../../../host/machine/tests/damaged_recordings/guests.rs"]
#[allow(dead_code)]
mod guests;
#[path = "../../../host/machine/tests/damaged_recordings/parts.rs"]
#[allow(dead_code)]
mod parts;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, fs, thread};

use flatland_contract::status;
use fuzzing::Campaign;
use lexopt::Arg::{Long, Value};
use targets::{PARSERS, Parser};

/// The error is a sentence that ends with what to do.
type Result<T, E = String> = std::result::Result<T, E>;

/// How long a parser may take for an input.
const TIME_LIMIT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let asked = match Asked::parse(env::args_os().skip(1)) {
        Ok(asked) => asked,
        Err(message) => return fail(&message, status::USAGE),
    };
    let result = match &asked.parser {
        None => each(),
        Some(parser) if asked.files.is_empty() => asked.campaign.run(parser),
        Some(parser) => again(parser, &asked.files),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => fail(&message, status::HOST),
    }
}

fn fail(message: &str, status: u8) -> ExitCode {
    eprintln!("flatland-fuzz-parsers: {message}");
    status.into()
}

/// The command line. xtask describes the options: xtask/src/options/commands.rs.
#[derive(Debug)]
struct Asked {
    parser: Option<Parser>,
    files: Vec<PathBuf>,
    campaign: Campaign,
}

impl Asked {
    fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self> {
        const HINT: &str = "`cargo xtask fuzz --help` lists what there is";
        let mut arguments = lexopt::Parser::from_args(arguments);
        let campaign = Campaign {
            folder: "target/fuzz/parsers".into(),
            elves: Vec::new(),
            seed: 0,
            time: Duration::from_secs(30),
        };
        let mut asked = Self { parser: None, files: Vec::new(), campaign };
        while let Some(argument) = arguments.next().map_err(|error| format!("{error}: {HINT}"))? {
            let option = match &argument {
                Long(option) => format!("--{option}"),
                _ => String::new(),
            };
            let value = match argument {
                Value(value) => value,
                _ => arguments.value().map_err(|error| format!("{error}: {HINT}"))?,
            };
            let number = || {
                let number = value.to_str().and_then(|text| text.parse().ok());
                number.ok_or_else(|| format!("{option} takes a number, and `{}` is none", value.display()))
            };
            match &*option {
                "--folder" => asked.campaign.folder = value.into(),
                "--elf" => asked.campaign.elves.push(value.into()),
                "--seed" => asked.campaign.seed = number()?,
                "--seconds" => asked.campaign.time = Duration::from_secs(number()?),
                "" if asked.parser.is_none() => asked.parser = Some(parser(&value.to_string_lossy())?),
                "" => asked.files.push(value.into()),
                _ => return Err(format!("there is no option {option}: {HINT}")),
            }
        }
        Ok(asked)
    }
}

fn parser(name: &str) -> Result<Parser> {
    let found = PARSERS.iter().find(|parser| parser.name == name);
    let names = || PARSERS.map(|parser| parser.name).join(", ");
    found.copied().ok_or_else(|| format!("there is no parser `{name}`: name one of {}", names()))
}

/// Fuzzes one parser after the other, each in a process of its own, because one that crashes ends its process. Returns whether
/// nothing was found.
fn each() -> Result<bool> {
    let this =
        env::current_exe().map_err(|error| format!("cannot find this program ({error}): build it again"))?;
    let mut is_well = true;
    for parser in PARSERS {
        let status = Command::new(&this).arg(parser.name).args(env::args_os().skip(1)).status();
        let status =
            status.map_err(|error| format!("cannot run {} ({error}): build it again", this.display()))?;
        is_well &= status.success();
    }
    Ok(is_well)
}

/// Gives these files to the parser. Returns whether it takes them as it should.
fn again(parser: &Parser, files: &[PathBuf]) -> Result<bool> {
    let mut is_well = true;
    for path in files {
        let bytes = fs::read(path)
            .map_err(|error| format!("cannot read `{}` ({error}): name another file", path.display()))?;
        let (ended, has_ended) = mpsc::channel();
        let run = parser.run;
        thread::spawn(move || {
            run(&bytes);
            // Whoever waits has gone after the time limit.
            let _ = ended.send(());
        });
        let result = has_ended.recv_timeout(TIME_LIMIT);
        is_well &= result.is_ok();
        println!("{}", message(parser.name, path, result));
    }
    Ok(is_well)
}

fn message(name: &str, path: &Path, result: Result<(), mpsc::RecvTimeoutError>) -> String {
    let path = path.display();
    match result {
        Ok(()) => format!("{name}: {path} is taken as it should be"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            format!("{name}: {path} is a panic: correct what its message names")
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            format!("{name}: {path} takes more than {} s: look where it loops", TIME_LIMIT.as_secs())
        }
    }
}
