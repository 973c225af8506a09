//! Any reader and any writer. A thread reads ahead, instead of the operating system's waits. Both may be non-blocking: whoever
//! started the process may have made them so.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::interrupt::Shared;

/// A reader that may block: a thread reads ahead, so that waiting for it can be interrupted.
pub struct AnyReader {
    /// The reader, until its thread starts.
    source: Option<Box<dyn Read + Send>>,
    pieces: Option<Receiver<io::Result<Vec<u8>>>>,
    /// The last piece if it did not fit the buffer, and how much of it has been read.
    rest: (Vec<u8>, usize),
}

impl AnyReader {
    /// How often a wait for input checks for an interrupt.
    const CHECK_EVERY: Duration = Duration::from_millis(5);

    pub fn new(source: impl Read + Send + 'static) -> Self {
        Self { source: Some(Box::new(source)), pieces: None, rest: (Vec::new(), 0) }
    }

    /// Waits for input and reads it; 0 bytes mean the end. `None` if the wait was interrupted.
    pub fn read(&mut self, buffer: &mut [u8], shared: &Shared) -> io::Result<Option<usize>> {
        if let Some(source) = self.source.take() {
            self.pieces = Some(read_ahead(source)?);
        }
        loop {
            let (bytes, start) = &mut self.rest;
            if *start < bytes.len() {
                let len = buffer.len().min(bytes.len() - *start);
                buffer[..len].copy_from_slice(&bytes[*start..*start + len]);
                *start += len;
                return Ok(Some(len));
            }
            let Some(pieces) = &self.pieces else { return Ok(Some(0)) };
            match shared.wait(shared.input_waits_on(), |_| pieces.recv_timeout(Self::CHECK_EVERY)) {
                None => return Ok(None),
                Some(Ok(piece)) => self.rest = (piece?, 0),
                Some(Err(RecvTimeoutError::Timeout)) => {}
                Some(Err(RecvTimeoutError::Disconnected)) => return Ok(Some(0)),
            }
        }
    }
}

impl fmt::Debug for AnyReader {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("AnyReader").finish_non_exhaustive()
    }
}

/// Starts a thread that reads until the end, an error, or until the receiver is dropped.
fn read_ahead(mut source: Box<dyn Read + Send>) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    const SIZE: usize = 64 << 10;
    let (sender, pieces) = sync_channel(1);
    thread::Builder::new().name("input".into()).spawn(move || {
        loop {
            let mut bytes = vec![0; SIZE];
            let piece = match when_ready(|| source.read(&mut bytes)) {
                Ok(0) => return,
                Ok(len) => {
                    bytes.truncate(len);
                    Ok(bytes)
                }
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

/// Calls again until there is a result, also where that takes a while.
fn when_ready<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const LATER: Duration = Duration::from_millis(5);
    loop {
        match call().map_err(|error| (error.kind(), error)) {
            Err((io::ErrorKind::Interrupted, _)) => {}
            Err((io::ErrorKind::WouldBlock, _)) => thread::sleep(LATER),
            result => return result.map_err(|(_, error)| error),
        }
    }
}

/// Writes all bytes, and what the writer has kept back.
pub fn write_all(writer: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match when_ready(|| writer.write(bytes))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            len => bytes = &bytes[len..],
        }
    }
    when_ready(|| writer.flush())
}

/// A writer. A call that blocks cannot be interrupted.
pub struct AnyWriter(Box<dyn Write + Send>);

impl AnyWriter {
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Box::new(writer))
    }

    /// Writes all bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_all(&mut self.0, bytes)?;
        Ok(bytes.len())
    }
}

impl fmt::Debug for AnyWriter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("AnyWriter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flatland_x86::Interrupt;

    use super::*;
    use crate::interrupt::reason;

    #[derive(Debug)]
    struct NoEngine;

    impl Interrupt for NoEngine {
        fn interrupt(&self) {}
    }

    #[test]
    fn what_is_read_ahead_comes_in_order_and_ends() {
        let shared = Shared::new(Arc::new(NoEngine));
        let mut reader = AnyReader::new(io::Cursor::new(b"abc".to_vec()));
        let mut buffer = [0; 2];
        assert_eq!(reader.read(&mut buffer, &shared).unwrap(), Some(2));
        assert_eq!(&buffer, b"ab");
        assert_eq!(reader.read(&mut buffer, &shared).unwrap(), Some(1));
        assert_eq!(reader.read(&mut buffer, &shared).unwrap(), Some(0));
    }

    /// Is ready every second time, for one byte.
    #[derive(Default)]
    struct Hesitating {
        is_ready: bool,
        bytes: Vec<u8>,
    }

    impl Hesitating {
        fn ready(&mut self) -> io::Result<()> {
            self.is_ready = !self.is_ready;
            if self.is_ready { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        }
    }

    impl Read for Hesitating {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.ready()?;
            Ok(self.bytes.pop().map_or(0, |byte| {
                buffer[0] = byte;
                1
            }))
        }
    }

    impl Write for Hesitating {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.ready()?;
            self.bytes.push(bytes[0]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.ready()
        }
    }

    #[test]
    fn what_is_not_ready_is_waited_for() {
        let mut writer = Hesitating::default();
        write_all(&mut writer, b"cba").unwrap();
        assert_eq!(writer.bytes, b"cba");
        let shared = Shared::new(Arc::new(NoEngine));
        let mut reader = AnyReader::new(writer);
        let mut read = Vec::new();
        let mut buffer = [0; 2];
        while let Some(len @ 1..) = reader.read(&mut buffer, &shared).unwrap() {
            read.extend_from_slice(&buffer[..len]);
        }
        assert_eq!(read, b"abc");
    }

    #[test]
    fn a_wait_that_is_interrupted_can_be_begun_again() {
        let shared = Arc::new(Shared::new(Arc::new(NoEngine)));
        let (pipe, mut sender) = io::pipe().unwrap();
        let mut reader = AnyReader::new(pipe);
        let interrupting = thread::spawn({
            let shared = shared.clone();
            move || shared.raise(reason::REQUESTED)
        });
        let mut buffer = [0; 4];
        assert_eq!(reader.read(&mut buffer, &shared).unwrap(), None);
        interrupting.join().unwrap();
        assert!(shared.clear(reason::REQUESTED));
        sender.write_all(b"x").unwrap();
        assert_eq!(reader.read(&mut buffer, &shared).unwrap(), Some(1));
    }
}
