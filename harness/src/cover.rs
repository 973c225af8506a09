//! `--coverage`: which lines the tests execute together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flatland::coverage::{Counter, Coverage, Destination, Scope};
use flatland::program::source_map::SourceMap;
use flatland::x86::instruction::Read;

/// What to say of coverage.
#[derive(Debug, Default)]
pub struct Options {
    /// Where to write it.
    pub path: Option<PathBuf>,
    /// Whether libraries are counted, too.
    pub is_all: bool,
    /// The least part of the lines to be executed, in percent.
    pub least: Option<f64>,
}

/// The coverage of all tests.
#[derive(Debug)]
pub struct Cover {
    destination: Option<Destination>,
    scope: Scope,
    least: Option<f64>,
    /// The counts of each program, with the program's code.
    programs: Mutex<BTreeMap<PathBuf, (Counter, Code)>>,
}

/// A program's code as it was in memory.
#[derive(Debug, Default)]
struct Code(Vec<u8>);

/// How much of a program is read: code lies at the beginning of RAM.
const MOST_CODE: usize = 16 << 20;

impl Cover {
    /// Makes the file, so that a wrong path is known before the tests.
    pub fn new(options: Options) -> Result<Self, String> {
        let Options { path, is_all, least } = options;
        let destination = path.map(Destination::new);
        if let Some(destination) = &destination {
            destination.create().map_err(|error| cannot_write(destination, &error))?;
        }
        let scope = if is_all { Scope::All } else { Scope::Own };
        Ok(Self { destination, scope, least, programs: Mutex::default() })
    }

    /// Adds the counts of a test.
    pub fn add(&self, elf: &Path, counter: &Counter, read: Read) {
        let mut programs = self.programs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (sum, code) = programs.entry(elf.into()).or_default();
        sum.merge(counter);
        if code.0.is_empty() {
            code.0 = vec![0; MOST_CODE];
            let there = read(0, &mut code.0);
            code.0.truncate(there);
        }
    }

    /// The table, and why the coverage is too low if it is. Writes the file.
    pub fn end(&self) -> Result<(String, Option<String>), String> {
        let mut coverage = Coverage::default();
        let programs = self.programs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (elf, (counter, Code(code))) in programs.iter() {
            let map = SourceMap::open(elf).map_err(|error| error.to_string())?;
            let read = |address: u32, bytes: &mut [u8]| {
                let from = code.get(address as usize..).unwrap_or_default();
                let there = from.len().min(bytes.len());
                bytes[..there].copy_from_slice(&from[..there]);
                there
            };
            coverage.merge(&Coverage::new(counter, &map, &read, self.scope));
        }
        if let Some(destination) = &self.destination {
            destination.write(&coverage).map_err(|error| cannot_write(destination, &error))?;
        }
        Ok((coverage.table(), coverage.too_low(self.least)))
    }
}

fn cannot_write(destination: &Destination, error: &std::io::Error) -> String {
    format!("cannot write --coverage `{}` ({error}): give another place", destination.path().display())
}
