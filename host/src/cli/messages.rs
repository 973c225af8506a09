//! Messages of the host on standard error.

use std::env;
use std::io::{self, Write};

use crate::report::Paint;
use crate::words::shell_word;

/// Writes a message of the host to standard error, marked to distinguish it from the guest's. A failure cannot be
/// reported.
pub fn say(message: &str) {
    let _ = io::stderr().write_all(line(Paint::for_standard_error(), message).as_bytes());
}

/// A line of the host, marked as such.
pub fn line(paint: Paint, message: &str) -> String {
    format!("{} {message}\n", paint.mark("flatland:"))
}

/// This program as it was called, for commands to be pasted into a shell.
pub fn this_program() -> String {
    env::args_os().next().map_or_else(|| "flatland".into(), |name| shell_word(&name))
}

/// A text without line breaks and escape sequences. A recording may be from anywhere.
pub fn one_line(path: &str) -> String {
    path.replace(char::is_control, "\u{fffd}")
}
