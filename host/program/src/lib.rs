//! A guest program: its flat image, what its ELF file says of memory, and the names and lines in it.

mod elf;
mod image;
#[cfg(feature = "symbols")]
mod symbols;

pub use elf::{SegmentsError, segments};
pub use image::{Image, ImageError};
#[cfg(feature = "symbols")]
pub use symbols::{Function, Place, Source, Symbols, SymbolsError};
