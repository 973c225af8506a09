//! What a command line asks of coverage.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::html::{GENERATOR, INDEX};
use super::{Coverage, NoCoverage, Ratio, Scope};
use crate::words;

/// The most bytes of a file to add, which half a million lines have. What is kept of it takes up to 16 times as much if it
/// was made for that, and else no more than it.
const LARGEST: u64 = 32 << 20;

/// The options `--coverage[=FILE]`, `--coverage-all`, `--coverage-add FILE` and `--coverage-min PERCENT`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Whether there is to be any coverage.
    pub is_made: bool,
    /// The file or folder to write it to. Its extension says what is written: `.info` and `.lcov` are LCOV, `.json` is
    /// JSON, and no extension is a folder of HTML.
    pub to: Option<PathBuf>,
    /// Whose code is looked at.
    pub scope: Scope,
    /// Files with earlier coverage as JSON, which is added.
    pub added: Vec<PathBuf>,
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

/// A request whose files are read and made, for a run that may begin.
#[derive(Clone, Debug)]
pub struct Prepared {
    request: Request,
    /// What is added.
    added: Coverage,
}

/// A file cannot be used.
#[derive(Debug)]
pub struct CannotUse {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Write(io::Error),
    /// It is a file, and pages need a folder.
    IsFile,
    /// It is a folder with other files.
    HasOtherFiles,
    Read(io::Error),
    /// It cannot be added, because it is larger than [`LARGEST`].
    TooLarge,
    CannotAdd(NoCoverage),
}

impl fmt::Display for CannotUse {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        const JSON: &str = "give a FILE.json that --coverage=FILE.json wrote";
        let Self { path, why } = self;
        let path = path.display();
        match why {
            Why::Write(error) => write!(f, "cannot write --coverage `{path}` ({error}): give another place"),
            Why::IsFile => write!(
                f,
                "cannot write --coverage `{path}` (it is a file): give a folder, or a file that ends in .info, .lcov or \
                 .json"
            ),
            Why::HasOtherFiles => {
                write!(
                    f,
                    "cannot write --coverage `{path}` (it is a folder with other files): give a new one"
                )
            }
            Why::Read(error) => write!(f, "cannot read --coverage-add `{path}` ({error}): {JSON}"),
            Why::TooLarge => {
                write!(
                    f,
                    "cannot read --coverage-add `{path}` (it is larger than {}M): {JSON}",
                    LARGEST >> 20
                )
            }
            Why::CannotAdd(error @ NoCoverage::Version(_)) => {
                write!(f, "cannot read --coverage-add `{path}` ({error}): write it again with this one")
            }
            Why::CannotAdd(error) => write!(f, "cannot read --coverage-add `{path}` ({error}): {JSON}"),
        }
    }
}

impl Error for CannotUse {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.why {
            Why::Write(error) | Why::Read(error) => Some(error),
            Why::CannotAdd(error) => Some(error),
            Why::IsFile | Why::HasOtherFiles | Why::TooLarge => None,
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
        let of_coverage = [
            ("--coverage-all", self.scope == Scope::All),
            ("--coverage-add", !self.added.is_empty()),
            ("--coverage-min", self.least.is_some()),
        ];
        let given = of_coverage.into_iter().find(|(_, is_given)| *is_given && !self.is_made);
        given.map(|(what, _)| format!("{what} is of --coverage: give that, too"))
    }

    /// Reads what is to be added, and makes the file, so that a wrong path is known before the run. An earlier file stays
    /// until there is something to write: it may be one of those that are added.
    pub fn prepare(&self) -> Result<Prepared, CannotUse> {
        let mut added = Coverage::default();
        for path in &self.added {
            let earlier = read(path).map_err(|why| CannotUse { path: path.clone(), why })?;
            added.merge(&earlier);
        }
        if let Some(to) = &self.to {
            create(to).map_err(|why| CannotUse { path: to.clone(), why })?;
        }
        Ok(Prepared { request: self.clone(), added })
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

/// Reads coverage that was written as JSON.
fn read(path: &Path) -> Result<Coverage, Why> {
    let mut bytes = Vec::new();
    // At most one byte more, because a device or a pipe may have no end.
    File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)).map_err(Why::Read)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Why::TooLarge);
    }
    Coverage::from_json(&String::from_utf8_lossy(&bytes)).map_err(Why::CannotAdd)
}

/// Makes the file or folder, and leaves what is in it.
fn create(to: &Path) -> Result<(), Why> {
    match Form::of(to) {
        Some(Form::Lcov | Form::Json) => {
            let file = File::options().write(true).create(true).truncate(false).open(to);
            file.map(drop).map_err(Why::Write)
        }
        _ if to.is_file() => Err(Why::IsFile),
        _ if has_other_files(to) => Err(Why::HasOtherFiles),
        _ => fs::create_dir_all(to).map_err(Why::Write),
    }
}

impl Prepared {
    /// Whose code is looked at.
    pub fn scope(&self) -> Scope {
        self.request.scope
    }

    /// Adds what is to be added, and writes the file. Returns what to say.
    pub fn write(&self, mut coverage: Coverage) -> Result<Covered, CannotUse> {
        coverage.merge(&self.added);
        let written = match &self.request.to {
            None => None,
            Some(to) => {
                let (result, to_open) = match Form::of(to) {
                    Some(Form::Lcov) => (fs::write(to, coverage.lcov()), to.clone()),
                    Some(Form::Json) => (fs::write(to, coverage.json()), to.clone()),
                    _ => (coverage.write_html(to), to.join(INDEX)),
                };
                result.map_err(|error| CannotUse { path: to.clone(), why: Why::Write(error) })?;
                let Ratio { covered, all } = coverage.lines();
                Some(words::written("coverage", &format!("{covered} of {all} lines"), &to_open))
            }
        };
        Ok(Covered { written, table: coverage.table(), too_low: self.request.too_low(&coverage) })
    }
}
