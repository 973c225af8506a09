//! Names and lines for addresses, from the ELF file that a flat image was made of.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use addr2line::Context;
use flatland_elf::{Elf, ElfError, Section, Symbol, remove_dropped};
use flatland_x86::instruction::Read;
use gimli::Dwarf;

use crate::debug_info::{Bytes, load};
use crate::place::in_standard_library;
use crate::{Function, Source};

/// The names and lines in an ELF file. Reading it takes time, so open it only when they are needed.
pub struct Symbols {
    debug_info: Context<Bytes>,
    /// Sorted by address.
    table: Vec<Symbol>,
    sections: Vec<Section>,
    /// The directories in which the compiler was called with relative paths. Paths are printed relative to them, as
    /// in panics and compiler messages.
    directories: Vec<PathBuf>,
}

/// Why names are not available.
#[derive(Debug)]
pub struct SymbolsError {
    path: PathBuf,
    cause: String,
    advice: &'static str,
}

impl SymbolsError {
    /// What is wrong with the file, for a caller with other advice.
    pub fn cause(&self) -> &str {
        &self.cause
    }
}

impl fmt::Display for SymbolsError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { path, cause, advice } = self;
        write!(f, "no names from {} ({cause}): {advice}", path.display())
    }
}

impl Error for SymbolsError {}

impl Symbols {
    /// The most nested inlined functions at one address. Broken debug information may be endless.
    const MOST_INLINED: usize = 64;

    /// Reads the ELF file of the program in this memory. Refuses the ELF file of another image, because its names
    /// would be wrong.
    pub fn open(path: &Path, read: Read) -> Result<Self, SymbolsError> {
        Self::read(path, read).map_err(|(cause, advice)| SymbolsError { path: path.into(), cause, advice })
    }

    fn read(path: &Path, read: Read) -> Result<Self, (String, &'static str)> {
        const OTHER: &str = "give the ELF file that the image was made of";
        let broken = |error| match error {
            ElfError::NotElf | ElfError::NotStatic => ("it is not of a 32-bit x86 program".into(), OTHER),
            ElfError::Broken(how) => (format!("it is broken: {how}"), OTHER),
            ElfError::Compressed(section) => {
                (format!("{section} is compressed"), "link it with --compress-debug-sections=none")
            }
            error => (error.to_string(), OTHER),
        };
        let mut bytes = read_file(path).map_err(|error| (error.to_string(), OTHER))?;
        remove_dropped(&mut bytes);
        let elf = Elf::parse(&*bytes).map_err(broken)?;
        if let Some(address) = elf.first_difference(read).map_err(broken)? {
            return Err((format!("it is another image's: they differ at {address:#010x}"), OTHER));
        }
        let dwarf = load(&elf).map_err(broken)?;
        let directories = working_directories(&dwarf);
        let debug_info = Context::from_dwarf(dwarf).map_err(|error| (error.to_string(), OTHER))?;
        let mut table = elf.symbols().map_err(broken)?;
        table.retain(|symbol| symbol.is_code || symbol.size > 0);
        let sections = elf.sections().map_err(broken)?;
        Ok(Self { debug_info, table, sections, directories })
    }

    /// The functions and variables in the symbol table, sorted by address.
    pub fn table(&self) -> &[Symbol] {
        &self.table
    }

    /// The name of the section that contains an address.
    pub fn section(&self, address: u32) -> Option<String> {
        Some(self.section_at(address)?.name.clone())
    }

    fn section_at(&self, address: u32) -> Option<&Section> {
        self.sections.iter().find(|section| section.contains(address))
    }

    /// The functions at this address: first the innermost, then the functions that it is inlined in. Empty if none is
    /// known.
    pub fn functions(&self, address: u32) -> Vec<Function> {
        if !self.section_at(address).is_some_and(|section| section.is_code) {
            return Vec::new();
        }
        let mut functions = self.by_debug_info(address.into());
        match functions.last_mut() {
            // Assembly has lines in the debug information, but no functions.
            Some(outermost) if outermost.name.is_none() => outermost.name = self.symbol_name(address),
            Some(_) => {}
            None => functions
                .extend(self.symbol_name(address).map(|name| Function { name: Some(name), source: None })),
        }
        functions
    }

    /// The start address of the function at this address.
    pub fn function_start(&self, address: u32) -> Option<u32> {
        Some(self.symbol(address)?.start)
    }

    fn by_debug_info(&self, address: u64) -> Vec<Function> {
        let Ok(mut frames) = self.debug_info.find_frames(address).skip_all_loads() else { return Vec::new() };
        let mut functions = Vec::new();
        while let Ok(Some(frame)) = frames.next()
            && functions.len() < Self::MOST_INLINED
        {
            let name = frame.function.and_then(|name| Some(name.demangle().ok()?.into_owned()));
            let source = frame.location.and_then(|location| {
                Some(Source {
                    path: location.file?.into(),
                    shown: self.short(location.file?),
                    line: location.line.filter(|line| *line > 0)?,
                    column: location.column.filter(|column| *column > 0),
                })
            });
            functions.push(Function { name, source });
        }
        functions
    }

    /// A file's path as given to the compiler; for the standard library, relative to its sources.
    fn short(&self, file: &str) -> String {
        if let Some(path) = in_standard_library(file) {
            return path.into();
        }
        let relative =
            self.directories.iter().find_map(|directory| Path::new(file).strip_prefix(directory).ok());
        relative.unwrap_or(Path::new(file)).display().to_string()
    }

    /// The nearest symbol at or below the address, in the same section.
    fn symbol(&self, address: u32) -> Option<&Symbol> {
        let section = self.section_at(address).filter(|section| section.is_code)?;
        let below = &self.table[..self.table.partition_point(|symbol| symbol.start <= address)];
        let start = below.iter().rfind(|symbol| symbol.is_code)?.start;
        let same =
            below.iter().rev().take_while(|symbol| symbol.start == start).filter(|symbol| symbol.is_code);
        // Of several names, the one with the largest size, since a mere label has size 0.
        same.max_by_key(|symbol| symbol.size).filter(|symbol| section.contains(symbol.start))
    }

    /// The name of the symbol at this address.
    fn symbol_name(&self, address: u32) -> Option<String> {
        Some(demangle(&self.symbol(address)?.name))
    }
}

/// The bytes of an ELF file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, SymbolsError> {
    read_file(path).map_err(|error| SymbolsError {
        path: path.into(),
        cause: error.to_string(),
        advice: "give the ELF file that the image was made of",
    })
}

/// The bytes of a file: one more than may be where it has too many.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(ElfError::MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A symbol's name as in the source.
pub fn demangle(symbol: &str) -> String {
    addr2line::demangle_auto(symbol.into(), None).into_owned()
}

/// The name of a generic function without the types that this copy of it is for. Any other name is as it was.
pub fn without_types(name: &str) -> &str {
    let mut depth = 0_i32;
    for (at, byte) in name.bytes().enumerate().rev() {
        depth += match byte {
            // That of `fn() -> T` is no bracket.
            b'>' if name[..at].ends_with('-') => 0,
            b'>' => 1,
            b'<' => -1,
            _ => 0,
        };
        // The list that ends the name begins here, if any does.
        if depth <= 0 && byte == b'<' {
            return name[..at].strip_suffix("::").unwrap_or(name);
        }
        if depth <= 0 {
            return name;
        }
    }
    name
}

/// The directories in which the compiler was called with relative paths: the guest's workspace, since cargo calls it
/// there. Broken debug information has none.
pub(crate) fn working_directories(dwarf: &Dwarf<Bytes>) -> Vec<PathBuf> {
    let text = |slice: &Bytes| String::from_utf8_lossy(slice).into_owned();
    let mut directories = Vec::new();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        let Ok(gimli::Unit { name: Some(name), comp_dir: Some(directory), .. }) = dwarf.unit(header) else {
            continue;
        };
        let directory = PathBuf::from(text(&directory));
        if Path::new(&text(&name)).is_relative() && !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_types() {
        for (name, without) in [
            ("core::slice::copy::<u8>", "core::slice::copy"),
            ("a::call::<a::b::<u8>, fn() -> u8>", "a::call"),
            ("a::f::<<B as C>::d>::{closure#0}", "a::f::<<B as C>::d>::{closure#0}"),
            ("<core::fmt::Formatter>::pad", "<core::fmt::Formatter>::pad"),
            ("<alloc::vec::Vec<u8> as a::T>::f", "<alloc::vec::Vec<u8> as a::T>::f"),
            ("memcpy", "memcpy"),
            ("é", "é"),
        ] {
            assert_eq!(without_types(name), without);
        }
    }
}
