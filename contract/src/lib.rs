//! What a Flatland guest and its host agree on, as code.
//!
//! The guest's runtime, the machine and the image builder all depend on this crate and on nothing else
//! of each other: a number of the contract stands here and nowhere else.
//!
//! At entry the processor is in 32-bit protected mode with paging off, flat 4 GiB segments and interrupts
//! off; EIP = [`memory::ENTRY`], ESP = the end of RAM, DF = 0 and the other general registers 0. `hlt`
//! ends the run with status 0.

#![no_std]

mod clock;
pub mod memory;
mod port;
pub mod status;
pub mod test;

pub use clock::Clock;
pub use port::{Direction, Port};
