//! Files, pipes and terminals: a thread reads ahead, so that waiting for it can have an end.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::bell::is_rung;
use crate::machine::Limits;
use crate::os::{Transfer, TransferResult};

/// Something to read.
pub struct InputFile {
    /// Until the thread that reads is started.
    source: Option<Box<dyn Read + Send>>,
    pieces: Option<Receiver<io::Result<Vec<u8>>>>,
    /// What did not fit the buffer, and how much of it has been handed out.
    rest: (Vec<u8>, usize),
}

impl InputFile {
    /// The longest time without a look at the limits.
    const PATIENCE: Duration = Duration::from_millis(50);

    /// Standard input.
    pub fn standard() -> io::Result<Self> {
        Ok(Self::reading(Box::new(io::stdin())))
    }

    /// A file, pipe or terminal.
    pub fn new(file: File) -> Self {
        Self::reading(Box::new(file))
    }

    fn reading(source: Box<dyn Read + Send>) -> Self {
        Self { source: Some(source), pieces: None, rest: (Vec::new(), 0) }
    }

    /// Waits until there is something, and reads it.
    pub fn read(&mut self, buffer: &mut [u8], limits: &Limits) -> TransferResult {
        if let Some(source) = self.source.take() {
            self.pieces = Some(read_ahead(source)?);
        }
        loop {
            let (bytes, start) = &mut self.rest;
            if *start < bytes.len() {
                let len = buffer.len().min(bytes.len() - *start);
                buffer[..len].copy_from_slice(&bytes[*start..*start + len]);
                *start += len;
                return Ok(Transfer::Bytes(len));
            }
            if let Some(stop) = limits.stop() {
                return Ok(Transfer::Stopped(stop));
            }
            if limits.comes_back() && is_rung() {
                return Ok(Transfer::Kicked);
            }
            let patience = limits.remaining().unwrap_or(Self::PATIENCE).min(Self::PATIENCE);
            let Some(pieces) = &self.pieces else { return Ok(Transfer::Bytes(0)) };
            match pieces.recv_timeout(patience) {
                Ok(piece) => self.rest = (piece?, 0),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Transfer::Bytes(0)),
            }
        }
    }
}

impl fmt::Debug for InputFile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("InputFile").finish_non_exhaustive()
    }
}

/// Starts a thread that reads until the end, an error, or until nobody wants more.
fn read_ahead(mut source: Box<dyn Read + Send>) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    const SIZE: usize = 64 << 10;
    let (sender, pieces) = sync_channel(1);
    thread::Builder::new().name("input".into()).spawn(move || {
        loop {
            let mut bytes = vec![0; SIZE];
            let piece = match source.read(&mut bytes) {
                Ok(0) => return,
                Ok(len) => {
                    bytes.truncate(len);
                    Ok(bytes)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = piece.is_err();
            if sender.send(piece).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(pieces)
}

/// Something to write.
pub struct OutputFile(Box<dyn Write + Send>);

impl OutputFile {
    /// Standard output.
    pub fn standard_output() -> io::Result<Self> {
        Ok(Self(Box::new(io::stdout())))
    }

    /// Standard error.
    pub fn standard_error() -> io::Result<Self> {
        Ok(Self(Box::new(io::stderr())))
    }

    /// Writes it all, however long it takes.
    pub fn write(&mut self, bytes: &[u8], _: &Limits) -> TransferResult {
        self.0.write_all(bytes)?;
        self.0.flush()?;
        Ok(Transfer::Bytes(bytes.len()))
    }

    /// Writes it all: there is no telling how long it will take.
    pub fn write_within(&mut self, bytes: &[u8], _: Duration) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.0.flush()?;
        Ok(bytes.len())
    }
}

impl fmt::Debug for OutputFile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("OutputFile").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::outcome::Stop;

    #[test]
    fn everything_is_read_in_order_and_then_the_end() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|index| (index ^ index >> 8) as u8).collect();
        let mut input = InputFile::reading(Box::new(io::Cursor::new(bytes.clone())));
        let mut read = Vec::new();
        let mut buffer = [0; 1000];
        while let Transfer::Bytes(len @ 1..) = input.read(&mut buffer, &Limits::from_now(None)).unwrap() {
            read.extend_from_slice(&buffer[..len]);
        }
        assert!(read == bytes);
    }

    #[test]
    fn waiting_ends_at_the_time_limit() {
        struct Never;
        impl Read for Never {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                loop {
                    thread::park();
                }
            }
        }
        let limit = Duration::from_millis(20);
        let limits = Limits::from_now(Some(limit));
        let start = Instant::now();
        let result = InputFile::reading(Box::new(Never)).read(&mut [0], &limits).unwrap();
        assert!(matches!(result, Transfer::Stopped(Stop::TimeLimit(_))), "{result:?}");
        assert!(start.elapsed() >= limit);
    }
}
