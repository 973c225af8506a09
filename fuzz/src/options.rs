//! The command line. xtask describes the options: xtask/src/options/commands.rs.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use flatland::MemorySize;
use flatland::coverage::{Request, Scope};
use flatland::words;
use lexopt::Arg::{Long, Value};
use lexopt::ValueExt;

use crate::Result;
use crate::fuzzing::Campaign;
use crate::many::Jobs;
use crate::target::Settings;

/// What to do with a guest.
#[derive(Clone, Debug)]
pub struct Command {
    pub campaign: Campaign,
    pub mode: Mode,
    /// What the guest is called.
    pub name: String,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Look for inputs that it ends badly on.
    Fuzz,
    /// The same, by several jobs.
    Jobs(Jobs),
    /// Be a job of the broker at this port.
    Client(u16),
    /// Run the findings again.
    Regress,
    /// Make the corpus smaller.
    Minimize,
    /// Say what the corpus executes.
    Coverage(Request),
}

/// Parses the command line.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut program, mut name) = (None, None);
    let (mut jobs, mut listen, mut connect, mut client) = (None, None, None, None);
    let (mut modes, mut coverage) = (Vec::new(), Request::default());
    let mut campaign = Campaign {
        settings: Settings {
            program: PathBuf::new(),
            arguments: Vec::new(),
            prefix: Vec::new(),
            memory: MemorySize::default(),
            stack: None,
            max_instructions: 1_000_000,
        },
        corpus: PathBuf::new(),
        seeds: Vec::new(),
        findings: PathBuf::new(),
        dictionary: None,
        seed: 0,
        max_len: 4096,
        runs: None,
        time: None,
    };
    while let Some(argument) = parser.next().map_err(said)? {
        match argument {
            Long("name") => name = Some(parser.value().and_then(|value| value.string()).map_err(said)?),
            Long("seconds") => campaign.time = Some(Duration::from_secs(number(&mut parser, "--seconds")?)),
            Long("runs") => campaign.runs = Some(number(&mut parser, "--runs")?),
            Long("seed") => campaign.seed = number(&mut parser, "--seed")?,
            Long("max-len") => campaign.max_len = number(&mut parser, "--max-len")?,
            Long("max-instructions") => {
                campaign.settings.max_instructions = number(&mut parser, "--max-instructions")?
            }
            Long("memory") => campaign.settings.memory = size(&mut parser)?,
            Long("stack") => campaign.settings.stack = Some(size(&mut parser)?),
            Long("seeds") => {
                let path = PathBuf::from(parser.value().map_err(said)?);
                if !path.exists() {
                    return Err(format!(
                        "--seeds: there is no `{}`: name a folder or a file",
                        path.display()
                    ));
                }
                campaign.seeds.push(path);
            }
            Long("corpus") => campaign.corpus = parser.value().map_err(said)?.into(),
            Long("findings") => campaign.findings = parser.value().map_err(said)?.into(),
            Long("dictionary") => campaign.dictionary = Some(parser.value().map_err(said)?.into()),
            Long("jobs") => jobs = Some(number(&mut parser, "--jobs")?),
            Long("listen") => listen = Some(number(&mut parser, "--listen")?),
            Long("connect") => connect = Some(parser.value().and_then(|value| value.string()).map_err(said)?),
            Long("client") => {
                let value = parser.value().and_then(|value| value.string()).map_err(said)?;
                let numbers = value.split_once(':').and_then(|(port, number)| {
                    Some((port.parse::<u16>().ok()?, number.parse::<u64>().ok()?))
                });
                client = Some(numbers.ok_or("--client is for this program itself: leave it out")?);
            }
            // For flatland-fuzz-compare, which looks for one planted bug at a time.
            Long("first-byte") => campaign.settings.prefix = vec![number(&mut parser, "--first-byte")?],
            Long("regress") => modes.push(Mode::Regress),
            Long("minimize") => modes.push(Mode::Minimize),
            Long("coverage") => {
                coverage.is_made = true;
                coverage.to = parser.optional_value().map(PathBuf::from);
            }
            Long("coverage-all") => coverage.scope = Scope::All,
            Long("coverage-add") => coverage.added.push(parser.value().map_err(said)?.into()),
            Long("coverage-min") => {
                let value = parser.value().map_err(said)?;
                let least = value.to_string_lossy().parse();
                coverage.least = Some(least.map_err(|error| format!("--coverage-min: {error}"))?);
            }
            Value(value) if program.is_none() => {
                program = Some(PathBuf::from(value));
                let rest = parser.raw_args().map_err(said)?;
                campaign.settings.arguments = rest.map(|argument| argument.into_encoded_bytes()).collect();
            }
            other => {
                return Err(format!(
                    "{}: `{} fuzz --help` lists what there is",
                    other.unexpected(),
                    words::cargo()
                ));
            }
        }
    }
    campaign.settings.program = program.ok_or("a program is missing: name an ELF file or a flat image")?;
    let name = name.unwrap_or_else(|| campaign.settings.program.display().to_string());
    for (folder, what) in [(&mut campaign.corpus, "corpus"), (&mut campaign.findings, "findings")] {
        if folder.as_os_str().is_empty() {
            *folder = PathBuf::from(format!("target/fuzz/{name}/{what}"));
        }
    }
    if let Some(message) = coverage.contradiction() {
        return Err(message);
    }
    if coverage.is_made {
        modes.push(Mode::Coverage(coverage));
    }
    let many = jobs.is_some() || listen.is_some() || connect.is_some();
    let count = jobs.unwrap_or(NonZero::<usize>::MIN);
    if let (Some((port, number)), true) = (client, many) {
        // One seed for each, and each its part of the runs.
        campaign.seed = campaign.seed.wrapping_add(number);
        campaign.runs = campaign.runs.map(|runs| runs.div_ceil(count.get() as u64));
        modes.push(Mode::Client(port));
    } else if many {
        modes.push(Mode::Jobs(Jobs { count, listen, connect }));
    }
    match modes.len() {
        0 => Ok(Command { campaign, mode: Mode::Fuzz, name }),
        1 => Ok(Command { campaign, mode: modes.remove(0), name }),
        _ => {
            Err("--regress, --minimize, --coverage and --jobs are done one after the other: give one of them"
                .into())
        }
    }
}

fn number<T: std::str::FromStr>(parser: &mut lexopt::Parser, option: &str) -> Result<T> {
    let value = parser.value().map_err(said)?;
    let text = value.to_string_lossy().replace('_', "");
    text.parse().map_err(|_| format!("{option} takes a number, and `{}` is none", value.to_string_lossy()))
}

fn size(parser: &mut lexopt::Parser) -> Result<MemorySize> {
    let value = parser.value().map_err(said)?;
    value.to_string_lossy().parse().map_err(|error| format!("{error}"))
}

fn said(error: lexopt::Error) -> String {
    format!("{error}: `{} fuzz --help` lists what there is", words::cargo())
}
