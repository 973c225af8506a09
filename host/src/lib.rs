#![doc = include_str!("../README.md")]
//!
//! [`Machine::resume`] runs only to the next [`Event`]. The tools `gdb`, `trace` and `report` are built on it, each
//! in a feature of its name. `observe` runs the machine with several of them.

#[cfg(feature = "cli")]
pub mod cli;

#[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
pub use flatland_kvm as kvm;
pub use flatland_machine::*;
pub use flatland_program as program;
pub use flatland_soft as soft;
#[cfg(feature = "gdb")]
pub use flatland_tools::gdb;
#[cfg(feature = "trace")]
pub use flatland_tools::trace;
#[cfg(any(feature = "gdb", feature = "report", feature = "trace"))]
pub use flatland_tools::{Observer, Verdict, observe, timeline};
#[cfg(feature = "report")]
pub use flatland_tools::{
    backtrace, coverage, instruction, listing, markup, origins, profile, report, words,
};
pub use flatland_x86 as x86;
