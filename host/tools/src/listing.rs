//! What a program is made of, from its ELF file, without running it: its instructions beside its source, and what takes
//! the room.

mod disassembly;
mod sizes;

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use object::elf::FileHeader32;
use object::read::elf::ElfFile;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind};

pub use disassembly::disassembly;
pub use sizes::sizes;

/// Why there is nothing to list.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListingError {
    /// The ELF file cannot be read.
    Elf(PathBuf, String),
    /// No function has that name.
    NoFunction(String),
}

impl fmt::Display for ListingError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Elf(path, cause) => {
                let path = path.display();
                write!(f, "cannot read the ELF file `{path}` ({cause}): build it with `cargo xtask build`")
            }
            Self::NoFunction(name) => write!(
                f,
                "no function of the program has `{name}` in its name: `cargo xtask size NAME` lists them"
            ),
        }
    }
}

impl Error for ListingError {}

/// A function or a variable of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Symbol {
    name: String,
    address: u32,
    size: u32,
    is_code: bool,
}

/// A section that takes room in RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    name: String,
    address: u32,
    size: u32,
    /// Empty for what begins as zeros.
    bytes: Vec<u8>,
}

/// What is in an ELF file.
struct Program {
    symbols: Vec<Symbol>,
    sections: Vec<Section>,
}

impl Program {
    fn open(path: &Path) -> Result<Self, ListingError> {
        const SHF_ALLOC: u64 = object::elf::SHF_ALLOC.0;
        let broken = |error: &dyn fmt::Display| ListingError::Elf(path.into(), error.to_string());
        let file = fs::read(path).map_err(|error| broken(&error))?;
        let elf = ElfFile::<FileHeader32<LittleEndian>>::parse(&*file).map_err(|error| broken(&error))?;
        let mut symbols: Vec<_> = elf
            .symbols()
            .filter(|symbol| {
                matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data) && symbol.size() > 0
            })
            .map(|symbol| Symbol {
                name: flatland_program::demangle(symbol.name().unwrap_or("?")),
                address: symbol.address() as u32,
                size: symbol.size() as u32,
                is_code: symbol.kind() == SymbolKind::Text,
            })
            .collect();
        symbols.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
        // Several names for the same bytes: functions that came out the same are folded into one.
        symbols.dedup_by_key(|symbol| (symbol.address, symbol.is_code));
        let takes_room = |section: &object::read::elf::ElfSection<FileHeader32<LittleEndian>>| matches!(section.flags(), SectionFlags::Elf { sh_flags, .. } if sh_flags.0 & SHF_ALLOC != 0);
        let sections = elf
            .sections()
            .filter(|section| takes_room(section) && section.size() > 0)
            .map(|section| Section {
                name: section.name().unwrap_or("?").into(),
                address: section.address() as u32,
                size: section.size() as u32,
                bytes: section.data().unwrap_or_default().into(),
            })
            .collect();
        Ok(Self { symbols, sections })
    }

    /// Copies what lies at an address, as far as there is something.
    fn read(&self, address: u32, bytes: &mut [u8]) -> usize {
        let there = self.sections.iter().find_map(|section| {
            section
                .bytes
                .get(address.checked_sub(section.address)? as usize..)
                .filter(|rest| !rest.is_empty())
        });
        let there = there.unwrap_or_default();
        let len = there.len().min(bytes.len());
        bytes[..len].copy_from_slice(&there[..len]);
        len
    }
}
