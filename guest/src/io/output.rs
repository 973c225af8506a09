//! Standard output and standard error. Both send at once, so nothing is lost whatever ends the run.

use core::convert::Infallible;
use core::fmt;

use crate::{console, diagnostics};

/// Standard output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stdout(());

/// Standard error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stderr(());

/// Standard output.
pub fn stdout() -> Stdout {
    Stdout(())
}

/// Standard error.
pub fn stderr() -> Stderr {
    Stderr(())
}

macro_rules! output {
    ($Stream:ty, $write:path) => {
        impl embedded_io::ErrorType for $Stream {
            type Error = Infallible;
        }

        impl embedded_io::Write for $Stream {
            /// Sends all of the bytes.
            fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
                $write(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> Result<(), Infallible> {
                Ok(())
            }
        }

        impl fmt::Write for $Stream {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                $write(text.as_bytes());
                Ok(())
            }
        }
    };
}

output!(Stdout, console::write);
output!(Stderr, diagnostics::write);
