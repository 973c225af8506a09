//! Where the guest's output goes.

#[cfg(target_os = "linux")]
use std::fs::File;
use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::StreamError;
use super::any::AnyWriter;
#[cfg(target_os = "linux")]
use super::file::OutputFile;
use crate::interrupt::Shared;

/// Bytes from the guest, collected and written in large pieces.
///
/// Kept in memory, or written to a file, a pipe, standard output, or with [`Output::from_writer`] to any writer.
#[derive(Debug)]
pub struct Output {
    /// None where they stay in the buffer.
    sink: Option<Sink>,
    buffer: Vec<u8>,
    last_byte: Option<u8>,
    /// Whether bytes may wait to be written.
    is_buffered: bool,
}

#[derive(Debug)]
struct Sink {
    writer: Writer,
    name: &'static str,
    /// What becomes of the run if it fails.
    on_failure: OnFailure,
}

#[derive(Debug)]
enum Writer {
    #[cfg(target_os = "linux")]
    File(OutputFile),
    Any(AnyWriter),
}

impl Writer {
    fn write(&mut self, bytes: &[u8], shared: &Shared) -> io::Result<Option<usize>> {
        match self {
            #[cfg(target_os = "linux")]
            Self::File(file) => file.write(bytes, shared),
            Self::Any(writer) => writer.write(bytes).map(Some),
        }
    }

    fn write_within(&mut self, bytes: &[u8], time: Duration) -> io::Result<usize> {
        match self {
            #[cfg(target_os = "linux")]
            Self::File(file) => file.write_within(bytes, time),
            // How long a call takes is not known: it is made.
            Self::Any(writer) => writer.write(bytes),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    /// It ends.
    End,
    /// It goes on, and nobody sees what is sent from then on.
    GoOn,
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// All is written.
    Done,
    /// The run is to come back; the rest is still in the buffer.
    Interrupted,
}

impl Output {
    /// The most that is collected, in bytes.
    const CAPACITY: usize = 64 << 10;

    /// The process's standard output.
    pub fn standard_output() -> Result<Self, StreamError> {
        #[cfg(target_os = "linux")]
        return Self::standard(io::stdout().as_fd(), "standard output", OnFailure::End);
        #[cfg(not(target_os = "linux"))]
        return Ok(Self::named(Writer::Any(AnyWriter::new(io::stdout())), "standard output", OnFailure::End));
    }

    /// The process's standard error. As for any program, it is no reason to fail that nobody reads its
    /// complaints.
    pub fn standard_error() -> Result<Self, StreamError> {
        #[cfg(target_os = "linux")]
        return Self::standard(io::stderr().as_fd(), "standard error", OnFailure::GoOn);
        #[cfg(not(target_os = "linux"))]
        return Ok(Self::named(Writer::Any(AnyWriter::new(io::stderr())), "standard error", OnFailure::GoOn));
    }

    #[cfg(target_os = "linux")]
    fn standard(
        fd: std::os::fd::BorrowedFd,
        name: &'static str,
        on_failure: OnFailure,
    ) -> Result<Self, StreamError> {
        match fd.try_clone_to_owned() {
            Ok(fd) => Ok(Self::named(Writer::File(OutputFile::new(fd)), name, on_failure)),
            Err(cause) => Err(StreamError::Output { stream: name, cause, lost: 0 }),
        }
    }

    /// A file, pipe, socket or terminal. An interrupt ends a wait for its reader at once.
    #[cfg(target_os = "linux")]
    pub fn from_fd(fd: impl Into<OwnedFd>) -> Self {
        Self::named(Writer::File(OutputFile::new(fd.into())), "the output", OnFailure::End)
    }

    /// Any writer. One of its calls that blocks cannot be interrupted.
    pub fn from_writer(writer: impl Write + Send + 'static) -> Self {
        Self::named(Writer::Any(AnyWriter::new(writer)), "the output", OnFailure::End)
    }

    fn named(writer: Writer, name: &'static str, on_failure: OnFailure) -> Self {
        Self { sink: Some(Sink { writer, name, on_failure }), ..Self::memory() }
    }

    /// Keeps everything, for [`Self::bytes`].
    pub fn memory() -> Self {
        Self { sink: None, buffer: Vec::new(), last_byte: None, is_buffered: true }
    }

    /// Has each byte written as it comes, or has them collected again.
    pub(crate) fn set_buffered(&mut self, buffered: bool) {
        self.is_buffered = buffered;
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

    /// Collects bytes, and writes when there are many. What cannot be written now is kept.
    pub(crate) fn send(&mut self, bytes: &[u8], shared: &Shared) -> Result<(), StreamError> {
        let Some(last) = bytes.last() else { return Ok(()) };
        self.last_byte = Some(*last);
        self.buffer.extend_from_slice(bytes);
        if self.sink.is_some() && (self.buffer.len() >= Self::CAPACITY || !self.is_buffered) {
            self.flush(shared)?;
        }
        Ok(())
    }

    /// Writes all there is, waiting as long as it takes.
    pub(crate) fn flush(&mut self, shared: &Shared) -> Result<Flush, StreamError> {
        let Some(sink) = &mut self.sink else { return Ok(Flush::Done) };
        let mut written = 0;
        let result = loop {
            if written == self.buffer.len() {
                break Ok(Flush::Done);
            }
            match sink.writer.write(&self.buffer[written..], shared) {
                Ok(Some(0)) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(Some(len)) => written += len,
                Ok(None) => break Ok(Flush::Interrupted),
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
        match sink.writer.write_within(&self.buffer, time) {
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

/// Keeps what comes behind these bytes, for [`Output::bytes`].
impl From<Vec<u8>> for Output {
    fn from(bytes: Vec<u8>) -> Self {
        Self { buffer: bytes, ..Self::memory() }
    }
}

#[cfg(target_os = "linux")]
impl From<File> for Output {
    fn from(file: File) -> Self {
        Self::from_fd(file)
    }
}

#[cfg(target_os = "linux")]
impl From<io::PipeWriter> for Output {
    fn from(pipe: io::PipeWriter) -> Self {
        Self::from_fd(pipe)
    }
}

impl From<io::Stdout> for Output {
    fn from(stdout: io::Stdout) -> Self {
        // Where no descriptor is left, it is written through std.
        Self::standard_output().unwrap_or_else(|_| Self::from_writer(stdout))
    }
}

impl From<io::Stderr> for Output {
    fn from(stderr: io::Stderr) -> Self {
        Self::standard_error().unwrap_or_else(|_| Self::from_writer(stderr))
    }
}
