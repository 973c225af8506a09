//! Recordings of the tests that fail.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flatland::Recorder;
use flatland::words::{self, shell_word};

/// The folder of the recordings: a file for each test that has failed when it ran last.
#[derive(Debug)]
pub struct Failures {
    folder: PathBuf,
    /// What was there at the start.
    earlier: HashSet<OsString>,
}

impl Failures {
    /// The folder need not be there.
    pub fn new(folder: PathBuf) -> Self {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let earlier = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        Self { folder, earlier }
    }

    /// The recording of a test of this name.
    pub fn of(&self, test: &str) -> Recorded {
        let name = OsString::from(file_name(test) + ".rec");
        let is_there = self.earlier.contains(&name);
        Recorded { path: self.folder.join(name), is_there, file: Arc::default() }
    }
}

/// A file's name for a test, whose name is what the ELF file says: it leads to no other folder. Of a long one the end is taken,
/// because file systems have names of at most 255 bytes.
fn file_name(test: &str) -> String {
    const MOST: usize = 240;
    let is_plain = |char: char| char.is_alphanumeric() || char == '_';
    let name = test.replace("::", "-").replace(|char| !is_plain(char), "-");
    name[name.ceil_char_boundary(name.len().saturating_sub(MOST))..].into()
}

/// The recording of a test that may fail.
#[derive(Debug)]
pub struct Recorded {
    path: PathBuf,
    is_there: bool,
    file: Arc<Mutex<LateFile>>,
}

impl Recorded {
    /// Records a test of this program.
    pub fn recorder(&self, elf: Option<&Path>) -> Recorder {
        let to = Target { path: self.path.clone(), file: self.file.clone() };
        let elf = elf.and_then(|elf| std::path::absolute(elf).ok()).unwrap_or_default();
        Recorder::new(to).late().program(elf.to_str().unwrap_or_default())
    }

    /// The test has failed, and all of it is recorded. Returns what to say of it, and the file.
    pub fn keep(self) -> (String, Option<PathBuf>) {
        let error = lock(&self.file).error.take();
        let message = match &error {
            None => {
                let word = shell_word(self.path.as_os_str());
                format!("recorded: `{} gdb --replay {word}` opens it in gdb at the failure", words::cargo())
            }
            Some(error) => format!(
                "not recorded, because `{}` cannot be written ({error}): make room, or remove what is there",
                self.path.display()
            ),
        };
        (message, error.is_none().then_some(self.path))
    }

    /// The test has passed, so no recording of it stays, also not an earlier one.
    pub fn remove(self) {
        if self.is_there || lock(&self.file).file.is_some() {
            // What cannot be removed is not taken for a failure by anybody who reads the result.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that is made when it is first written. An error is kept, and does not end the test.
#[derive(Debug, Default)]
struct LateFile {
    file: Option<File>,
    error: Option<io::Error>,
}

impl LateFile {
    fn create(path: &Path) -> io::Result<File> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        // Where files cannot be locked, two runs of the same test at once can still damage it.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(io::Error::other("another run of the test is recorded there"));
        }
        file.set_len(0)?;
        Ok(file)
    }

    /// Does something with the file, unless something has failed before.
    fn with<T: Default>(&mut self, path: &Path, act: impl FnOnce(&mut File) -> io::Result<T>) -> T {
        if self.error.is_some() {
            return T::default();
        }
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => Self::create(path),
        };
        let done = file.and_then(|file| act(self.file.insert(file)));
        done.unwrap_or_else(|error| {
            self.error = Some(error);
            T::default()
        })
    }
}

/// What the recorder writes to.
struct Target {
    path: PathBuf,
    file: Arc<Mutex<LateFile>>,
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.file).with(&self.path, |file| file.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Target {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        Ok(lock(&self.file).with(&self.path, |file| file.seek(to)))
    }
}

/// One thread at a time has a test's file, so a panic leaves nothing half done.
fn lock(file: &Mutex<LateFile>) -> std::sync::MutexGuard<'_, LateFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_tests_lie_in_their_folder() {
        let long = "ä".repeat(130) + "::end";
        for (test, name) in [
            ("answer::tests::r_1", "answer-tests-r_1"),
            ("../../etc/x", "------etc-x"),
            ("/tmp/x", "-tmp-x"),
            ("a\0\n.b", "a---b"),
            ("", ""),
            (&long, &("ä".repeat(118) + "-end")),
        ] {
            assert_eq!(file_name(test), name);
        }
    }
}
