//! The file of a recording while it is written.

use std::{io, mem};

use super::behind::{Block, Target, Writer};
use super::blocks::Header;
use crate::FileError::{self, Write as CannotWrite};

/// Where a file is so large that its large blocks are written on a thread of their own.
const LARGE_FILE: u64 = 1 << 20;

/// Which blocks these are. A smaller one is written in less time than it takes to wake a thread.
const LARGE_BLOCK: usize = 32 << 10;

/// Writes the start and the blocks of a recording. After a failure nothing more is written: what it has left of a block
/// counts as its part only where nothing follows.
pub struct Sink {
    to: Writer,
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
        Self { to: Writer::new(to), block_at: 0, at: 0, blocks: 0, failed: None }
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
        let written = self.to.write_first(&bytes);
        self.keep_error(written)?;
        self.block_at = bytes.len() as u64;
        self.at = self.block_at;
        Ok(())
    }

    /// Whether nothing of the open block is written.
    pub fn is_new(&self) -> bool {
        self.at == self.block_at
    }

    /// Writes the open block, `heads` before `bytes`. If it is complete, another one begins, and `bytes` may be taken.
    /// Otherwise it is written again later, and must not be shorter then.
    pub fn write_block(
        &mut self,
        header: Header,
        heads: Vec<u8>,
        bytes: &mut Vec<u8>,
        is_complete: bool,
    ) -> Result<(), FileError> {
        self.check()?;
        let seek = (!self.is_new()).then_some(self.block_at);
        let number = self.blocks;
        let len;
        let written = if is_complete && bytes.len() >= LARGE_BLOCK && self.block_at >= LARGE_FILE {
            let block = Block { seek, number, header, stored: [heads, mem::take(bytes)] };
            len = block.len();
            self.to.write_soon(block).map(|free| *bytes = free)
        } else {
            let block = Block { seek, number, header, stored: [&heads[..], bytes] };
            len = block.len();
            self.to.write(&block)
        };
        self.keep_error(written)?;
        self.at = self.block_at + len;
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
