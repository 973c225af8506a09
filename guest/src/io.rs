//! Input and output as std has them: [`stdin`], [`stdout`] and [`stderr`], and the traits of the crate `embedded-io`,
//! which the `no_std` ecosystem reads and writes through.
//!
//! ```ignore
//! use flatland_guest::{io, println};
//!
//! for line in io::stdin().lines() {
//!     println!("{}", line.to_uppercase());
//! }
//! ```
//!
//! Nothing here fails: a machine without standard output ends the run by itself.

mod input;
mod output;
mod print;

pub use embedded_io::{BufRead, ErrorType, Read, ReadReady, Write};

#[cfg(feature = "alloc")]
pub use input::Lines;
pub use input::{Stdin, stdin};
pub use output::{Stderr, Stdout, stderr, stdout};
#[doc(hidden)]
pub use print::{eprint, print};
