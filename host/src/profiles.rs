//! The profile that the command line asks for.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use flatland::profile::{CallPaths, Format, Profile, Sampler, number};
use flatland::program::Symbols;
use flatland::{EngineChoice, Machine};

use crate::messages::one_line;
use crate::options::Options;
use crate::symbols;

/// Where to write a profile, and how.
pub struct ProfileTo<'a> {
    /// The file, which is empty.
    pub file: File,
    /// Its path.
    pub path: &'a Path,
    /// The format.
    pub format: Format,
}

/// Begins with the profile, if one is asked for. On an engine that does not show what it executes, it needs an observer.
pub fn begin(
    options: &Options,
    machine: &mut Machine,
    elf: Option<&Path>,
) -> Result<Option<Sampler>, String> {
    if options.profile.is_none() {
        return Ok(None);
    }
    match options.engine {
        EngineChoice::Kvm => Ok(Some(Sampler::new(open_symbols(machine, elf)))),
        _ => {
            let symbols = open_symbols(machine, elf);
            let paths = CallPaths::at(machine, symbols.as_ref()).map_err(|error| error.to_string())?;
            machine.watch_blocks(paths).map_err(|error| error.to_string())?;
            Ok(None)
        }
    }
}

/// The program's symbols. If there are none, the report says why.
fn open_symbols(machine: &Machine, elf: Option<&Path>) -> Option<Symbols> {
    elf.and_then(|path| symbols::open(path, machine).ok())
}

impl ProfileTo<'_> {
    /// Writes the profile of a run that has ended. Returns a message for the terminal, and the lines after it.
    pub fn end(
        &self,
        machine: &mut Machine,
        image: &Path,
        elf: Option<&Path>,
        sampler: Option<&Sampler>,
    ) -> Result<(String, String), String> {
        let path = self.path.display();
        let profile = match sampler {
            Some(sampler) => Profile::of_samples(sampler),
            None => {
                let paths: CallPaths =
                    machine.unwatch_blocks().ok_or("the profile is lost: report it, with the command")?;
                Profile::of_paths(&paths, open_symbols(machine, elf).as_ref())
            }
        };
        let title = one_line(&image.display().to_string());
        let text = profile.write(self.format, &title);
        (&self.file)
            .write_all(text.as_bytes())
            .map_err(|error| format!("cannot write --profile `{path}` ({error}): give another place"))?;
        let mut message =
            format!("profile: {} {}, written to {path}", number(profile.total()), profile.unit());
        for note in profile.notes() {
            message += "; ";
            message += note;
        }
        Ok((message, profile.summary()))
    }
}
