//! What a command line asks of coverage.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use super::{Coverage, Scope};

/// The options `--coverage[=FILE]`, `--coverage-all` and `--coverage-min PERCENT`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Whether there is to be any coverage.
    pub is_made: bool,
    /// The file or folder to write it to. Its extension says what is written: `.info` and `.lcov` are LCOV, `.json` is
    /// JSON, and all others are folders of HTML.
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

/// The coverage cannot be written.
#[derive(Debug)]
pub struct CannotWrite {
    to: PathBuf,
    error: io::Error,
}

impl fmt::Display for CannotWrite {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { to, error } = self;
        write!(f, "cannot write --coverage `{}` ({error}): give another place", to.display())
    }
}

impl Error for CannotWrite {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl Request {
    /// Why the options do not go together, if they do not.
    pub fn contradiction(&self) -> Option<String> {
        let of_coverage =
            [("--coverage-all", self.scope == Scope::All), ("--coverage-min", self.least.is_some())];
        let given = of_coverage.into_iter().find(|(_, is_given)| *is_given && !self.is_made);
        given.map(|(what, _)| format!("{what} is of --coverage: give that, too"))
    }

    fn form(&self) -> Form {
        match self.to.as_ref().and_then(|path| path.extension()).and_then(|extension| extension.to_str()) {
            Some("info" | "lcov") => Form::Lcov,
            Some("json") => Form::Json,
            _ => Form::Html,
        }
    }

    /// Makes the file, so that a wrong path is known before the run.
    pub fn create(&self) -> Result<(), CannotWrite> {
        let Some(to) = &self.to else { return Ok(()) };
        let created = match self.form() {
            Form::Lcov | Form::Json => File::create(to).map(drop),
            Form::Html => fs::create_dir_all(to),
        };
        created.map_err(|error| CannotWrite { to: to.clone(), error })
    }

    /// Writes the file.
    pub fn write(&self, coverage: &Coverage) -> Result<(), CannotWrite> {
        let Some(to) = &self.to else { return Ok(()) };
        let written = match self.form() {
            Form::Lcov => fs::write(to, coverage.lcov()),
            Form::Json => fs::write(to, coverage.json()),
            Form::Html => coverage.write_html(to),
        };
        written.map_err(|error| CannotWrite { to: to.clone(), error })
    }

    /// Why this coverage is too low, if it is.
    pub fn too_low(&self, coverage: &Coverage) -> Option<String> {
        let percent = coverage.lines().percent();
        let Percent(least) = self.least.filter(|least| Percent(percent) < *least)?;
        Some(format!(
            "{percent:.1} % of the lines were executed, and --coverage-min asks for {least} %: test what the table counts \
             as missing, or ask for less"
        ))
    }
}
