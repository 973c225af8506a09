//! The file of a recording while it is written.

use std::io::{self, IoSlice, Seek, SeekFrom, Write};

use super::blocks::{Header, checksum};
use crate::FileError::{self, Write as CannotWrite};

/// What a recording is written to.
pub trait Target: Write + Seek + Send {}

impl<T: Write + Seek + Send> Target for T {}

/// Writes the start and the blocks of a recording. After a failure nothing more is written: what it has left of a block
/// counts as its part only where nothing follows.
pub struct Sink {
    to: Box<dyn Target>,
    /// Where the open block begins.
    block_at: u64,
    /// Where the next write goes.
    at: u64,
    /// How many blocks are complete.
    blocks: u32,
    failed: Option<io::Error>,
}

impl Sink {
    pub fn new(to: Box<dyn Target>) -> Self {
        Self { to, block_at: 0, at: 0, blocks: 0, failed: None }
    }

    /// Writes what stands before the blocks.
    pub fn write_start(&mut self, bytes: Result<Vec<u8>, FileError>) -> Result<(), FileError> {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                self.failed = Some(io::Error::other(error.to_string()));
                return Err(error);
            }
        };
        let written = self.to.rewind().and_then(|()| self.to.write_all(&bytes));
        self.keep_error(written)?;
        self.block_at = bytes.len() as u64;
        self.at = self.block_at;
        Ok(())
    }

    /// Whether nothing of the open block is written.
    pub fn is_new(&self) -> bool {
        self.at == self.block_at
    }

    /// Writes the open block. If it is complete, another one begins. Otherwise it is written again later, and must not be
    /// shorter then.
    pub fn write_block(
        &mut self,
        header: Header,
        stored: [&[u8]; 3],
        is_complete: bool,
    ) -> Result<(), FileError> {
        self.check()?;
        let header = header.to_bytes();
        let [one, two, three] = stored;
        let sum = checksum(self.blocks, &[&header, one, two, three]).to_le_bytes();
        let parts = [&header, one, two, three, &sum];
        let sought = match self.is_new() {
            true => Ok(()),
            false => self.to.seek(SeekFrom::Start(self.block_at)).map(drop),
        };
        let written = sought.and_then(|()| write_all(&mut self.to, parts));
        self.keep_error(written)?;
        self.at = self.block_at + parts.iter().map(|part| part.len() as u64).sum::<u64>();
        if is_complete {
            self.block_at = self.at;
            self.blocks += 1;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> Result<(), FileError> {
        self.check()?;
        let flushed = self.to.flush();
        self.keep_error(flushed)
    }

    /// The first error, if there was one.
    pub fn check(&self) -> Result<(), FileError> {
        match &self.failed {
            Some(error) => Err(CannotWrite(same_error(error))),
            None => Ok(()),
        }
    }

    fn keep_error(&mut self, written: io::Result<()>) -> Result<(), FileError> {
        self.failed = written.err();
        self.check()
    }
}

/// An error with the same words.
fn same_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Writes all of the parts, with few calls.
fn write_all(to: &mut dyn Write, parts: [&[u8]; 5]) -> io::Result<()> {
    let mut slices = parts.map(IoSlice::new);
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match to.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
