//! The runtime of Flatland guests: everything between a program and a bare 32-bit processor.
//!
//! A program is a file of a few lines:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! use flatland_guest::{console, entry};
//!
//! entry!(main);
//!
//! fn main() {
//!     console::write(b"Hello, Flatland!\n");
//! }
//! ```
//!
//! When `main` returns, the run ends with status 0. A panic ends it with 101, its message and place on
//! the host's standard error. Paging, interrupts and the x87, MMX and SSE units are not used.

#![no_std]
#![warn(missing_docs)]

pub mod console;
pub mod diagnostics;
mod panic;
mod port;
pub mod process;
mod start;
