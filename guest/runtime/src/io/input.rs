//! Standard input, through a buffer.

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "alloc")]
use alloc::{string::String, vec::Vec};

#[cfg(feature = "alloc")]
use super::Lines;
use super::{BufRead, Read, Result};
use crate::console;

/// The size of the buffer in bytes.
const SIZE: usize = 4096;

/// Bytes that were fetched from the host. Those from `start` up to `end` have not been read yet.
struct Buffer {
    bytes: [u8; SIZE],
    start: usize,
    end: usize,
}

struct Shared {
    buffer: UnsafeCell<Buffer>,
    locked: AtomicBool,
}

// SAFETY: only a `StdinLock` uses the buffer, and `locked` allows one at a time.
unsafe impl Sync for Shared {}

static INPUT: Shared = Shared {
    buffer: UnsafeCell::new(Buffer { bytes: [0; SIZE], start: 0, end: 0 }),
    locked: AtomicBool::new(false),
};

/// Standard input. All handles share one buffer.
pub struct Stdin(());

/// Standard input, locked.
pub struct StdinLock<'a> {
    buffer: &'a mut Buffer,
}

/// Standard input.
pub fn stdin() -> Stdin {
    Stdin(())
}

impl Stdin {
    /// Locks the input until the returned lock is dropped.
    ///
    /// # Panics
    ///
    /// If it is locked already. With std, a thread that does this waits forever.
    pub fn lock(&self) -> StdinLock<'static> {
        assert!(
            !INPUT.locked.swap(true, Ordering::Acquire),
            "standard input is locked already: drop the first `StdinLock` (or the `lines()` made of it), or use that one"
        );
        // SAFETY: `locked` was clear, so nothing else uses the buffer until this lock is dropped.
        StdinLock { buffer: unsafe { &mut *INPUT.buffer.get() } }
    }

    /// Appends a line: see [`BufRead::read_line`].
    #[cfg(feature = "alloc")]
    pub fn read_line(&self, buf: &mut String) -> Result<usize> {
        self.lock().read_line(buf)
    }

    /// The lines of input: see [`BufRead::lines`]. The input is locked as long as the iterator exists.
    #[cfg(feature = "alloc")]
    pub fn lines(self) -> Lines<StdinLock<'static>> {
        self.lock().lines()
    }
}

impl Drop for StdinLock<'_> {
    fn drop(&mut self) {
        INPUT.locked.store(false, Ordering::Release);
    }
}

impl BufRead for StdinLock<'_> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        let buffer = &mut *self.buffer;
        if buffer.start == buffer.end {
            let len = console::ready().min(SIZE);
            console::read(&mut buffer.bytes[..len]);
            (buffer.start, buffer.end) = (0, len);
        }
        Ok(&buffer.bytes[buffer.start..buffer.end])
    }

    fn consume(&mut self, amount: usize) {
        self.buffer.start = (self.buffer.start + amount).min(self.buffer.end);
    }
}

impl Read for StdinLock<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        if self.buffer.start == self.buffer.end && buf.len() >= SIZE {
            // `buf` is as large as the buffer or larger: read into it directly.
            let len = console::ready().min(buf.len());
            console::read(&mut buf[..len]);
            return Ok(len);
        }
        if buf.is_empty() {
            return Ok(0);
        }
        let len = self.fill_buf()?.read(buf)?;
        self.consume(len);
        Ok(len)
    }

    #[cfg(feature = "alloc")]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> Result<usize> {
        let before = buf.len();
        loop {
            let ready = self.fill_buf()?;
            let len = ready.len();
            if len == 0 {
                return Ok(buf.len() - before);
            }
            buf.extend_from_slice(ready);
            self.consume(len);
        }
    }
}

macro_rules! read_through_the_lock {
    ($Stdin:ty) => {
        impl Read for $Stdin {
            fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
                self.lock().read(buf)
            }

            #[cfg(feature = "alloc")]
            fn read_to_end(&mut self, buf: &mut Vec<u8>) -> Result<usize> {
                self.lock().read_to_end(buf)
            }
        }
    };
}

read_through_the_lock!(Stdin);
read_through_the_lock!(&Stdin);

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Stdin").finish_non_exhaustive()
    }
}

impl fmt::Debug for StdinLock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("StdinLock").finish_non_exhaustive()
    }
}
