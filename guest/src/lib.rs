//! The runtime of Flatland guests: everything between a program and a bare 32-bit processor.
//!
//! A program is a file of a few lines:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! flatland_guest::entry!(main);
//! fn main() {
//!     flatland_guest::println!("Hello, Flatland!");
//! }
//! ```
//!
//! When `main` returns, the run ends with status 0, or with the one that it returns. A panic ends it with 101, its
//! message and place on the host's standard error. Paging, interrupts and the x87, MMX and SSE units are not used.
//!
//! What std has is here under the names it has there, as far as a bare machine can have it: [`print!`] and its
//! like, [`io`], [`mod@env`], [`process`], [`time`]; and [`test`](macro@test) for tests that run on the machine. With the
//! feature `alloc`, which is on by default, there is a heap, and all of the crate `alloc`. A program that does not
//! use it has none of it in its image.

#![no_std]
#![cfg_attr(test, no_main)]
#![warn(missing_docs)]

#[cfg(feature = "alloc")]
pub extern crate alloc;
// For the paths in what the attribute `test` makes of this crate's own tests.
extern crate self as flatland_guest;

pub mod console;
pub mod diagnostics;
#[cfg(feature = "alloc")]
pub mod env;
#[cfg(feature = "alloc")]
mod heap;
pub mod io;
mod memory;
mod panic;
mod port;
pub mod process;
pub mod random;
mod start;
mod testing;
pub mod time;

pub use flatland_guest_macros::test;

/// For what the macros make.
#[doc(hidden)]
pub mod __private {
    pub use crate::start::run;
    pub use crate::testing::{Description, Test, finish, run_test};
}
