//! The guest's output.

#[cfg(target_os = "linux")]
use std::fs::File;
use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::StreamError;
use super::any::AnyWriter;
#[cfg(target_os = "linux")]
use super::file::OutputFile;
use crate::interrupt::Shared;

/// The guest's output, collected and written in large pieces.
///
/// It goes to memory, a file, a pipe or standard output, or with [`Output::from_writer`] to any writer.
#[derive(Debug)]
pub struct Output {
    /// `None` if output stays in the buffer.
    sink: Option<Sink>,
    buffer: Vec<u8>,
    /// Whether bytes may wait to be written.
    is_buffered: bool,
    /// Whether they wait until their line has an end: see [`Machine::set_whole_lines`](crate::Machine::set_whole_lines).
    whole_lines: bool,
    /// Diagnostics only: what is sent here is sent to the output instead, since both are written to one place.
    pub(super) is_joined: bool,
    /// Whether the last byte that was written is in the middle of a line. Outputs to one place share this.
    is_mid_line: Arc<AtomicBool>,
    /// Nobody reads it any more.
    is_lost: bool,
}

#[derive(Debug)]
struct Sink {
    writer: Writer,
    name: &'static str,
    /// What to do if it fails.
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
            // A call may take longer: there is no way to limit it.
            Self::Any(writer) => writer.write(bytes),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    /// End the run.
    End,
    /// Continue, and discard the output.
    GoOn,
}

/// The result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// All bytes are written.
    Done,
    /// Interrupted; the rest is still in the buffer.
    Interrupted,
}

impl Output {
    /// The most bytes that are collected.
    const CAPACITY: usize = 64 << 10;

    /// The longest part of a line that waits for the rest of it, in bytes.
    const LONGEST_PART: usize = 4 << 10;

    /// The process's standard output.
    pub fn standard_output() -> Result<Self, StreamError> {
        #[cfg(target_os = "linux")]
        return Self::standard(io::stdout().as_fd(), "standard output", OnFailure::End);
        #[cfg(not(target_os = "linux"))]
        return Ok(Self::named(Writer::Any(AnyWriter::new(io::stdout())), "standard output", OnFailure::End));
    }

    /// The process's standard error. If it cannot be written, the run continues.
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

    /// Keeps all output in memory, for [`Self::bytes`].
    pub fn memory() -> Self {
        Self {
            sink: None,
            buffer: Vec::new(),
            is_buffered: true,
            whole_lines: false,
            is_joined: false,
            is_mid_line: Arc::default(),
            is_lost: false,
        }
    }

    /// Sets whether output is buffered, or written as it comes.
    pub(crate) fn set_buffered(&mut self, buffered: bool) {
        self.is_buffered = buffered;
    }

    /// Has the beginning of a line wait for its end, or not.
    pub(crate) fn set_whole_lines(&mut self, whole: bool) {
        self.whole_lines = whole;
    }

    /// Looks whether both are written to one file, pipe or terminal. If so, each knows from now on where the other one has
    /// ended.
    pub(crate) fn share_place(&mut self, other: &mut Self) {
        let is_same = match (&self.sink, &other.sink) {
            #[cfg(target_os = "linux")]
            (
                Some(Sink { writer: Writer::File(file), .. }),
                Some(Sink { writer: Writer::File(other), .. }),
            ) => file.is_same(other),
            _ => false,
        };
        if is_same {
            other.is_mid_line = self.is_mid_line.clone();
        }
    }

    /// Whether both are written to one place.
    pub(super) fn shares_place(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.is_mid_line, &other.is_mid_line)
    }

    /// Takes what waits in another one.
    pub(super) fn take(&mut self, other: &mut Self) {
        self.buffer.append(&mut other.buffer);
    }

    /// What has not been written anywhere: with [`Self::memory`], everything.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Whether something waits to be written.
    pub(crate) fn is_waiting(&self) -> bool {
        self.sink.is_some() && !self.buffer.is_empty()
    }

    /// Whether something waits that need not wait for the end of its line.
    pub(crate) fn is_due(&self) -> bool {
        self.sink.is_some() && self.due() > 0
    }

    /// How much of the buffer need not wait for the end of its line.
    fn due(&self) -> usize {
        if !self.whole_lines {
            return self.buffer.len();
        }
        let longest = self.buffer.len().saturating_sub(Self::LONGEST_PART);
        match end_of_lines(&self.buffer[longest..]) {
            0 if longest > 0 => self.buffer.len(),
            end => longest + end,
        }
    }

    /// Collects bytes, and writes when there are many. What cannot be written now is kept.
    pub(crate) fn send(&mut self, bytes: &[u8], shared: &Shared) -> Result<(), StreamError> {
        if self.is_lost {
            return Ok(());
        }
        self.buffer.extend_from_slice(bytes);
        self.flush_if_much(shared)
    }

    /// Puts a line of the host's before the one that the guest has begun, or below the part of that that is written.
    /// An error if nobody reads it any more.
    pub(crate) fn note(&mut self, line: &str, shared: &Shared) -> Result<(), StreamError> {
        if self.is_lost {
            return Err(StreamError::Closed);
        }
        if self.whole_lines && self.due() == self.buffer.len() && self.buffer.last() != Some(&b'\n') {
            self.flush(shared)?;
        }
        let at = end_of_lines(&self.buffer);
        let is_cut = at == 0 && self.is_mid_line.load(Ordering::Relaxed);
        let line = format!("{}{line}\n", if is_cut { "\n" } else { "" });
        self.buffer.splice(at..at, line.bytes());
        self.flush_if_much(shared)
    }

    fn flush_if_much(&mut self, shared: &Shared) -> Result<(), StreamError> {
        if self.sink.is_some() && (self.buffer.len() >= Self::CAPACITY || !self.is_buffered) {
            self.flush_due(shared)?;
        }
        Ok(())
    }

    /// Writes the whole buffer, and waits as long as it takes.
    pub(crate) fn flush(&mut self, shared: &Shared) -> Result<Flush, StreamError> {
        self.flush_first(self.buffer.len(), shared)
    }

    /// Writes all that need not wait for the end of its line.
    pub(crate) fn flush_due(&mut self, shared: &Shared) -> Result<Flush, StreamError> {
        self.flush_first(self.due(), shared)
    }

    /// Writes the first `len` bytes of the buffer.
    fn flush_first(&mut self, len: usize, shared: &Shared) -> Result<Flush, StreamError> {
        let Some(sink) = &mut self.sink else { return Ok(Flush::Done) };
        let mut written = 0;
        let result = loop {
            if written == len {
                break Ok(Flush::Done);
            }
            match sink.writer.write(&self.buffer[written..len], shared) {
                Ok(Some(0)) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(Some(len)) => written += len,
                Ok(None) => break Ok(Flush::Interrupted),
                Err(error) => break Err(error),
            }
        };
        self.forget(written);
        result.or_else(|error| self.failed(error).map(|()| Flush::Done))
    }

    /// Writes as much as possible in this time, for a run that was stopped while its reader does not read. The rest stays in
    /// [`Self::bytes`].
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
        if let Some(last) = written.checked_sub(1) {
            self.is_mid_line.store(self.buffer[last] != b'\n', Ordering::Relaxed);
        }
        self.buffer.drain(..written);
    }

    /// Handles a failed write: returns the error if it ends the run, and discards the buffer.
    fn failed(&mut self, cause: io::Error) -> Result<(), StreamError> {
        let lost = self.buffer.len();
        self.buffer.clear();
        let (stream, on_failure) = match &self.sink {
            Some(sink) => (sink.name, sink.on_failure),
            None => ("output", OnFailure::End),
        };
        match cause.kind() {
            _ if on_failure == OnFailure::GoOn => {
                self.is_lost = true;
                Ok(())
            }
            io::ErrorKind::BrokenPipe => Err(StreamError::Closed),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Err(StreamError::Full { stream, cause, lost })
            }
            _ => Err(StreamError::Output { stream, cause, lost }),
        }
    }
}

/// Where the last line ends that has an end.
fn end_of_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
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
