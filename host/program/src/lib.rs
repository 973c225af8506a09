#![doc = include_str!("../README.md")]

#[cfg(feature = "symbols")]
mod debug_info;
#[cfg(feature = "elf")]
mod elf;
mod image;
#[cfg(feature = "symbols")]
mod place;
mod program;
#[cfg(feature = "symbols")]
pub mod source_map;
#[cfg(feature = "symbols")]
mod symbols;

#[cfg(feature = "elf")]
pub use elf::AddElfError;
#[cfg(feature = "elf")]
pub use flatland_elf::{ElfError, Section, Symbol, command_of};
pub use image::{Image, ImageError};
#[cfg(feature = "symbols")]
pub use place::{Function, Place, Source, own};
pub use program::{Program, ProgramError};
#[cfg(feature = "symbols")]
pub use symbols::{Symbols, SymbolsError, demangle, without_types};
