//! The traits `Read` and `BufRead`.

#[cfg(feature = "alloc")]
use alloc::{boxed::Box, string::String, vec::Vec};

use super::{Error, ErrorKind, Result};

/// A source of bytes.
pub trait Read {
    /// Reads some bytes, and returns how many. It waits for the first one; 0 is the end of input.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize>;

    /// Appends the rest of the input, and returns how many bytes that was.
    #[cfg(feature = "alloc")]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> Result<usize> {
        let before = buf.len();
        let mut chunk = [0; 1024];
        loop {
            match self.read(&mut chunk) {
                Ok(0) => return Ok(buf.len() - before),
                Ok(len) => buf.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Appends the rest of the input, and returns how many bytes that was.
    ///
    /// # Errors
    ///
    /// Of the kind `InvalidData` if the input is not UTF-8; nothing is then appended.
    #[cfg(feature = "alloc")]
    fn read_to_string(&mut self, buf: &mut String) -> Result<usize> {
        append_utf8(buf, |bytes| self.read_to_end(bytes))
    }

    /// Fills the whole slice.
    ///
    /// # Errors
    ///
    /// Of the kind `UnexpectedEof` if the input ends first.
    fn read_exact(&mut self, mut buf: &mut [u8]) -> Result<()> {
        while !buf.is_empty() {
            match self.read(buf) {
                Ok(0) => return Err(Error::UNEXPECTED_EOF),
                Ok(len) => buf = &mut buf[len..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Borrows the reader, so that it can be used after an adapter that takes it.
    fn by_ref(&mut self) -> &mut Self
    where
        Self: Sized,
    {
        self
    }

    /// The bytes one by one.
    fn bytes(self) -> Bytes<Self>
    where
        Self: Sized,
    {
        Bytes { reader: self }
    }

    /// A reader that ends after `limit` bytes.
    fn take(self, limit: u64) -> Take<Self>
    where
        Self: Sized,
    {
        Take { reader: self, limit }
    }
}

/// A reader with a buffer, which can be read by lines.
pub trait BufRead: Read {
    /// The bytes in the buffer. If it is empty, waits for input. An empty slice is the end of input.
    fn fill_buf(&mut self) -> Result<&[u8]>;

    /// Removes `amount` bytes from the buffer.
    fn consume(&mut self, amount: usize);

    /// Appends input up to and including this byte, or up to the end of input. Returns the number of bytes.
    #[cfg(feature = "alloc")]
    fn read_until(&mut self, byte: u8, buf: &mut Vec<u8>) -> Result<usize> {
        let before = buf.len();
        loop {
            let ready = match self.fill_buf() {
                Ok(ready) => ready,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = ready.iter().position(|&other| other == byte);
            let len = end.map_or(ready.len(), |end| end + 1);
            buf.extend_from_slice(&ready[..len]);
            self.consume(len);
            if end.is_some() || len == 0 {
                return Ok(buf.len() - before);
            }
        }
    }

    /// Appends a line with its `\n`, or the input up to its end. Returns the number of bytes; 0 is the end of input.
    ///
    /// # Errors
    ///
    /// Of the kind `InvalidData` if the line is not UTF-8; nothing is then appended, and the next line can be read.
    #[cfg(feature = "alloc")]
    fn read_line(&mut self, buf: &mut String) -> Result<usize> {
        append_utf8(buf, |bytes| self.read_until(b'\n', bytes))
    }

    /// The lines up to the end of input, each without its `\n` or `\r\n`.
    #[cfg(feature = "alloc")]
    fn lines(self) -> Lines<Self>
    where
        Self: Sized,
    {
        Lines { reader: self }
    }

    /// The parts of the input between bytes of this value, without these.
    #[cfg(feature = "alloc")]
    fn split(self, byte: u8) -> Split<Self>
    where
        Self: Sized,
    {
        Split { reader: self, delimiter: byte }
    }
}

/// Appends what `read` reads, if it is UTF-8.
#[cfg(feature = "alloc")]
fn append_utf8(text: &mut String, read: impl FnOnce(&mut Vec<u8>) -> Result<usize>) -> Result<usize> {
    let mut bytes = Vec::new();
    let len = read(&mut bytes)?;
    text.push_str(str::from_utf8(&bytes).map_err(|_| Error::INVALID_UTF8)?);
    Ok(len)
}

/// The bytes of a reader: see [`Read::bytes`].
#[derive(Debug)]
pub struct Bytes<R> {
    reader: R,
}

impl<R: Read> Iterator for Bytes<R> {
    type Item = Result<u8>;

    fn next(&mut self) -> Option<Result<u8>> {
        let mut byte = [0];
        loop {
            match self.reader.read(&mut byte) {
                Ok(0) => return None,
                Ok(_) => return Some(Ok(byte[0])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A reader that ends early: see [`Read::take`].
#[derive(Debug)]
pub struct Take<R> {
    reader: R,
    limit: u64,
}

impl<R> Take<R> {
    /// How many bytes can still be read.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The reader.
    pub fn into_inner(self) -> R {
        self.reader
    }

    fn at_most(&self, len: usize) -> usize {
        self.limit.min(len as u64) as usize
    }
}

impl<R: Read> Read for Take<R> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let len = self.at_most(buf.len());
        if len == 0 {
            return Ok(0);
        }
        let len = self.reader.read(&mut buf[..len])?;
        self.limit -= len as u64;
        Ok(len)
    }
}

impl<R: BufRead> BufRead for Take<R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        if self.limit == 0 {
            return Ok(&[]);
        }
        let limit = self.limit;
        let ready = self.reader.fill_buf()?;
        Ok(&ready[..limit.min(ready.len() as u64) as usize])
    }

    fn consume(&mut self, amount: usize) {
        let amount = self.at_most(amount);
        self.limit -= amount as u64;
        self.reader.consume(amount);
    }
}

/// The lines of a reader: see [`BufRead::lines`].
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct Lines<B> {
    reader: B,
}

#[cfg(feature = "alloc")]
impl<B: BufRead> Iterator for Lines<B> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(error)),
        }
        if line.ends_with('\n') {
            line.pop();
            if line.ends_with('\r') {
                line.pop();
            }
        }
        Some(Ok(line))
    }
}

/// The parts of a reader: see [`BufRead::split`].
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct Split<B> {
    reader: B,
    delimiter: u8,
}

#[cfg(feature = "alloc")]
impl<B: BufRead> Iterator for Split<B> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        let mut part = Vec::new();
        match self.reader.read_until(self.delimiter, &mut part) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(error)),
        }
        if part.last() == Some(&self.delimiter) {
            part.pop();
        }
        Some(Ok(part))
    }
}

impl Read for &[u8] {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let len = self.len().min(buf.len());
        let (read, rest) = self.split_at(len);
        buf[..len].copy_from_slice(read);
        *self = rest;
        Ok(len)
    }
}

impl BufRead for &[u8] {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        Ok(self)
    }

    fn consume(&mut self, amount: usize) {
        *self = &self[amount..];
    }
}

macro_rules! forward {
    ($(#[$attribute:meta])* $Reader:ident in $Pointer:ty) => {
        $(#[$attribute])*
        impl<$Reader: Read + ?Sized> Read for $Pointer {
            fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
                (**self).read(buf)
            }

            #[cfg(feature = "alloc")]
            fn read_to_end(&mut self, buf: &mut Vec<u8>) -> Result<usize> {
                (**self).read_to_end(buf)
            }
        }

        $(#[$attribute])*
        impl<$Reader: BufRead + ?Sized> BufRead for $Pointer {
            fn fill_buf(&mut self) -> Result<&[u8]> {
                (**self).fill_buf()
            }

            fn consume(&mut self, amount: usize) {
                (**self).consume(amount);
            }
        }
    };
}

forward!(R in &mut R);
forward!(
    #[cfg(feature = "alloc")]
    R in Box<R>
);
