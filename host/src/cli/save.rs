//! The file of `--save-snapshot`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::{FileError, Snapshot};

use super::files;

/// The file that a snapshot will be saved to. It is made before the run, so that a wrong path is an error at once.
///
/// The snapshot is written beside the file that was asked for, and renamed when it is complete: an earlier snapshot stays
/// until then, and no file is ever half a snapshot. What is no regular file, such as /dev/null or a pipe, is written
/// itself.
pub struct SaveFile {
    file: File,
    /// What is written, and what it is renamed to.
    rename: Option<(PathBuf, PathBuf)>,
}

impl SaveFile {
    pub fn create(path: &Path) -> io::Result<Self> {
        // A link stays one.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.into());
        match fs::metadata(path) {
            Ok(there) if !there.is_file() => {
                return Ok(Self { file: OpenOptions::new().write(true).open(path)?, rename: None });
            }
            // The rename would replace a file that may not be written.
            Ok(_) => drop(OpenOptions::new().write(true).open(path)?),
            Err(_) => {}
        }
        path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        // Always the same name: what a run that was killed has left there is written over.
        let unfinished = path.with_added_extension("unfinished");
        Ok(Self { file: files::create_alone(&unfinished)?, rename: Some((unfinished, path.into())) })
    }

    /// The path that the file is renamed to in the end, if it is.
    pub fn renamed_to(&self) -> Option<&Path> {
        self.rename.as_ref().map(|(_, path)| path.as_path())
    }

    pub fn save(mut self, snapshot: &Snapshot) -> Result<(), FileError> {
        let mut to = BufWriter::new(&self.file);
        snapshot.write_to(&mut to)?;
        to.flush().map_err(FileError::Write)?;
        drop(to);
        if let Some((unfinished, path)) = &self.rename {
            fs::rename(unfinished, path).map_err(FileError::Write)?;
            self.rename = None;
        }
        Ok(())
    }
}

impl Drop for SaveFile {
    fn drop(&mut self) {
        if let Some((unfinished, _)) = &self.rename {
            // If this fails, an empty file is left. Nothing can be done about it.
            let _ = fs::remove_file(unfinished);
        }
    }
}
