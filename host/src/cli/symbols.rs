//! The names of the program that is run.

use std::path::Path;

use crate::Machine;
use crate::program::{Symbols, SymbolsError};

/// The symbols of the program in this machine's memory, from this ELF file.
pub fn open(path: &Path, machine: &Machine) -> Result<Symbols, SymbolsError> {
    Symbols::open(path, &|address, bytes| machine.read_ram(address, bytes))
}
