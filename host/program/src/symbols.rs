//! Names and lines for addresses, from the ELF file that a flat image was made of.

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use addr2line::{Loader, gimli};
use object::read::elf::ElfFile32;
use object::{LittleEndian, Object, ObjectSection};

use flatland_x86::instruction::Read;

use crate::elf;

/// The names in an ELF file. Reading one takes a while: it is done when there is something to report.
pub struct Symbols {
    elf: Loader,
    path: PathBuf,
    /// Where the compiler was called with relative paths. These are shown, as in panics and the compiler's messages.
    folders: Vec<PathBuf>,
}

/// What is known of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The function, with its path; the innermost, where some are inlined in others.
    pub function: Option<String>,
    /// The source file and the line.
    pub line: Option<(String, u32)>,
}

/// A function that an address lies in: the innermost, or one that others are inlined in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its name, with its path.
    pub name: Option<String>,
    /// The place in it.
    pub source: Option<Source>,
}

/// A place in a source file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Where the file was when it was compiled.
    pub path: PathBuf,
    /// How a person is told of it: as the compiler was given it; the standard library's from its own folder.
    pub shown: String,
    /// The line, from 1 on.
    pub line: u32,
    /// The column, from 1 on, if the compiler says it.
    pub column: Option<u32>,
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

/// `FILE:LINE:COLUMN`, as compilers say it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.shown, self.line)?;
        self.column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

impl Function {
    /// Whether it is the standard library's.
    pub fn is_of_the_standard_library(&self) -> bool {
        match &self.source {
            Some(source) => in_standard_library(&source.path.to_string_lossy()).is_some(),
            None => {
                let name = self.name.as_deref().unwrap_or_default().trim_start_matches('<');
                ["core::", "alloc::", "compiler_builtins::"].iter().any(|crate_| name.starts_with(crate_))
            }
        }
    }
}

/// Why there are no names.
#[derive(Debug)]
pub struct SymbolsError {
    path: PathBuf,
    cause: String,
}

impl fmt::Display for SymbolsError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { path, cause } = self;
        write!(f, "no names from {} ({cause}): give the ELF file that the image was made of", path.display())
    }
}

impl Error for SymbolsError {}

impl Symbols {
    /// The most functions that are inlined in each other at one address. Broken debug information may have no end.
    const MOST_INLINED: usize = 64;

    /// Reads the ELF file of what lies in this memory. That of another image is refused: its names would be wrong ones.
    pub fn open(path: &Path, read: Read) -> Result<Self, SymbolsError> {
        let failed = |cause: String| SymbolsError { path: path.into(), cause };
        if let Some(address) = elf::differs(path, read) {
            return Err(failed(format!("it is another image's: they differ at {address:#010x}")));
        }
        match Loader::new(path) {
            Ok(elf) => Ok(Self { elf, path: path.into(), folders: working_folders(path) }),
            Err(cause) => Err(failed(cause.to_string())),
        }
    }

    /// The name of the section that an address lies in.
    pub fn section(&self, address: u32) -> Option<String> {
        elf::section(&self.path, address)
    }

    /// What is known of this address. Broken debug information is none.
    pub fn place(&self, address: u32) -> Place {
        let innermost = self.functions(address).into_iter().next().unwrap_or_default();
        Place { function: innermost.name, line: innermost.source.map(|source| (source.shown, source.line)) }
    }

    /// The functions that this address lies in: first the innermost, and then those that it is inlined in. None where
    /// nothing is known.
    pub fn functions(&self, address: u32) -> Vec<Function> {
        let mut functions = self.by_debug_info(address.into());
        if functions.is_empty() {
            functions.extend(self.by_symbol_table(address));
        }
        functions
    }

    /// Where the function begins that this address lies in.
    pub fn function_start(&self, address: u32) -> Option<u32> {
        self.is_code(address).then_some(())?;
        let start = self.elf.find_symbol_info(address.into())?.address();
        u32::try_from(start).ok().filter(|start| *start <= address)
    }

    fn by_debug_info(&self, address: u64) -> Vec<Function> {
        let Ok(mut frames) = self.elf.find_frames(address) else { return Vec::new() };
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
        functions.retain(|function| *function != Function::default());
        functions
    }

    /// A file's path as the compiler was given it, or as from the folder of the standard library.
    fn short(&self, file: &str) -> String {
        if let Some(path) = in_standard_library(file) {
            return path.into();
        }
        let relative = self.folders.iter().find_map(|folder| Path::new(file).strip_prefix(folder).ok());
        relative.unwrap_or(Path::new(file)).display().to_string()
    }

    fn is_code(&self, address: u32) -> bool {
        let text = self.elf.get_section_range(b".text");
        text.is_some_and(|text| (text.begin..text.end).contains(&address.into()))
    }

    /// The symbol below the address, for code without debug information, such as assembly.
    fn by_symbol_table(&self, address: u32) -> Option<Function> {
        self.is_code(address).then_some(())?;
        let name = demangle(self.elf.find_symbol(address.into())?);
        Some(Function { name: Some(name), source: None })
    }
}

/// A symbol's name as it stands in the source.
pub fn demangle(symbol: &str) -> String {
    addr2line::demangle_auto(symbol.into(), None).into_owned()
}

/// The folders in which the compiler was called with the relative path of a source file: that of the guest's workspace,
/// as cargo calls it. Broken debug information has none.
fn working_folders(path: &Path) -> Vec<PathBuf> {
    let file = fs::read(path).unwrap_or_default();
    let Ok(elf) = ElfFile32::<LittleEndian>::parse(&*file) else { return Vec::new() };
    let section = |id: gimli::SectionId| -> Result<_, gimli::Error> {
        let data = elf.section_by_name(id.name()).and_then(|section| section.data().ok());
        Ok(gimli::EndianSlice::new(data.unwrap_or_default(), gimli::LittleEndian))
    };
    let Ok(dwarf) = gimli::Dwarf::load(section) else { return Vec::new() };
    let mut folders = Vec::new();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        let Ok(gimli::Unit { name: Some(name), comp_dir: Some(folder), .. }) = dwarf.unit(header) else {
            continue;
        };
        let (name, folder) = (name.to_string_lossy(), PathBuf::from(folder.to_string_lossy().into_owned()));
        if Path::new(&*name).is_relative() && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// A file of the standard library, as from the folder of its sources: `library/core/src/panicking.rs`.
fn in_standard_library(file: &str) -> Option<&str> {
    let library = file.rfind("/library/")?;
    let from = &file[library + 1..];
    let of = ["core/src/", "alloc/src/", "std/src/", "compiler-builtins/", "stdarch/"];
    of.iter().any(|folder| from["library/".len()..].starts_with(folder)).then_some(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_library_is_recognized() {
        let function = |path: &str| Function {
            name: Some("core::f".into()),
            source: Some(Source { path: path.into(), ..Source::default() }),
        };
        let path = "/anywhere/1.95.0/library/core/src/panicking.rs";
        assert_eq!(in_standard_library(path), Some("library/core/src/panicking.rs"));
        assert!(function(path).is_of_the_standard_library());
        assert!(!function("/home/me/library/guest/src/core.rs").is_of_the_standard_library());
        let named = |name: &str| Function { name: Some(name.into()), source: None };
        assert!(named("<core::fmt::Arguments as core::fmt::Display>::fmt").is_of_the_standard_library());
        assert!(!named("core_of_mine::f").is_of_the_standard_library());
    }

    #[test]
    fn places_are_said_as_compilers_say_them() {
        let source = Source { shown: "src/main.rs".into(), line: 7, column: Some(3), ..Source::default() };
        assert_eq!(source.to_string(), "src/main.rs:7:3");
        assert_eq!(Source { column: None, ..source }.to_string(), "src/main.rs:7");
    }
}
