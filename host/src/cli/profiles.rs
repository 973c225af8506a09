//! The profile that the command line asks for.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::profile::{CallPaths, Format, Profile, Sampler, number};
use crate::program::Symbols;
use crate::{EngineChoice, Machine, words};

use super::messages::one_line;
use super::options::Options;
use super::symbols;

/// Where to write a profile, and how.
pub struct ProfileTo<'a> {
    /// The file, which is empty.
    pub file: File,
    /// Its path.
    pub path: &'a Path,
    /// The format.
    pub format: Format,
}

/// Profiles a run.
pub enum Profiler {
    /// The machine has its call paths. These symbols are the program's.
    Paths(Option<Symbols>),
    /// An observer, on an engine that does not show what it executes.
    Sampler(Sampler),
}

/// Begins with the profile, if one is asked for.
pub fn begin(
    options: &Options,
    machine: &mut Machine,
    elf: Option<&Path>,
) -> Result<Option<Profiler>, String> {
    if options.profile.is_none() {
        return Ok(None);
    }
    // If there are none, the report says why.
    let symbols = elf.and_then(|path| symbols::open(path, machine).ok());
    if options.engine == EngineChoice::Kvm {
        return Ok(Some(Profiler::Sampler(Sampler::new(symbols))));
    }
    let paths = CallPaths::at(machine, symbols.as_ref()).map_err(|error| error.to_string())?;
    machine.watch_blocks(paths).map_err(|error| error.to_string())?;
    Ok(Some(Profiler::Paths(symbols)))
}

impl Profiler {
    /// What is to observe the run.
    pub fn observer(&mut self) -> Option<&mut Sampler> {
        match self {
            Self::Paths(_) => None,
            Self::Sampler(sampler) => Some(sampler),
        }
    }

    /// The profile of a run that has ended.
    fn end(&self, machine: &mut Machine) -> Result<Profile, String> {
        match self {
            Self::Paths(symbols) => {
                let paths: CallPaths =
                    machine.unwatch_blocks().ok_or("the profile is lost: report it, with the command")?;
                Ok(Profile::of_paths(&paths, symbols.as_ref()))
            }
            Self::Sampler(sampler) => Ok(Profile::of_samples(sampler)),
        }
    }
}

impl ProfileTo<'_> {
    /// Writes the profile of a run that has ended. Returns a message for the terminal, and the lines after it.
    pub fn end(
        &self,
        profiler: &Profiler,
        machine: &mut Machine,
        image: &Path,
    ) -> Result<(String, String), String> {
        let profile = profiler.end(machine)?;
        // Its name alone: a picture is shown to others.
        let title = one_line(&image.file_name().unwrap_or_default().to_string_lossy());
        let text = profile.write(self.format, &title);
        (&self.file).write_all(text.as_bytes()).map_err(|error| {
            format!("cannot write --profile `{}` ({error}): give another place", self.path.display())
        })?;
        let amount = format!("{} {}", number(profile.total()), profile.unit());
        let mut message = words::written("profile", &amount, self.path);
        for note in profile.notes() {
            message += "; ";
            message += note;
        }
        Ok((message, profile.summary()))
    }
}
