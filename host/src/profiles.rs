//! The profile that the command line asks for.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use flatland::Machine;
use flatland::profile::{CallPaths, Format, Profile, number};

use crate::begin::Given;
use crate::messages::one_line;
use crate::open_symbols;

/// Where to write a profile, and how.
pub struct ProfileTo<'a> {
    /// The file, which is empty.
    pub file: File,
    /// Its path.
    pub path: &'a Path,
    /// The format.
    pub format: Format,
}

/// Counts from here on.
pub fn begin(machine: &mut Machine) -> Result<(), String> {
    machine.watch_blocks(CallPaths::default()).map_err(|error| error.to_string())
}

impl ProfileTo<'_> {
    /// Writes the profile of a run that has ended. Returns a message for the terminal, and the lines after it.
    pub fn end(&self, machine: &mut Machine, given: &Given) -> Result<(String, String), String> {
        let path = self.path.display();
        let paths: CallPaths =
            machine.unwatch_blocks().ok_or("the profile is lost: report it, with the command")?;
        // The report says why there are none.
        let symbols = given.symbols.as_deref().and_then(|path| open_symbols(path, machine).ok());
        let profile = Profile::of_paths(&paths, symbols.as_ref());
        let title = one_line(&given.image.display().to_string());
        let text = profile.write(self.format, &title);
        (&self.file)
            .write_all(text.as_bytes())
            .map_err(|error| format!("cannot write --profile `{path}` ({error}): give another place"))?;
        let mut message = format!("profile: {} instructions, written to {path}", number(profile.total()));
        for note in profile.notes() {
            message += "; ";
            message += note;
        }
        Ok((message, profile.summary()))
    }
}
