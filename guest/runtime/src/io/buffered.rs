//! Buffers around readers and writers.

use alloc::vec::Vec;
use core::fmt;

use super::{BufRead, Read, Result, Write};

const DEFAULT_CAPACITY: usize = 8 << 10;

/// Reads through a buffer. Standard input has one already.
pub struct BufReader<R: ?Sized> {
    buffer: Vec<u8>,
    /// The bytes of the buffer from here up to `end` have not been read yet.
    start: usize,
    end: usize,
    reader: R,
}

impl<R: Read> BufReader<R> {
    /// With a buffer of 8 KiB.
    pub fn new(reader: R) -> Self {
        Self::with_capacity(DEFAULT_CAPACITY, reader)
    }

    /// With a buffer of `capacity` bytes.
    pub fn with_capacity(capacity: usize, reader: R) -> Self {
        Self { buffer: alloc::vec![0; capacity], start: 0, end: 0, reader }
    }
}

impl<R> BufReader<R> {
    /// The reader. The bytes in the buffer have been read from it already.
    pub fn get_ref(&self) -> &R {
        &self.reader
    }

    /// The reader. The bytes in the buffer have been read from it already.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The reader. The bytes in the buffer are lost.
    pub fn into_inner(self) -> R {
        self.reader
    }
}

impl<R: Read + ?Sized> Read for BufReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        if self.start == self.end && buf.len() >= self.buffer.len() {
            return self.reader.read(buf);
        }
        let len = self.fill_buf()?.read(buf)?;
        self.consume(len);
        Ok(len)
    }
}

impl<R: Read + ?Sized> BufRead for BufReader<R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.end = self.reader.read(&mut self.buffer)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.end);
    }
}

impl<R: fmt::Debug + ?Sized> fmt::Debug for BufReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("BufReader").field("reader", &&self.reader).finish_non_exhaustive()
    }
}

/// Writes through a buffer. The buffer is sent when it is full, at `flush`, and when the writer is dropped.
pub struct BufWriter<W: Write + ?Sized> {
    buffer: Vec<u8>,
    writer: W,
}

impl<W: Write> BufWriter<W> {
    /// With a buffer of 8 KiB.
    pub fn new(writer: W) -> Self {
        Self::with_capacity(DEFAULT_CAPACITY, writer)
    }

    /// With a buffer of `capacity` bytes.
    pub fn with_capacity(capacity: usize, writer: W) -> Self {
        Self { buffer: Vec::with_capacity(capacity), writer }
    }
}

impl<W: Write + ?Sized> BufWriter<W> {
    /// The writer.
    pub fn get_ref(&self) -> &W {
        &self.writer
    }

    /// The writer.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    fn write_buffer(&mut self) -> Result<()> {
        let result = self.writer.write_all(&self.buffer);
        self.buffer.clear();
        result
    }
}

impl<W: Write + ?Sized> Write for BufWriter<W> {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        if self.buffer.len() + buf.len() > self.buffer.capacity() {
            self.write_buffer()?;
        }
        if buf.len() >= self.buffer.capacity() {
            return self.writer.write(buf);
        }
        self.buffer.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.write_buffer()?;
        self.writer.flush()
    }
}

impl<W: Write + ?Sized> Drop for BufWriter<W> {
    fn drop(&mut self) {
        // `drop` cannot return an error.
        let _ = self.write_buffer();
    }
}

impl<W: Write + fmt::Debug + ?Sized> fmt::Debug for BufWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("BufWriter").field("writer", &&self.writer).finish_non_exhaustive()
    }
}
