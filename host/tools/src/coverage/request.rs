//! What a command line asks of coverage.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::html::{GENERATOR, INDEX};
use super::{Coverage, Ratio, Scope};
use crate::words;

/// The options `--coverage[=FILE]`, `--coverage-all` and `--coverage-min PERCENT`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Whether there is to be any coverage.
    pub is_made: bool,
    /// The file or folder to write it to. Its extension says what is written: `.info` and `.lcov` are LCOV, `.json` is
    /// JSON, and no extension is a folder of HTML.
    pub to: Option<PathBuf>,
    /// Whose code is looked at.
    pub scope: Scope,
    /// How much of the lines is to be executed at least.
    pub least: Option<Percent>,
}

/// A form of coverage.
enum Form {
    Lcov,
    Json,
    Html,
}

/// A part, in percent: 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl FromStr for Percent {
    type Err = NoPercent;

    fn from_str(text: &str) -> Result<Self, NoPercent> {
        let percent = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
        percent.map(Self).ok_or(NoPercent)
    }
}

/// The text is no part in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPercent;

impl fmt::Display for NoPercent {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("no part in percent: give a number up to 100, such as 80")
    }
}

impl Error for NoPercent {}

/// What to say of coverage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Covered {
    /// Where it was written, in a sentence, if it was.
    pub written: Option<String>,
    /// The table for the terminal.
    pub table: String,
    /// Why there is too little, in a sentence, if so.
    pub too_low: Option<String>,
}

/// The coverage cannot be written.
#[derive(Debug)]
pub struct CannotWrite {
    to: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Error(io::Error),
    /// It is a file, and pages need a folder.
    IsFile,
    /// It is a folder with other files.
    HasOtherFiles,
}

impl fmt::Display for CannotWrite {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { to, why } = self;
        write!(f, "cannot write --coverage `{}` ", to.display())?;
        match why {
            Why::Error(error) => write!(f, "({error}): give another place"),
            Why::IsFile => {
                f.write_str("(it is a file): give a folder, or a file that ends in .info, .lcov or .json")
            }
            Why::HasOtherFiles => f.write_str("(it is a folder with other files): give a new one"),
        }
    }
}

impl Error for CannotWrite {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.why {
            Why::Error(error) => Some(error),
            Why::IsFile | Why::HasOtherFiles => None,
        }
    }
}

impl Form {
    /// By the extension. None if it has no meaning.
    fn of(to: &Path) -> Option<Self> {
        match to.extension().and_then(|extension| extension.to_str()) {
            Some("info" | "lcov") => Some(Self::Lcov),
            Some("json") => Some(Self::Json),
            None if to.extension().is_none() && !to.as_os_str().is_empty() => Some(Self::Html),
            _ if to.is_dir() => Some(Self::Html),
            _ => None,
        }
    }
}

/// Whether this is a folder with files that are no pages of an earlier run.
fn has_other_files(folder: &Path) -> bool {
    let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    let index = fs::read_to_string(folder.join(INDEX)).unwrap_or_default();
    folder.is_dir() && !is_empty && !index.contains(GENERATOR)
}

impl Request {
    /// Why the options mean nothing, if they do not.
    pub fn contradiction(&self) -> Option<String> {
        if let Some(to) = self.to.as_ref().filter(|to| Form::of(to).is_none()) {
            return Some(format!(
                "--coverage `{}` is no coverage by its name: end it with .info or .lcov (LCOV) or .json, or give a folder \
                 without an extension",
                to.display()
            ));
        }
        let of_coverage =
            [("--coverage-all", self.scope == Scope::All), ("--coverage-min", self.least.is_some())];
        let given = of_coverage.into_iter().find(|(_, is_given)| *is_given && !self.is_made);
        given.map(|(what, _)| format!("{what} is of --coverage: give that, too"))
    }

    /// Makes the file, so that a wrong path is known before the run.
    pub fn create(&self) -> Result<(), CannotWrite> {
        let Some(to) = &self.to else { return Ok(()) };
        let created = match Form::of(to) {
            Some(Form::Lcov | Form::Json) => File::create(to).map(drop).map_err(Why::Error),
            _ if to.is_file() => Err(Why::IsFile),
            _ if has_other_files(to) => Err(Why::HasOtherFiles),
            _ => fs::create_dir_all(to).map_err(Why::Error),
        };
        created.map_err(|why| CannotWrite { to: to.clone(), why })
    }

    /// Writes the file. Returns what to say.
    pub fn write(&self, coverage: &Coverage) -> Result<Covered, CannotWrite> {
        let written = match &self.to {
            None => None,
            Some(to) => {
                let (result, to_open) = match Form::of(to) {
                    Some(Form::Lcov) => (fs::write(to, coverage.lcov()), to.clone()),
                    Some(Form::Json) => (fs::write(to, coverage.json()), to.clone()),
                    _ => (coverage.write_html(to), to.join(INDEX)),
                };
                result.map_err(|error| CannotWrite { to: to.clone(), why: Why::Error(error) })?;
                let Ratio { covered, all } = coverage.lines();
                Some(words::written("coverage", &format!("{covered} of {all} lines"), &to_open))
            }
        };
        Ok(Covered { written, table: coverage.table(), too_low: self.too_low(coverage) })
    }

    /// Why this coverage is too low, if it is.
    fn too_low(&self, coverage: &Coverage) -> Option<String> {
        let percent = coverage.lines().percent();
        let Percent(least) = self.least.filter(|least| Percent(percent) < *least)?;
        Some(format!(
            "{percent:.1} % of the lines were executed, and --coverage-min asks for {least} %: test what the table counts \
             as missing, or ask for less"
        ))
    }
}
