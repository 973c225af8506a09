//! `--coverage`: which lines the tests execute together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flatland::coverage::{Counter, Coverage, Covered, Prepared, Request};
use flatland::program::source_map::SourceMap;
use flatland::{Program, ProgramError};

/// The coverage of all tests.
#[derive(Debug)]
pub struct Cover {
    request: Prepared,
    /// The counts of each program, by its ELF file.
    programs: Mutex<BTreeMap<PathBuf, Counter>>,
}

impl Cover {
    /// Reads and makes files, so that a wrong path is known before the tests. None if no coverage is asked for.
    pub fn begin(request: Request) -> Result<Option<Self>, String> {
        if !request.is_made {
            return Ok(None);
        }
        let request = request.prepare().map_err(|error| error.to_string())?;
        Ok(Some(Self { request, programs: Mutex::default() }))
    }

    /// Adds the counts of a test.
    pub fn add(&self, elf: &Path, counter: &Counter) {
        let mut programs = self.programs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        programs.entry(elf.into()).or_default().merge(counter);
    }

    /// Writes the file. Returns what to say.
    pub fn end(&self) -> Result<Covered, String> {
        let mut coverage = Coverage::default();
        let programs = self.programs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (elf, counter) in programs.iter() {
            let map = SourceMap::open(elf).map_err(|error| error.to_string())?;
            let program = Program::open(elf).map_err(|error: ProgramError| error.to_string())?;
            let read = |address: u32, bytes: &mut [u8]| program.image().read(address, bytes);
            coverage.merge(&Coverage::new(counter, &map, &read, self.request.scope()));
        }
        self.request.write(coverage).map_err(|error| error.to_string())
    }
}
