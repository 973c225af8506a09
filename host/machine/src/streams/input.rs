//! The guest's input.

use std::fs::File;
use std::io::{self, Read};
use std::mem;
#[cfg(unix)]
use std::os::fd::OwnedFd;

use super::StreamError;
use super::any::AnyReader;
use super::file::{self, InputFile};
use crate::interrupt::Shared;

/// The guest's input, read in large pieces.
///
/// It comes from bytes, files, pipes or standard input, or with [`Input::from_reader`] from any reader.
#[derive(Debug)]
pub struct Input {
    /// `None` if all input is in the buffer.
    source: Option<Source>,
    buffer: Box<[u8]>,
    /// The part of the buffer that the guest has not read.
    unread: std::ops::Range<usize>,
    /// Where the unread part began at the last [`Self::mark`] or refill.
    marked: usize,
    /// What was taken between the last [`Self::mark`] and the last refill after it.
    taken: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    File(InputFile),
    Any(AnyReader),
}

/// The result of a refill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refill {
    /// At least one byte is ready.
    Ready,
    /// The end of input.
    End,
    /// The wait was interrupted.
    Interrupted,
}

impl Input {
    /// The process's standard input.
    pub fn standard() -> Result<Self, StreamError> {
        file::standard_input().map(|file| Self::reading(Source::File(file))).map_err(StreamError::Input)
    }

    /// No input.
    pub fn none() -> Self {
        Self::from_bytes(Vec::new())
    }

    /// These bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { source: None, unread: 0..bytes.len(), buffer: bytes.into(), marked: 0, taken: Vec::new() }
    }

    /// A file, pipe, socket or terminal. An interrupt ends a wait for its input at once.
    #[cfg(unix)]
    pub fn from_fd(fd: impl Into<OwnedFd>) -> Self {
        File::from(fd.into()).into()
    }

    /// Any reader. A thread reads ahead of the guest, so the reader may block.
    pub fn from_reader(reader: impl Read + Send + 'static) -> Self {
        Self::reading(Source::Any(AnyReader::new(reader)))
    }

    fn reading(source: Source) -> Self {
        Self { source: Some(source), ..Self::none() }
    }

    /// The bytes that are ready.
    pub(crate) fn ready(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    /// Fills as much of `bytes` as is ready. Returns the count.
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> usize {
        let ready = self.ready();
        let len = ready.len().min(bytes.len());
        bytes[..len].copy_from_slice(&ready[..len]);
        self.unread.start += len;
        len
    }

    /// Begins a transfer: [`Self::put_back`] returns to this point.
    #[inline]
    pub(crate) fn mark(&mut self) {
        self.marked = self.unread.start;
        self.taken.clear();
    }

    /// Puts back all that was taken since the last [`Self::mark`].
    pub(crate) fn put_back(&mut self) {
        self.unread.start = self.marked;
        if !self.taken.is_empty() {
            self.taken.extend_from_slice(&self.buffer[self.unread.clone()]);
            self.unread = 0..self.taken.len();
            self.buffer = mem::take(&mut self.taken).into();
            self.marked = 0;
        }
    }

    /// Waits until input is ready.
    pub(crate) fn refill(&mut self, shared: &Shared) -> Result<Refill, StreamError> {
        const SIZE: usize = 64 << 10;
        if !self.unread.is_empty() {
            return Ok(Refill::Ready);
        }
        let Some(source) = &mut self.source else { return Ok(Refill::End) };
        self.taken.extend_from_slice(&self.buffer[self.marked..self.unread.start]);
        self.marked = self.unread.start;
        if self.buffer.len() < SIZE {
            self.buffer = vec![0; SIZE].into();
            (self.unread, self.marked) = (0..0, 0);
        }
        let read = match source {
            Source::File(file) => file.read(&mut self.buffer, shared),
            Source::Any(reader) => reader.read(&mut self.buffer, shared),
        };
        match read {
            Ok(Some(0)) => {
                self.source = None;
                Ok(Refill::End)
            }
            Ok(Some(len)) => {
                self.unread = 0..len;
                self.marked = 0;
                Ok(Refill::Ready)
            }
            Ok(None) => Ok(Refill::Interrupted),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(StreamError::InputIsDirectory),
            Err(error) => Err(StreamError::Input(error)),
        }
    }
}

impl From<Vec<u8>> for Input {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_bytes(bytes)
    }
}

impl From<&[u8]> for Input {
    fn from(bytes: &[u8]) -> Self {
        Self::from_bytes(bytes.into())
    }
}

impl<const N: usize> From<&[u8; N]> for Input {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from_bytes(bytes.into())
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::from_bytes(text.into())
    }
}

/// The process's standard input. std must not have buffered any of it.
impl From<io::Stdin> for Input {
    fn from(stdin: io::Stdin) -> Self {
        // Reads through std if the descriptor cannot be duplicated.
        Self::standard().unwrap_or_else(|_| Self::from_reader(stdin))
    }
}

impl From<File> for Input {
    fn from(file: File) -> Self {
        Self::reading(Source::File(InputFile::new(file)))
    }
}

impl From<io::PipeReader> for Input {
    fn from(pipe: io::PipeReader) -> Self {
        Self::reading(Source::File(InputFile::new(pipe)))
    }
}
