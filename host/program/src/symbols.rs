//! Names and lines for addresses, from the ELF file that a flat image was made of.

use std::env;
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use addr2line::Context;
use flatland_elf::{Elf, ElfError, Section, Symbol, remove_dropped};
use flatland_x86::instruction::Read;
use gimli::{Dwarf, EndianArcSlice, LittleEndian};

/// The names in an ELF file. Reading one takes a while: it is done when there is something to report.
pub struct Symbols {
    debug_info: Context<EndianArcSlice<LittleEndian>>,
    /// In the order of their addresses.
    table: Vec<Symbol>,
    sections: Vec<Section>,
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
    /// How a person is told of it: from here, if it lies below; the standard library's from its own folder.
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
    advice: &'static str,
}

impl fmt::Display for SymbolsError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { path, cause, advice } = self;
        write!(f, "no names from {} ({cause}): {advice}", path.display())
    }
}

impl Error for SymbolsError {}

impl Symbols {
    /// The most functions that are inlined in each other at one address. Broken debug information may have no end.
    const MOST_INLINED: usize = 64;

    /// Reads the ELF file of what lies in this memory. That of another image is refused: its names would be wrong ones.
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
        let mut bytes = Vec::new();
        let file =
            File::open(path).and_then(|file| file.take(ElfError::MOST_BYTES + 1).read_to_end(&mut bytes));
        file.map_err(|error| (error.to_string(), OTHER))?;
        remove_dropped(&mut bytes);
        let elf = Elf::parse(&*bytes).map_err(broken)?;
        if let Some(address) = elf.first_difference(read).map_err(broken)? {
            return Err((format!("it is another image's: they differ at {address:#010x}"), OTHER));
        }
        let dwarf = Dwarf::load(|section| {
            let bytes = elf.section(section.name())?.unwrap_or_default();
            Ok(EndianArcSlice::new(Arc::from(bytes), LittleEndian))
        });
        let debug_info =
            Context::from_dwarf(dwarf.map_err(broken)?).map_err(|error| (error.to_string(), OTHER))?;
        let mut table = elf.symbols().map_err(broken)?;
        table.retain(|symbol| symbol.is_code || symbol.size > 0);
        let sections = elf.sections().map_err(broken)?;
        Ok(Self { debug_info, table, sections, here: env::current_dir().unwrap_or_default() })
    }

    /// The functions and variables in the symbol table, in the order of their addresses.
    pub fn table(&self) -> &[Symbol] {
        &self.table
    }

    /// The name of the section that an address lies in.
    pub fn section(&self, address: u32) -> Option<String> {
        Some(self.section_at(address)?.name.clone())
    }

    fn section_at(&self, address: u32) -> Option<&Section> {
        self.sections.iter().find(|section| section.contains(address))
    }

    /// What is known of this address. Broken debug information is none.
    pub fn place(&self, address: u32) -> Place {
        let innermost = self.functions(address).into_iter().next().unwrap_or_default();
        Place { function: innermost.name, line: innermost.source.map(|source| (source.shown, source.line)) }
    }

    /// The functions that this address lies in: first the innermost, and then those that it is inlined in. None where
    /// nothing is known.
    pub fn functions(&self, address: u32) -> Vec<Function> {
        if !self.section_at(address).is_some_and(|section| section.is_code) {
            return Vec::new();
        }
        let mut functions = self.by_debug_info(address.into());
        let outermost = functions.pop().unwrap_or_default();
        // Assembly has lines at most.
        let name = outermost.name.or_else(|| Some(demangle(&self.symbol(address)?.name)));
        functions.push(Function { name, ..outermost });
        functions.retain(|function| *function != Function::default());
        functions
    }

    /// Where the function begins that this address lies in.
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

    /// A file's path as short as it can be pasted into a command here.
    fn short(&self, file: &str) -> String {
        if let Some(path) = in_standard_library(file) {
            return path.into();
        }
        Path::new(file).strip_prefix(&self.here).unwrap_or(Path::new(file)).display().to_string()
    }

    /// The symbol below the address, in the same section.
    fn symbol(&self, address: u32) -> Option<&Symbol> {
        let section = self.section_at(address).filter(|section| section.is_code)?;
        let below = &self.table[..self.table.partition_point(|symbol| symbol.start <= address)];
        let start = below.iter().rfind(|symbol| symbol.is_code)?.start;
        let same =
            below.iter().rev().take_while(|symbol| symbol.start == start).filter(|symbol| symbol.is_code);
        // Of several names, not that of a mere label.
        same.max_by_key(|symbol| symbol.size).filter(|symbol| section.contains(symbol.start))
    }
}

/// A symbol's name as it stands in the source.
pub fn demangle(symbol: &str) -> String {
    addr2line::demangle_auto(symbol.into(), None).into_owned()
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
