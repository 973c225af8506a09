//! Messages of the host on standard error.

use std::io::{self, Write};

use flatland::report::Paint;

/// Writes a message of the host to standard error, marked to distinguish it from the guest's. A failure cannot be
/// reported.
pub fn say(message: &str) {
    let _ = io::stderr().write_all(line(Paint::for_standard_error(), message).as_bytes());
}

/// A line of the host, marked as such.
pub fn line(paint: Paint, message: &str) -> String {
    format!("{} {message}\n", paint.mark("flatland:"))
}
