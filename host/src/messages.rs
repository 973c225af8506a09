//! Messages of the host on standard error.

use std::env;
use std::ffi::OsStr;
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

/// This program as it was called, for commands to be pasted into a shell.
pub fn this_program() -> String {
    env::args_os().next().map_or_else(|| "flatland".into(), |name| shell_word(&name))
}

/// A word for a shell: quoted where that is needed.
pub fn shell_word(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let is_plain = |char: char| char.is_alphanumeric() || "/._-+=:,@%".contains(char);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A text without line breaks and escape sequences. A recording may be from anywhere.
pub fn one_line(path: &str) -> String {
    path.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_the_shell_would_change_them() {
        for (word, expected) in
            [("a/b-c.rec", "a/b-c.rec"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$a", "'$a'"), ("", "''")]
        {
            assert_eq!(shell_word(word.as_ref()), expected);
        }
    }
}
