//! What all engines of the machine share, and what looks at them: the processor's registers and flags, its state at
//! entry, faults, memory maps, and the trait [`Engine`].
//!
//! A leaf: it knows nothing of ports, streams or sentences for people, and needs no operating system.

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
