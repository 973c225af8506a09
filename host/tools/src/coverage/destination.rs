//! Where coverage is written to, and in which form.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::Coverage;

/// A file or a folder for coverage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    path: PathBuf,
}

/// A form of coverage.
enum Form {
    Lcov,
    Json,
    Html,
}

impl Destination {
    /// This place. Its extension says what is written: `.info` and `.lcov` are LCOV, `.json` is JSON, and all others are
    /// folders of HTML.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn form(&self) -> Form {
        match self.path.extension().and_then(|extension| extension.to_str()) {
            Some("info" | "lcov") => Form::Lcov,
            Some("json") => Form::Json,
            _ => Form::Html,
        }
    }

    /// Makes it, so that a wrong path is known before the run.
    pub fn create(&self) -> io::Result<()> {
        match self.form() {
            Form::Lcov | Form::Json => File::create(&self.path).map(drop),
            Form::Html => fs::create_dir_all(&self.path),
        }
    }

    /// Writes the coverage.
    pub fn write(&self, coverage: &Coverage) -> io::Result<()> {
        match self.form() {
            Form::Lcov => fs::write(&self.path, coverage.lcov()),
            Form::Json => fs::write(&self.path, coverage.json()),
            Form::Html => coverage.write_html(&self.path),
        }
    }
}
