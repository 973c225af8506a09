//! The diagnostics port: the host's standard error. [`eprintln!`](crate::eprintln) writes text to it.

use flatland_contract::Port;

use crate::port;

/// Sends bytes.
pub fn write(bytes: &[u8]) {
    port::write(Port::Diagnostics, bytes);
}
