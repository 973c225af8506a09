//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use flatland::MemorySize;
use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;

use crate::Result;
use crate::fuzzing::Campaign;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Look for inputs that it ends badly on.
    Fuzz,
}

pub const HELP: &str = "\
Usage: cargo xtask fuzz NAME [OPTIONS] [-- ARGUMENT...]

Runs a guest program on inputs that LibAFL makes, on the soft engine: from where it first asks for input, again and again. Keeps
inputs that execute new code, and those on which it panics, faults or hangs.

      --seconds N           end after this time; without a limit, Ctrl-C ends it
      --runs N              end after this many runs
      --seed N              the seed of the mutators; one seed does the same each time (0)
      --max-len BYTES       the longest input (4096)
      --max-instructions N  a run that executes more of them after its set-up hangs (1000000)
      --memory SIZE         the guest's RAM, such as 64M
      --stack SIZE          its stack
      --seeds PATH          a folder or a file to begin with, beside the corpus; may be repeated
      --corpus FOLDER       where interesting inputs are kept (target/fuzz/NAME/corpus)
      --findings FOLDER     where what it found is kept (target/fuzz/NAME/findings)
      --dictionary FILE     tokens in AFL's format

The status is 1 if something was found.
";

/// Parses the command line.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut program, mut name) = (None, None);
    let mut campaign = Campaign {
        settings: Settings {
            program: PathBuf::new(),
            arguments: Vec::new(),
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
            Short('h') | Long("help") => {
                print!("{HELP}");
                std::process::exit(0);
            }
            Value(value) if program.is_none() => {
                program = Some(PathBuf::from(value));
                let rest = parser.raw_args().map_err(said)?;
                campaign.settings.arguments = rest.map(|argument| argument.into_encoded_bytes()).collect();
            }
            other => return Err(format!("{}: see --help", other.unexpected())),
        }
    }
    campaign.settings.program = program.ok_or("a program is missing: name an ELF file or a flat image")?;
    let name = name.unwrap_or_else(|| campaign.settings.program.display().to_string());
    for (folder, what) in [(&mut campaign.corpus, "corpus"), (&mut campaign.findings, "findings")] {
        if folder.as_os_str().is_empty() {
            *folder = PathBuf::from(format!("target/fuzz/{name}/{what}"));
        }
    }
    Ok(Command { campaign, mode: Mode::Fuzz, name })
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
    format!("{error}: see --help")
}
