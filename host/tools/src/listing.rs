//! Listings of a program from its ELF file, without running it: its instructions beside its source, and its sizes.

mod difference;
mod disassembly;
mod sizes;
mod treemap;

use std::error::Error;
use std::fmt;

use flatland_program::{Program, Symbol, Symbols, SymbolsError, demangle};

use crate::words;

pub use difference::{difference, other_build};
pub use disassembly::disassembly;
pub use sizes::sizes;
pub use treemap::treemap;

/// Why a listing cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListingError {
    /// The ELF file cannot be read.
    Symbols(SymbolsError),
    /// The program is a flat image without an ELF file.
    NoElf,
    /// No function has this text in its name.
    NoFunction(String),
}

impl fmt::Display for ListingError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Symbols(error) => error.fmt(f),
            Self::NoElf => f.write_str("a flat image has no names: give the program's ELF file"),
            Self::NoFunction(name) => write!(
                f,
                "no function of the program has `{name}` in its name: `{} size NAME` lists them",
                words::cargo()
            ),
        }
    }
}

impl Error for ListingError {}

impl From<SymbolsError> for ListingError {
    fn from(error: SymbolsError) -> Self {
        Self::Symbols(error)
    }
}

/// The names of a program, and its functions and variables. Each is listed once, with its name as in the source.
fn names(program: &Program) -> Result<(Symbols, Vec<Symbol>), ListingError> {
    let symbols = program.symbols()?.ok_or(ListingError::NoElf)?;
    let sized = symbols.table().iter().filter(|symbol| symbol.size > 0);
    let mut all: Vec<_> =
        sized.map(|symbol| Symbol { name: demangle(&symbol.name), ..symbol.clone() }).collect();
    all.sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
    // Several names may have the same bytes: identical functions are folded into one.
    all.dedup_by_key(|symbol| (symbol.start, symbol.is_code));
    Ok((symbols, all))
}
