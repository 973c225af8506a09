//! Where the guest's output goes.

use std::io;
use std::time::Duration;

use super::StreamError;
use crate::machine::Limits;
use crate::os::{OutputFile, Transfer};
use crate::outcome::Stop;

/// Bytes from the guest, collected and written in large pieces.
#[derive(Debug)]
pub struct Output {
    /// None where they stay in the buffer.
    sink: Option<Sink>,
    buffer: Vec<u8>,
    last_byte: Option<u8>,
}

#[derive(Debug)]
struct Sink {
    file: OutputFile,
    name: &'static str,
    /// What becomes of the run if it fails.
    on_failure: OnFailure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    /// It ends.
    End,
    /// It goes on, and nobody sees what is sent from then on.
    GoOn,
}

/// What came of writing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// All is written.
    Done,
    /// The run must stop; the rest is still in the buffer.
    Stopped(Stop),
}

impl Output {
    /// The most that is collected, in bytes.
    const CAPACITY: usize = 64 << 10;
    /// The longest that a byte is kept while the guest computes.
    pub(crate) const PATIENCE: Duration = Duration::from_millis(20);

    /// The process's standard output.
    pub fn standard_output() -> Result<Self, StreamError> {
        Self::standard(OutputFile::standard_output(), "standard output", OnFailure::End)
    }

    /// The process's standard error. As for any program, it is no reason to fail that nobody reads its
    /// complaints.
    pub fn standard_error() -> Result<Self, StreamError> {
        Self::standard(OutputFile::standard_error(), "standard error", OnFailure::GoOn)
    }

    fn standard(
        file: io::Result<OutputFile>,
        name: &'static str,
        on_failure: OnFailure,
    ) -> Result<Self, StreamError> {
        match file {
            Ok(file) => Ok(Self { sink: Some(Sink { file, name, on_failure }), ..Self::memory() }),
            Err(cause) => Err(StreamError::Output { stream: name, cause, lost: 0 }),
        }
    }

    /// Keeps everything, for [`Self::bytes`].
    pub fn memory() -> Self {
        Self { sink: None, buffer: Vec::new(), last_byte: None }
    }

    /// What has not been written anywhere: with [`Self::memory`], everything.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Whether the guest's last line has no end.
    pub(crate) fn mid_line(&self) -> bool {
        self.last_byte.is_some_and(|byte| byte != b'\n')
    }

    /// Whether something waits to be written.
    pub(crate) fn is_waiting(&self) -> bool {
        self.sink.is_some() && !self.buffer.is_empty()
    }

    /// Collects bytes, and writes when there are many.
    pub(crate) fn send(&mut self, bytes: &[u8], limits: &Limits) -> Result<Flush, StreamError> {
        let Some(last) = bytes.last() else { return Ok(Flush::Done) };
        self.last_byte = Some(*last);
        self.buffer.extend_from_slice(bytes);
        if self.sink.is_none() {
            return Ok(Flush::Done);
        }
        if self.buffer.len() >= Self::CAPACITY { self.flush(limits) } else { Ok(Flush::Done) }
    }

    /// Writes all there is, waiting as long as it takes or the run may last.
    pub(crate) fn flush(&mut self, limits: &Limits) -> Result<Flush, StreamError> {
        let Some(sink) = &mut self.sink else { return Ok(Flush::Done) };
        let mut written = 0;
        let result = loop {
            if written == self.buffer.len() {
                break Ok(Flush::Done);
            }
            match sink.file.write(&self.buffer[written..], limits) {
                Ok(Transfer::Bytes(0)) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(Transfer::Bytes(len)) => {
                    written += len;
                    // A signal may have cut the write short, and would not come again.
                    if written < self.buffer.len()
                        && let Some(stop) = limits.stop()
                    {
                        break Ok(Flush::Stopped(stop));
                    }
                }
                Ok(Transfer::Stopped(stop)) => break Ok(Flush::Stopped(stop)),
                Ok(Transfer::Kicked) => {}
                Err(error) => break Err(error),
            }
        };
        self.forget(written);
        result.or_else(|error| self.failed(error).map(|()| Flush::Done))
    }

    /// Writes what can be written in this time, for a run that has been stopped: a reader that does not read
    /// must not hold it up. What is left stays in [`Self::bytes`].
    pub(crate) fn flush_within(&mut self, time: Duration) -> Result<(), StreamError> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        match sink.file.write_within(&self.buffer, time) {
            Ok(written) => {
                self.forget(written);
                Ok(())
            }
            Err(error) => self.failed(error),
        }
    }

    /// Drops the first bytes of the buffer, which are written.
    fn forget(&mut self, written: usize) {
        self.buffer.drain(..written);
    }

    /// Says what a write failed of, if that matters, and drops what will never be written.
    fn failed(&mut self, cause: io::Error) -> Result<(), StreamError> {
        let lost = self.buffer.len();
        self.forget(lost);
        let (stream, on_failure) = match &self.sink {
            Some(sink) => (sink.name, sink.on_failure),
            None => ("output", OnFailure::End),
        };
        match cause.kind() {
            _ if on_failure == OnFailure::GoOn => Ok(()),
            io::ErrorKind::BrokenPipe => Err(StreamError::Closed),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Err(StreamError::Full { stream, cause, lost })
            }
            _ => Err(StreamError::Output { stream, cause, lost }),
        }
    }
}
