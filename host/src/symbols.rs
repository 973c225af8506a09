//! Names and lines for addresses, from the ELF file that a flat image was made of.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use addr2line::Loader;

use crate::fault::Fault;
use crate::{Outcome, elf};

/// The names in an ELF file. Reading one takes a while: it is done when there is something to report.
pub struct Symbols {
    elf: Loader,
    path: PathBuf,
    /// Files below this folder are named as from here.
    here: PathBuf,
}

/// What is known of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The function, with its path; the innermost, where some are inlined in others.
    pub function: Option<String>,
    /// The source file and the line.
    pub line: Option<(String, u32)>,
}

/// What is known by name of the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Where the guest was.
    pub place: Place,
    /// The section of what it was not to write.
    pub section: Option<String>,
}

/// ` in FUNCTION (FILE:LINE)`, as much of it as is known: to be put behind an address.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(function) = &self.function {
            write!(f, " in {function}")?;
        }
        if let Some((file, line)) = &self.line {
            write!(f, " ({file}:{line})")?;
        }
        Ok(())
    }
}

/// Why there are no names.
#[derive(Debug, thiserror::Error)]
#[error("no names from {path} ({cause}): give --symbols the ELF file that the image was made of")]
pub struct SymbolsError {
    path: PathBuf,
    cause: String,
}

impl Symbols {
    /// Reads an ELF file.
    pub fn open(path: &Path) -> Result<Self, SymbolsError> {
        match Loader::new(path) {
            Ok(elf) => Ok(Self { elf, path: path.into(), here: env::current_dir().unwrap_or_default() }),
            Err(cause) => Err(SymbolsError { path: path.into(), cause: cause.to_string() }),
        }
    }

    /// What is known of how a run ended.
    pub fn names(&self, outcome: &Outcome) -> Names {
        let address = outcome.location().and_then(|location| location.inside());
        let written = match outcome {
            Outcome::Fault(Fault { kind, .. }) => kind.section_address(),
            _ => None,
        };
        Names {
            place: address.map(|address| self.place(address)).unwrap_or_default(),
            section: written.and_then(|address| elf::section(&self.path, address)),
        }
    }

    /// What is known of this address. Broken debug information is none.
    pub fn place(&self, address: u32) -> Place {
        self.by_debug_info(address.into())
            .or_else(|| self.by_symbol_table(address.into()))
            .unwrap_or_default()
    }

    fn by_debug_info(&self, address: u64) -> Option<Place> {
        let frame = self.elf.find_frames(address).ok()?.next().ok()??;
        let function = frame.function.and_then(|name| Some(name.demangle().ok()?.into_owned()));
        let line = frame.location.and_then(|location| Some((self.short(location.file?), location.line?)));
        Some(Place { function, line })
    }

    /// A file's path as short as it can be pasted into a command here.
    fn short(&self, file: &str) -> String {
        Path::new(file).strip_prefix(&self.here).unwrap_or(Path::new(file)).display().to_string()
    }

    /// The symbol below the address, for code without debug information, such as assembly.
    fn by_symbol_table(&self, address: u64) -> Option<Place> {
        let text = self.elf.get_section_range(b".text")?;
        if !(text.begin..text.end).contains(&address) {
            return None;
        }
        let function = addr2line::demangle_auto(self.elf.find_symbol(address)?.into(), None).into_owned();
        Some(Place { function: Some(function), line: None })
    }
}
