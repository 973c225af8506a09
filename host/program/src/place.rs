//! Where in a program an address is, as a person means it.

use std::fmt;
use std::path::PathBuf;

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
    /// innermost on, each with its address: what [`Symbols::functions`](crate::Symbols::functions) returns for each. Where nothing is known at the
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

/// A file of the standard library, from the folder of its sources on: `library/core/src/panicking.rs`.
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
