//! The diagnostics port itself: the host's standard error, for logs and what went wrong.
//!
//! [`eprintln!`](crate::eprintln) writes text there.

use flatland_contract::Port;

use crate::port;

/// Sends bytes.
pub fn write(bytes: &[u8]) {
    port::write(Port::Diagnostics, bytes);
}
