#![doc = include_str!("../README.md")]
//!
//! At entry the processor is in 32-bit protected mode with flat 4 GiB segments; paging and interrupts are off. EIP is
//! [`memory::ENTRY`], ESP is the end of RAM, DF and the other general registers are 0.
//! `hlt` ends the run with status 0.

#![no_std]

#[cfg(test)]
extern crate alloc;

mod clock;
pub mod fuzz;
pub mod memory;
mod memory_size;
mod port;
pub mod span;
pub mod status;
pub mod test;
pub mod timer;

pub use clock::Clock;
pub use memory_size::{MemorySize, MemorySizeError};
pub use port::{Direction, Port};
