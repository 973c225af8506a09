//! The location of an address in a program's source, from the programmer's point of view.

use std::fmt;
use std::path::PathBuf;

/// The location of an event in a program's source, from the programmer's point of view: in the program's own code, or
/// where that called a library.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The function that the program's own function called, with the location in it. None if the event was in the
    /// program's own function.
    pub callee: Option<Function>,
    /// The program's function, with its path.
    pub function: Option<String>,
    /// The source file and the line.
    pub line: Option<(String, u32)>,
    /// Whether the function is the program's own. If the program's own is not known, it is a library function.
    pub is_own: bool,
}

/// A function at an address: the innermost one, or one that it is inlined in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its name, with its path.
    pub name: Option<String>,
    /// The source location in it.
    pub source: Option<Source>,
}

/// A source location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The file's path at compile time.
    pub path: PathBuf,
    /// The path as printed: as given to the compiler; for the standard library, relative to its sources.
    pub shown: String,
    /// The line, starting at 1.
    pub line: u32,
    /// The column, starting at 1, if known.
    pub column: Option<u32>,
}

impl Place {
    /// The location of the guest. `calls` are the functions at `address` and at the calls that led there, innermost
    /// first, each with its address: the results of [`Symbols::functions`](crate::Symbols::functions). If no function
    /// is known at `address` itself, the guest has called or jumped through a bad pointer, and the location is empty.
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

/// The index of the function that the programmer would name as the location: the innermost of the program's own. If
/// there is none, the innermost at `address` itself that belongs to the runtime, or else to a library. For the
/// arguments see [`Place::of`].
pub fn own<'a>(address: u32, calls: impl IntoIterator<Item = (u32, &'a Function)>) -> Option<usize> {
    let known = calls.into_iter().enumerate().filter(|(_, (at, function))| {
        **function != Function::default() && (*at == address || function.owner() == Owner::Program)
    });
    known.min_by_key(|(_, (_, function))| function.owner()).map(|(index, _)| index)
}

/// The owner of a function, in order of interest to the programmer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Program,
    Runtime,
    StandardLibrary,
}

/// ` in FUNCTION (FILE:LINE)`, with the parts that are known: a suffix for an address.
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
        // `<&mut flatland_guest::T as core::fmt::Write>::write_str` belongs to the runtime, too.
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

    /// Whether it is part of the runtime's code before `main`.
    pub fn is_start(&self) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        let of_the_runtime = ["flatland_guest::start::", "flatland_guest::testing::"];
        // The last three are made by the attributes `test` and `init`.
        matches!(
            name,
            "_start" | "__flatland_main" | "__flatland_test_main" | "__flatland_one_init_in_a_program"
        ) || name.contains("::_::call")
            || name.ends_with("::__init_of_this_module")
            || of_the_runtime.iter().any(|module| name.starts_with(module))
    }

    /// Whether it is the linker's name for the guest's `#[panic_handler]`.
    pub fn is_panic_handler(&self) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        name == "rust_begin_unwind" || name.ends_with("::rust_begin_unwind")
    }

    /// Whether it belongs to the standard library.
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

/// The path of a file of the standard library, relative to its sources: `library/core/src/panicking.rs`.
pub(crate) fn in_standard_library(file: &str) -> Option<&str> {
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
            // No function is known at the address.
            (vec![(2, &main)], ""),
            (vec![(1, &unknown), (2, &main)], ""),
            // No function is the program's own.
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
    fn places_have_the_form_of_compiler_messages() {
        let source = Source { shown: "src/main.rs".into(), line: 7, column: Some(3), ..Source::default() };
        assert_eq!(source.to_string(), "src/main.rs:7:3");
        assert_eq!(Source { column: None, ..source }.to_string(), "src/main.rs:7");
    }
}
