//! Text for a console that takes nothing but UTF-8.

use std::io::{self, Write};

/// Writes U+FFFD in place of bytes that are not UTF-8. A character may come in parts.
#[derive(Debug)]
pub struct Lossy<W> {
    to: W,
    /// The beginning of a character.
    part: Vec<u8>,
}

impl<W: Write> Lossy<W> {
    pub fn new(to: W) -> Self {
        Self { to, part: Vec::new() }
    }
}

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = std::mem::take(&mut self.part);
        all.extend_from_slice(bytes);
        let mut text = String::new();
        for chunk in all.utf8_chunks() {
            text += chunk.valid();
            let is_last = chunk.invalid().as_ptr_range().end == all.as_ptr_range().end;
            // Valid up to its end, and too short.
            let is_part = str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            match chunk.invalid() {
                [] => {}
                part if is_last && is_part => self.part = part.into(),
                _ => text.push(char::REPLACEMENT_CHARACTER),
            }
        }
        self.to.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(windows)]
impl<W: std::os::windows::io::AsHandle> std::os::windows::io::AsHandle for Lossy<W> {
    fn as_handle(&self) -> std::os::windows::io::BorrowedHandle<'_> {
        self.to.as_handle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_may_come_in_parts_and_what_is_none_is_replaced() {
        let mut lossy = Lossy::new(Vec::new());
        for bytes in [&b"a\xe2\x82"[..], b"\xacb\xffc\xe2", b"d\xf0\x9f"] {
            lossy.write_all(bytes).unwrap();
        }
        assert_eq!(str::from_utf8(&lossy.to), Ok("a\u{20ac}b\u{fffd}c\u{fffd}d"));
        assert_eq!(lossy.part, b"\xf0\x9f");
    }
}
