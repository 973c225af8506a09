#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;

mod blocks;
mod comparison;
pub mod cpuid;
mod engine;
pub mod entry;
mod fault;
pub mod instruction;
mod interrupts;
mod memory_map;
pub mod paging;
mod processor;
mod ram;
mod registers;
pub mod segment;
mod stops;

pub use blocks::{BlockCode, BlockSink};
pub use comparison::{Comparison, Operands};
pub use engine::{End, Engine, EngineError, Exit, Interrupt, Position, Sent, Settled, Speed};
pub use fault::{Access, CodeBytes, Fault, FaultKind, Location};
pub use flatland_contract::{MemorySize, MemorySizeError};
pub use interrupts::{PendingInterrupts, Vector};
pub use memory_map::{MemoryMap, MemoryMapError, Part, Segment};
pub use processor::{Fpu, PendingException, Processor, SegmentRegister, Shadow};
pub use ram::{Page, Ram, RamCopy, RamCopyName};
pub use registers::{Registers, SystemRegisters, cr0, cr4, eflags};
pub use stops::{DebugStop, Stops, Unsupported, WatchKind, Watchpoint};
