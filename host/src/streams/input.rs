//! Where the guest's input comes from.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use nix::poll::PollFlags;

use super::{StreamError, wait::wait};
use crate::machine::Limits;
use crate::outcome::Stop;

/// Bytes for the guest, read in large pieces and handed out as it asks.
#[derive(Debug)]
pub struct Input {
    /// None where all there ever was is in the buffer.
    source: Option<File>,
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
}

impl Input {
    /// The process's standard input.
    pub fn standard() -> Result<Self, StreamError> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(StreamError::Input)?;
        Ok(Self::from_file(stdin.into()))
    }

    /// A file, pipe or terminal.
    pub fn from_file(file: File) -> Self {
        Self { source: Some(file), buffer: Box::default(), unread: 0..0 }
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
        loop {
            if let Some(stop) = wait(file.as_fd(), PollFlags::POLLIN, limits)
                .map_err(|errno| StreamError::Input(errno.into()))?
            {
                return Ok(Refill::Stopped(stop));
            }
            match file.read(&mut self.buffer) {
                Ok(0) => {
                    self.source = None;
                    return Ok(Refill::End);
                }
                Ok(len) => {
                    self.unread = 0..len;
                    return Ok(Refill::Ready);
                }
                // Somebody else took what there was, or a signal came: wait again.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                    return Err(StreamError::InputIsDirectory);
                }
                Err(error) => return Err(StreamError::Input(error)),
            }
        }
    }
}
