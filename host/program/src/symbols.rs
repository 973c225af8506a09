//! Names and lines for addresses, from the ELF file that a flat image was made of.

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

/// The names and lines in an ELF file. Reading it takes a while, so it is opened when there is something to report.
pub struct Symbols {
    debug_info: Context<EndianArcSlice<LittleEndian>>,
    /// In the order of their addresses.
    table: Vec<Symbol>,
    sections: Vec<Section>,
    /// The folders in which the compiler was called with relative paths. Paths are shown relative to these, as in panics and
    /// the compiler's messages.
    folders: Vec<PathBuf>,
}

/// Where in a program something happened, as a person means it: in the program's own code, or where that has called a
/// library.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// What the program's own function has called, and where it happened; none where it happened in that itself.
    pub callee: Option<Function>,
    /// The function, with its path.
    pub function: Option<String>,
    /// The source file and the line.
    pub line: Option<(String, u32)>,
    /// Whether the function is the program's own, and no library's for want of one.
    pub is_own: bool,
}

/// A function at an address: the innermost, or one that it is inlined in.
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
    /// The file's path when it was compiled.
    pub path: PathBuf,
    /// The path as shown to a person: as the compiler was given it; for the standard library, from its own folder on.
    pub shown: String,
    /// The line, from 1 on.
    pub line: u32,
    /// The column, from 1 on, if it is known.
    pub column: Option<u32>,
}

impl Place {
    /// Of where the guest is. `calls` are the functions at that address and at those of the calls that led there, from the
    /// innermost on, each with its address: what [`Symbols::functions`] returns for each. Where nothing is known at the
    /// address itself, the guest has come there by a call or a jump through a bad pointer, and there is no place.
    pub fn of<'a>(address: u32, calls: impl IntoIterator<Item = (u32, &'a Function)>) -> Self {
        let calls: Vec<_> = calls.into_iter().collect();
        let here = calls.first().filter(|(at, function)| *at == address && **function != Function::default());
        let (Some((_, here)), Some(own)) = (here, own(address, calls.iter().copied())) else {
            return Self::default();
        };
        let (own_address, function) = calls[own];
        Self {
            callee: (own_address != address).then(|| (*here).clone()),
            function: function.name.clone(),
            line: function.source.as_ref().map(|source| (source.shown.clone(), source.line)),
            is_own: function.owner() == Owner::Program,
        }
    }
}

/// Which of these functions a person means by where the guest is: the innermost of the program's own. If there is none,
/// the innermost at the address itself that is the runtime's, or else of which anything is known. For the arguments see
/// [`Place::of`].
pub fn own<'a>(address: u32, calls: impl IntoIterator<Item = (u32, &'a Function)>) -> Option<usize> {
    let known = calls.into_iter().enumerate().filter(|(_, (at, function))| {
        **function != Function::default() && (*at == address || function.owner() == Owner::Program)
    });
    known.min_by_key(|(_, (_, function))| function.owner()).map(|(index, _)| index)
}

/// Whose code a function is, the nearest to a person first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Program,
    Runtime,
    StandardLibrary,
}

/// ` in FUNCTION (FILE:LINE)`, as much of it as is known: to be put behind an address.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(Function { name, .. }) = &self.callee {
            if let Some(name) = name {
                write!(f, " in {name}")?;
            }
            f.write_str(", called")?;
        }
        if let Some(function) = &self.function {
            write!(f, " in {function}")?;
        }
        if let Some((file, line)) = &self.line {
            write!(f, " ({file}:{line})")?;
        }
        Ok(())
    }
}

/// `FILE:LINE:COLUMN`, as compilers write it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.shown, self.line)?;
        self.column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

impl Function {
    fn owner(&self) -> Owner {
        // `<&mut flatland_guest::T as core::fmt::Write>::write_str` is the runtime's, too.
        let is_runtime = |name: &str| {
            let name = name.trim_start_matches('<').trim_start_matches('&').trim_start_matches("mut ");
            name.starts_with("flatland_guest::")
        };
        if self.is_of_the_standard_library() {
            Owner::StandardLibrary
        } else if self.is_start() || self.is_panic_handler() || self.name.as_deref().is_some_and(is_runtime) {
            Owner::Runtime
        } else {
            Owner::Program
        }
    }

    /// Whether it is what the runtime has before `main`.
    pub fn is_start(&self) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        let of_the_runtime = ["flatland_guest::start::", "flatland_guest::testing::"];
        matches!(name, "_start" | "__flatland_main" | "__flatland_test_main")
            // What the attribute `test` puts beside a test.
            || name.ends_with("::_::call")
            || of_the_runtime.iter().any(|module| name.starts_with(module))
    }

    /// Whether it is what `#[panic_handler]` becomes for the linker, whatever it is called in the guest.
    pub fn is_panic_handler(&self) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        name == "rust_begin_unwind" || name.ends_with("::rust_begin_unwind")
    }

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
    /// The most nested inlined functions at one address. Broken debug information may be endless.
    const MOST_INLINED: usize = 64;

    /// Reads the ELF file of the program in this memory. The file of another image is refused, because its names would be
    /// wrong.
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
        let dwarf = dwarf.map_err(broken)?;
        let folders = working_folders(&dwarf);
        let debug_info = Context::from_dwarf(dwarf).map_err(|error| (error.to_string(), OTHER))?;
        let mut table = elf.symbols().map_err(broken)?;
        table.retain(|symbol| symbol.is_code || symbol.size > 0);
        let sections = elf.sections().map_err(broken)?;
        Ok(Self { debug_info, table, sections, folders })
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

    /// The functions that this address lies in: first the innermost, and then those that it is inlined in. None where
    /// nothing is known.
    pub fn functions(&self, address: u32) -> Vec<Function> {
        if !self.section_at(address).is_some_and(|section| section.is_code) {
            return Vec::new();
        }
        let mut functions = self.by_debug_info(address.into());
        match functions.last_mut() {
            // Assembly has lines and no functions there.
            Some(outermost) if outermost.name.is_none() => outermost.name = self.symbol_name(address),
            Some(_) => {}
            None => functions
                .extend(self.symbol_name(address).map(|name| Function { name: Some(name), source: None })),
        }
        functions
    }

    /// The start of the function at this address.
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

    /// A file's path as the compiler was given it, or from the standard library's folder on.
    fn short(&self, file: &str) -> String {
        if let Some(path) = in_standard_library(file) {
            return path.into();
        }
        let relative = self.folders.iter().find_map(|folder| Path::new(file).strip_prefix(folder).ok());
        relative.unwrap_or(Path::new(file)).display().to_string()
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

    /// The name of the symbol there.
    fn symbol_name(&self, address: u32) -> Option<String> {
        Some(demangle(&self.symbol(address)?.name))
    }
}

/// A symbol's name as in the source.
pub fn demangle(symbol: &str) -> String {
    addr2line::demangle_auto(symbol.into(), None).into_owned()
}

/// The folders in which the compiler was called with relative paths: that of the guest's workspace, as cargo calls it. Broken
/// debug information has none.
fn working_folders(dwarf: &Dwarf<EndianArcSlice<LittleEndian>>) -> Vec<PathBuf> {
    let text = |slice: &EndianArcSlice<LittleEndian>| String::from_utf8_lossy(slice).into_owned();
    let mut folders = Vec::new();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        let Ok(gimli::Unit { name: Some(name), comp_dir: Some(folder), .. }) = dwarf.unit(header) else {
            continue;
        };
        let folder = PathBuf::from(text(&folder));
        if Path::new(&text(&name)).is_relative() && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// A file of the standard library, from the folder of its sources on: `library/core/src/panicking.rs`.
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

    /// A function of this name, in this file.
    fn function(name: &str, path: &str) -> Function {
        let source = Source { path: path.into(), shown: path.into(), line: 7, column: None };
        Function { name: Some(name.into()), source: Some(source) }
    }

    #[test]
    fn a_place_is_in_the_programs_own_code() {
        let main = function("answer::main", "src/main.rs");
        let runtime = function("flatland_guest::port::read_byte", "port.rs");
        let runtime_impl =
            function("<&mut flatland_guest::io::Stdout as core::fmt::Write>::write_str", "io.rs");
        let panic = function("__rustc::rust_begin_unwind", "panic.rs");
        let library = function("core::ptr::read_volatile", "/rust/library/core/src/ptr/mod.rs");
        let pause =
            function("_mm_pause", "/rust/library/core/src/../../stdarch/crates/core_arch/src/x86/sse2.rs");
        let assembly = Function { name: Some("copy".into()), source: None };
        let start = Function { name: Some("_start".into()), source: None };
        let unknown = Function::default();
        for (calls, place) in [
            (vec![(1, &main)], " in answer::main (src/main.rs:7)"),
            // Inlined.
            (vec![(1, &pause), (1, &main)], " in answer::main (src/main.rs:7)"),
            (vec![(1, &runtime), (1, &main)], " in answer::main (src/main.rs:7)"),
            // Called.
            (
                vec![(1, &library), (2, &runtime_impl), (3, &main)],
                " in core::ptr::read_volatile, called in answer::main (src/main.rs:7)",
            ),
            (
                vec![(1, &panic), (2, &main)],
                " in __rustc::rust_begin_unwind, called in answer::main (src/main.rs:7)",
            ),
            (vec![(1, &assembly), (2, &main)], " in copy"),
            (vec![(1, &start), (2, &main)], " in _start, called in answer::main (src/main.rs:7)"),
            // Nothing is known of where it is.
            (vec![(2, &main)], ""),
            (vec![(1, &unknown), (2, &main)], ""),
            // Nothing is the program's own.
            (vec![(1, &library), (1, &runtime)], " in flatland_guest::port::read_byte (port.rs:7)"),
            (
                vec![(1, &library), (2, &runtime)],
                " in core::ptr::read_volatile (/rust/library/core/src/ptr/mod.rs:7)",
            ),
            (vec![(1, &library)], " in core::ptr::read_volatile (/rust/library/core/src/ptr/mod.rs:7)"),
            (vec![(1, &unknown)], ""),
            (vec![], ""),
        ] {
            assert_eq!(Place::of(1, calls).to_string(), place);
        }
    }

    #[test]
    fn places_are_said_as_compilers_say_them() {
        let source = Source { shown: "src/main.rs".into(), line: 7, column: Some(3), ..Source::default() };
        assert_eq!(source.to_string(), "src/main.rs:7:3");
        assert_eq!(Source { column: None, ..source }.to_string(), "src/main.rs:7");
    }
}
