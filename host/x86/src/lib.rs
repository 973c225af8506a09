//! Types that the engines and the machine share: registers and flags, the state at entry, faults, memory maps, stops,
//! and the trait [`Engine`].
//!
//! This crate has no ports and no streams, and needs no operating system.

#![no_std]

extern crate alloc;

mod engine;
pub mod entry;
mod fault;
pub mod instruction;
mod memory_map;
mod memory_size;
mod registers;
mod stops;

pub use engine::{Engine, EngineError, EngineSnapshot, Exit, Interrupt};
pub use fault::{Access, CodeBytes, Fault, FaultKind, Location};
pub use memory_map::{MemoryMap, MemoryMapError, Part, Segment};
pub use memory_size::{MemorySize, MemorySizeError};
pub use registers::{Registers, SystemRegisters, cr0, eflags};
pub use stops::{DebugStop, Stops, Unsupported, WatchKind, Watchpoint};
