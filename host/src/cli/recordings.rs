//! The file that a run is recorded to, the recording that is replayed, and what is said of both.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::{env, process};

use crate::program::Symbols;
use crate::words::{self, shell_word};
use crate::{
    BuildError, EngineChoice, FileError, FileKind, Machine, Outcome, Program, Recorder, Recording, RunError,
};

use super::files;
use super::messages::{one_line, say, this_program};
use super::options::Options;

/// Where a run is recorded.
#[derive(Debug)]
pub struct RecordTo {
    option: &'static str,
    path: PathBuf,
    /// Keep the recording only if the run fails.
    failures_only: bool,
}

impl RecordTo {
    /// Makes the file that the options ask for, if they do.
    pub fn create(options: &Options) -> Result<Option<(File, Self)>, String> {
        let (option, path, failures_only) = match (&options.record, &options.record_on_failure) {
            (Some(path), _) => ("--record", path.clone(), false),
            (None, Some(path)) if path.is_dir() => ("--record-on-failure", path.join(name(options)), true),
            (None, Some(path)) => ("--record-on-failure", path.clone(), true),
            (None, None) => return Ok(None),
        };
        let to = Self { option, path, failures_only };
        let file = create(&to.path).map_err(|why| to.cannot_write(&why))?;
        Ok(Some((file, to)))
    }

    /// What writes the recording of this run.
    pub fn recorder(file: File, options: &Options, symbols: Option<&Path>) -> Recorder {
        // The file with the names, or else the program. From a snapshot there may be neither.
        let program = symbols.or(options.program.as_deref()).and_then(|path| fs::canonicalize(path).ok());
        let recorder = Recorder::new(file).program(program.as_deref().and_then(Path::to_str).unwrap_or(""));
        if options.leaves_program_out { recorder.without_image() } else { recorder }
    }

    /// The file that may be removed in the end, if there is one.
    pub fn removed(&self) -> Option<&Path> {
        self.failures_only.then_some(&*self.path)
    }

    fn cannot_write(&self, why: &dyn std::fmt::Display) -> String {
        format!("cannot write {} `{}` ({why}): give another place", self.option, self.path.display())
    }

    /// Why the recording cannot go on.
    pub fn failure(&self, error: &RunError) -> String {
        match error {
            RunError::Recording(FileError::Write(error)) => self.cannot_write(error),
            error => format!("cannot write {} `{}`: {error}", self.option, self.path.display()),
        }
    }

    /// Completes the recording, or removes it if it is not to be kept. Returns what to say.
    pub fn end(
        &self,
        machine: &mut Machine,
        ended: &Result<Outcome, RunError>,
        has_failed: bool,
    ) -> Result<Option<String>, String> {
        match ended {
            Ok(outcome) => machine.end_recording(outcome).map_err(|error| self.failure(&error))?,
            // That is said already, and the failure is not in the recording.
            Err(RunError::Recording(_)) => return Ok(None),
            Err(_) => {}
        }
        if !self.failures_only {
            return Ok(None);
        }
        if has_failed {
            return Ok(Some(self.how_to_open()));
        }
        // What is no regular file, such as /dev/null, stays.
        if fs::metadata(&self.path).is_ok_and(|it| it.is_file()) {
            fs::remove_file(&self.path).map_err(|error| {
                format!("cannot remove `{}` ({error}): remove it yourself", self.path.display())
            })?;
        }
        Ok(None)
    }

    fn how_to_open(&self) -> String {
        let (path, word) = (self.path.display(), shell_word(self.path.as_os_str()));
        match env::var(words::CARGO) {
            Ok(cargo) => {
                format!("recorded in `{path}`: `{cargo} gdb --replay {word}` opens it in gdb at the failure")
            }
            Err(_) => format!(
                "recorded in `{path}`: `{} replay {word} --gdb` waits for gdb, where `continue` goes to the failure",
                this_program()
            ),
        }
    }
}

/// The name of a recording in a folder.
fn name(options: &Options) -> String {
    let from = options.program.as_ref().or(options.from_snapshot.as_ref());
    let stem = from.and_then(|path| path.file_stem()).unwrap_or("run".as_ref());
    format!("{}-{}.rec", stem.display(), process::id())
}

/// Creates the file, or empties an earlier recording. The error is a phrase.
fn create(path: &Path) -> Result<File, String> {
    let text = |error: io::Error| error.to_string();
    let is_there = fs::metadata(path).is_ok_and(|there| there.is_file() && there.len() > 0);
    if is_there && !File::open(path).and_then(is_recording).map_err(text)? {
        return Err("it is a file and no recording, and would be lost".into());
    }
    files::create_alone(path).map_err(text)
}

/// Whether a file begins like a recording.
fn is_recording(file: File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(FileKind::HEAD_SIZE as u64).read_to_end(&mut head)?;
    Ok(FileKind::of(&head) == Some(FileKind::Recording))
}

/// Reads a recording. `verb` is what it is for.
pub fn read(verb: &str, path: &Path) -> Result<Recording, String> {
    let path_words = path.display();
    let read =
        File::open(path).map_err(FileError::Read).and_then(|file| Recording::read_from(BufReader::new(file)));
    read.map_err(|error| match error {
        FileError::Read(error) => format!("cannot {verb} `{path_words}` ({error}): check the path"),
        FileError::OtherKind { found: Some(FileKind::Snapshot), .. } => format!(
            "cannot {verb} `{path_words}`: it is a snapshot and no recording: `{} --from-snapshot {}` goes on from it",
            this_program(),
            shell_word(path.as_os_str())
        ),
        error => format!("cannot {verb} `{path_words}`: {}", error.words(FileKind::Recording)),
    })
}

/// The recording to replay, with its program if that was left out.
pub fn open(path: &Path, options: &Options) -> Result<Recording, String> {
    let mut recording = read("replay", path)?;
    if !recording.lacks_program() {
        return Ok(recording);
    }
    let path_words = path.display();
    let command = format!("`{} replay {} PROGRAM`", this_program(), shell_word(path.as_os_str()));
    let Some(from) = options.program.clone().or_else(|| recorded_file(&recording)) else {
        return Err(format!("cannot replay `{path_words}`: {}: {command}", BuildError::NoProgram));
    };
    let from_words = one_line(&from.to_string_lossy());
    let program = Program::open_for(&from, recording.memory())
        .map_err(|error| format!("cannot replay `{path_words}` with `{from_words}`: {error}"));
    let program = program.map_err(|error| match options.program {
        Some(_) => error,
        None => format!("{error}; or give the program: {command}"),
    })?;
    recording.set_program(program.image()).map_err(|_| {
        format!(
            "cannot replay `{path_words}` with `{from_words}`: it is not the program that was recorded: give that one, \
             {command}, or record the run again"
        )
    })?;
    Ok(recording)
}

/// Where the program was. A recording from elsewhere may name anything: only a regular file is opened, because reading
/// another one may take forever.
fn recorded_file(recording: &Recording) -> Option<PathBuf> {
    let path = PathBuf::from(recording.program()?);
    let is_file = fs::metadata(&path).map_or(true, |it| it.is_file());
    is_file.then_some(path)
}

/// The ELF file that was recorded, if it is still what it was.
pub fn elf_of(mut recording: Recording) -> Option<PathBuf> {
    let elf = recorded_file(&recording)?;
    if recording.lacks_program() {
        let program = Program::open_for(&elf, recording.memory()).ok()?;
        recording.set_program(program.image()).ok()?;
    }
    let machine = Machine::builder().engine(EngineChoice::Soft).replay(&recording).ok()?;
    let symbols = Symbols::open(&elf, &|address, bytes| machine.read_ram(address, bytes));
    symbols.is_ok().then_some(elf)
}

/// The ELF file that was recorded, if it is still there. Where it is another one now, says so.
pub fn names_of(recording: &Recording, path: &Path, machine: &Machine) -> Option<PathBuf> {
    let elf = recorded_file(recording)?;
    match Symbols::open(&elf, &|address, bytes| machine.read_ram(address, bytes)) {
        Ok(_) => Some(elf),
        Err(_) if !elf.exists() => None,
        Err(error) => {
            // A flat image has none.
            if Program::open(&elf).is_ok_and(|program| program.elf().is_some()) {
                say(&format!(
                    "no names from {} ({}): give the ELF file of then, or record the run again: `{} replay {} ELF`",
                    one_line(&elf.to_string_lossy()),
                    error.cause(),
                    this_program(),
                    shell_word(path.as_os_str())
                ));
            }
            None
        }
    }
}

/// Why a replay has left its recording, and what to do.
pub fn diverged(error: &RunError, recorded_on: &str, path: &Path) -> String {
    match recorded_on {
        "soft" => {
            format!("{error}: record the run again with this flatland, or report it, with the recording")
        }
        "kvm" => format!(
            "{error}: what depends on the processor is not recorded, so replay it on that, `{} replay {} --engine kvm`, \
             or record the run again with --engine soft",
            this_program(),
            shell_word(path.as_os_str())
        ),
        // An engine that this program does not have. A file from elsewhere may name anything, so its word is not repeated.
        _ => {
            format!("{error}: it was recorded on another engine, so record the run again with --engine soft")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_engine_from_a_file_is_not_repeated() {
        let error = RunError::Recording(FileError::Damaged);
        for engine in ["kvm`; echo `", "\x1b[2J", ""] {
            let words = diverged(&error, engine, Path::new("it"));
            assert!(words.ends_with(
                ": it was recorded on another engine, so record the run again with --engine soft"
            ));
            assert!(engine.is_empty() || !words.contains(engine), "{words:?}");
        }
        let words = diverged(&error, "kvm", Path::new("it"));
        assert!(words.contains("replay it --engine kvm`"), "{words}");
    }
}
