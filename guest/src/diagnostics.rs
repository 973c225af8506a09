//! Diagnostics: the host's standard error, for logs and what went wrong.

use core::fmt;

use flatland_contract::Port;

use crate::port;

/// Sends bytes.
pub fn write(bytes: &[u8]) {
    port::write(Port::Diagnostics, bytes);
}

/// Diagnostics as a destination for `write!`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Diagnostics;

impl fmt::Write for Diagnostics {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}
