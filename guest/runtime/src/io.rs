//! Input and output, under the names that std has for them: [`stdin`], [`stdout`] and [`stderr`], and the traits
//! [`Read`], [`BufRead`] and [`Write`].
//!
//! ```ignore
//! use flatland_guest::{io, println};
//!
//! fn main() -> io::Result<()> {
//!     for line in io::stdin().lines() {
//!         println!("{}", line?.to_uppercase());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The streams implement the traits of the crate `embedded-io`, too. They never fail: if the host cannot write its
//! standard output, it ends the run.

#[cfg(feature = "alloc")]
mod buffered;
mod embedded;
mod error;
mod input;
mod output;
mod print;
mod read;
mod write;

#[cfg(feature = "alloc")]
use alloc::string::String;

#[cfg(feature = "alloc")]
pub use buffered::{BufReader, BufWriter};
pub use error::{Error, ErrorKind, Result};
pub use input::{Stdin, StdinLock, stdin};
pub use output::{Stderr, StderrLock, Stdout, StdoutLock, stderr, stdout};
#[doc(hidden)]
pub use print::{eprint, print};
pub use read::{BufRead, Bytes, Read, Take};
#[cfg(feature = "alloc")]
pub use read::{Lines, Split};
pub use write::Write;

/// The traits, for `use flatland_guest::io::prelude::*`.
pub mod prelude {
    pub use super::{BufRead, Read, Write};
}

/// Copies the rest of the input, and returns how many bytes that was.
pub fn copy<R: Read + ?Sized, W: Write + ?Sized>(reader: &mut R, writer: &mut W) -> Result<u64> {
    let mut buffer = [0; 8 << 10];
    let mut copied = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(len) => {
                writer.write_all(&buffer[..len])?;
                copied += len as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads the rest of the input: see [`Read::read_to_string`].
#[cfg(feature = "alloc")]
pub fn read_to_string<R: Read>(mut reader: R) -> Result<String> {
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    Ok(text)
}
