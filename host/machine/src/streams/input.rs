//! Where the guest's input comes from.

use std::fs::File;
use std::io;

use super::StreamError;
use crate::machine::Limits;
use crate::os::{InputFile, Transfer};
use crate::outcome::Stop;

/// Bytes for the guest, read in large pieces and handed out as it asks.
#[derive(Debug)]
pub struct Input {
    /// None where all there ever was is in the buffer.
    source: Option<InputFile>,
    buffer: Box<[u8]>,
    /// The part of the buffer that the guest has not had.
    unread: std::ops::Range<usize>,
}

/// What came of waiting for more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refill {
    /// There is at least one byte.
    Ready,
    /// There is none, and there never will be.
    End,
    /// The run must stop.
    Stopped(Stop),
    /// Somebody wants attention before there is any.
    Kicked,
}

impl Input {
    /// The process's standard input.
    pub fn standard() -> Result<Self, StreamError> {
        Ok(Self::reading(InputFile::standard().map_err(StreamError::Input)?))
    }

    /// A file, pipe or terminal.
    pub fn from_file(file: File) -> Self {
        Self::reading(InputFile::new(file))
    }

    fn reading(source: InputFile) -> Self {
        Self { source: Some(source), buffer: Box::default(), unread: 0..0 }
    }

    /// These bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { source: None, unread: 0..bytes.len(), buffer: bytes.into() }
    }

    /// What can be taken without waiting.
    pub(crate) fn ready(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    /// Fills as much of `bytes` as is ready, and returns how much that was.
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> usize {
        let ready = self.ready();
        let len = ready.len().min(bytes.len());
        bytes[..len].copy_from_slice(&ready[..len]);
        self.unread.start += len;
        len
    }

    /// Puts back what was taken last, when nothing is ready any more.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        debug_assert!(self.unread.is_empty());
        match self.buffer.get_mut(..bytes.len()) {
            Some(room) => room.copy_from_slice(bytes),
            // It came in many pieces.
            None => self.buffer = bytes.into(),
        }
        self.unread = 0..bytes.len();
    }

    /// Waits until something is ready.
    pub(crate) fn refill(&mut self, limits: &Limits) -> Result<Refill, StreamError> {
        const SIZE: usize = 64 << 10;
        if !self.unread.is_empty() {
            return Ok(Refill::Ready);
        }
        let Some(file) = &mut self.source else { return Ok(Refill::End) };
        if self.buffer.is_empty() {
            self.buffer = vec![0; SIZE].into();
        }
        match file.read(&mut self.buffer, limits) {
            Ok(Transfer::Bytes(0)) => {
                self.source = None;
                Ok(Refill::End)
            }
            Ok(Transfer::Bytes(len)) => {
                self.unread = 0..len;
                Ok(Refill::Ready)
            }
            Ok(Transfer::Stopped(stop)) => Ok(Refill::Stopped(stop)),
            Ok(Transfer::Kicked) => Ok(Refill::Kicked),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(StreamError::InputIsDirectory),
            Err(error) => Err(StreamError::Input(error)),
        }
    }
}
