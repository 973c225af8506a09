//! Standard input, through a buffer.

use core::cell::UnsafeCell;
use core::convert::Infallible;
use core::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "alloc")]
use alloc::{string::String, vec::Vec};

use crate::console;

/// Bytes that are fetched at once.
const SIZE: usize = 4096;

/// What was fetched and not read yet. There is one of it, as there is one input: what one [`Stdin`] has fetched
/// and not read, the next one reads.
struct Buffer {
    bytes: [u8; SIZE],
    start: usize,
    end: usize,
}

struct Shared {
    buffer: UnsafeCell<Buffer>,
    taken: AtomicBool,
}

// SAFETY: the buffer is touched by the one `Stdin` there is, which `taken` sees to.
unsafe impl Sync for Shared {}

static INPUT: Shared = Shared {
    buffer: UnsafeCell::new(Buffer { bytes: [0; SIZE], start: 0, end: 0 }),
    taken: AtomicBool::new(false),
};

/// Standard input. There is one at a time.
pub struct Stdin {
    buffer: &'static mut Buffer,
}

/// Standard input, as long as what is returned lives.
///
/// # Panics
///
/// If it is in use already.
pub fn stdin() -> Stdin {
    assert!(
        !INPUT.taken.swap(true, Ordering::Acquire),
        "standard input is in use: hand on what the first `stdin()` returned, or drop it"
    );
    // SAFETY: `taken` was clear, so no other `Stdin` has the buffer until this one is dropped.
    Stdin { buffer: unsafe { &mut *INPUT.buffer.get() } }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        INPUT.taken.store(false, Ordering::Release);
    }
}

impl embedded_io::ErrorType for Stdin {
    type Error = Infallible;
}

impl embedded_io::BufRead for Stdin {
    /// What can be read without waiting. Waits until there is something; nothing is the end of input.
    fn fill_buf(&mut self) -> Result<&[u8], Infallible> {
        let buffer = &mut *self.buffer;
        if buffer.start == buffer.end {
            let len = console::ready().min(SIZE);
            console::read(&mut buffer.bytes[..len]);
            (buffer.start, buffer.end) = (0, len);
        }
        Ok(&buffer.bytes[buffer.start..buffer.end])
    }

    fn consume(&mut self, len: usize) {
        self.buffer.start = (self.buffer.start + len).min(self.buffer.end);
    }
}

impl embedded_io::Read for Stdin {
    /// Reads what is ready, and no more than fits. Waits until there is something; 0 bytes are the end of input.
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let buffered = self.buffer.end - self.buffer.start;
        if buffered == 0 && bytes.len() >= SIZE {
            // Straight to where it is wanted.
            let len = console::ready().min(bytes.len());
            console::read(&mut bytes[..len]);
            return Ok(len);
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        let ready = embedded_io::BufRead::fill_buf(self)?;
        let len = ready.len().min(bytes.len());
        bytes[..len].copy_from_slice(&ready[..len]);
        embedded_io::BufRead::consume(self, len);
        Ok(len)
    }
}

impl core::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        f.debug_struct("Stdin").finish_non_exhaustive()
    }
}

#[cfg(feature = "alloc")]
impl Stdin {
    /// Appends input up to this byte, with it, or up to the end of input. Returns how many bytes those were.
    pub fn read_until(&mut self, byte: u8, bytes: &mut Vec<u8>) -> usize {
        let before = bytes.len();
        loop {
            let Ok(ready) = embedded_io::BufRead::fill_buf(self);
            let end = ready.iter().position(|&other| other == byte);
            let len = end.map_or(ready.len(), |end| end + 1);
            bytes.extend_from_slice(&ready[..len]);
            embedded_io::BufRead::consume(self, len);
            if end.is_some() || len == 0 {
                return bytes.len() - before;
            }
        }
    }

    /// Appends a line with its `\n`, or what there is up to the end of input. Returns how many bytes of input those
    /// were: 0 at the end of it. What is no UTF-8 becomes U+FFFD; who wants the bytes takes [`Self::read_until`].
    pub fn read_line(&mut self, line: &mut String) -> usize {
        let mut bytes = Vec::new();
        let len = self.read_until(b'\n', &mut bytes);
        line.push_str(&String::from_utf8_lossy(&bytes));
        len
    }

    /// The lines of input to its end, each without its `\n` or `\r\n`. What is no UTF-8 becomes U+FFFD.
    pub fn lines(self) -> Lines {
        Lines { input: self }
    }

    /// Appends all input there is still to come. Returns how many bytes those were.
    pub fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> usize {
        let before = bytes.len();
        loop {
            let Ok(ready) = embedded_io::BufRead::fill_buf(self);
            let len = ready.len();
            bytes.extend_from_slice(ready);
            embedded_io::BufRead::consume(self, len);
            if len == 0 {
                return bytes.len() - before;
            }
        }
    }

    /// Appends all input there is still to come, if it is UTF-8. Returns how many bytes those were.
    pub fn read_to_string(&mut self, text: &mut String) -> Result<usize, core::str::Utf8Error> {
        let mut bytes = Vec::new();
        let len = self.read_to_end(&mut bytes);
        text.push_str(core::str::from_utf8(&bytes)?);
        Ok(len)
    }
}

/// Lines of input: see [`Stdin::lines`].
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct Lines {
    input: Stdin,
}

#[cfg(feature = "alloc")]
impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        if self.input.read_line(&mut line) == 0 {
            return None;
        }
        if line.ends_with('\n') {
            line.pop();
            if line.ends_with('\r') {
                line.pop();
            }
        }
        Some(line)
    }
}
