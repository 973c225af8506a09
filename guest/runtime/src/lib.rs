//! The runtime of Flatland guests: what a Rust program needs on a bare 32-bit processor.
//!
//! This is a program:
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
//! The run ends when `main` returns, with the status that it returns or with 0. A panic writes its message and place
//! to the host's standard error, and ends the run with status 101. A program that has
//! [`fuzz!`] in place of [`entry!`] is a target for a fuzzer. The runtime does not use paging, interrupts or the x87, MMX
//! and SSE units. A program may: [`interrupts`] has the names for the second.
//!
//! The parts of std that a bare machine can have keep std's names and signatures: [`print!`] and the other macros,
//! [`io`], [`mod@env`], [`process`] and [`time`]. The attribute [`test`](macro@test) makes tests that run on the
//! machine, [`init`](macro@init) says how each begins, [`task::block_on`] runs an `async` function, and [`span!`] gives a part of a run a name for traces. The feature `alloc`, on by default, brings a heap and
//! the crate `alloc`. They add nothing to the image of a program that does not use them. [`prelude`] has `Vec`, `String`
//! and the other names that std imports by default.

#![no_std]
#![cfg_attr(test, no_main)]
#![warn(missing_docs)]

#[cfg(feature = "alloc")]
pub extern crate alloc;
// The attribute `test` expands to paths that begin with this name, in this crate's own tests, too.
extern crate self as flatland_guest;

pub mod console;
pub mod diagnostics;
#[cfg(feature = "alloc")]
pub mod env;
mod fuzz;
#[cfg(feature = "alloc")]
mod heap;
pub mod interrupts;
pub mod io;
mod memory;
mod panic;
mod port;
pub mod process;
pub mod random;
mod span;
mod start;
pub mod task;
mod testing;
pub mod time;

pub use flatland_guest_macros::{init, test};
pub use span::Span;

/// The names that std's prelude has and that of a `no_std` program lacks, and the macros that print.
pub mod prelude {
    #[cfg(feature = "alloc")]
    pub use alloc::borrow::ToOwned;
    #[cfg(feature = "alloc")]
    pub use alloc::boxed::Box;
    #[cfg(feature = "alloc")]
    pub use alloc::string::{String, ToString};
    #[cfg(feature = "alloc")]
    pub use alloc::vec::Vec;
    #[cfg(feature = "alloc")]
    pub use alloc::{format, vec};

    pub use crate::{dbg, eprint, eprintln, print, println};
}

/// Used by the code that the macros expand to.
#[doc(hidden)]
pub mod __private {
    pub use crate::fuzz::run as fuzz;
    pub use crate::span::{begin as begin_span, name as span_name};
    pub use crate::start::run;
    pub use crate::testing::{Description, Test, after_init, finish, run_test};
}
