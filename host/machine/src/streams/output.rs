//! The guest's output.

use std::fs::File;
use std::io::{self, Write};
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::StreamError;
use super::any::AnyWriter;
use super::file::{self, OutputFile};
use crate::interrupt::Shared;

/// The guest's output, buffered and written in large pieces.
///
/// It goes to memory, a file, a pipe or standard output, or with [`Output::from_writer`] to any writer.
#[derive(Debug)]
pub struct Output {
    /// `None` if output stays in the buffer.
    sink: Option<Sink>,
    buffer: Vec<u8>,
    /// Without a sink: how much of the buffer counts as written.
    written: usize,
    /// Without a sink: how many bytes of the buffer are kept.
    most: usize,
    /// Without a sink: how many bytes have been left out.
    left_out: u64,
    /// Whether output is buffered; otherwise each send is written at once.
    is_buffered: bool,
    /// Whether unfinished lines are held back: see [`Machine::set_whole_lines`](crate::Machine::set_whole_lines).
    whole_lines: bool,
    /// Diagnostics only: bytes sent here go to the output instead, because both are written to one file.
    pub(super) is_joined: bool,
    /// Whether the last written byte is in the middle of a line. Outputs that are written to one file share this.
    is_mid_line: Arc<AtomicBool>,
    /// Its reader has closed it.
    is_lost: bool,
}

#[derive(Debug)]
struct Sink {
    writer: Writer,
    name: &'static str,
    /// What to do if a write fails.
    on_failure: OnFailure,
}

#[derive(Debug)]
enum Writer {
    File(OutputFile),
    Any(AnyWriter),
}

impl Writer {
    fn write(&mut self, bytes: &[u8], shared: &Shared) -> io::Result<Option<usize>> {
        match self {
            Self::File(file) => file.write(bytes, shared),
            Self::Any(writer) => writer.write(bytes).map(Some),
        }
    }

    /// Whether bytes that were taken are not written.
    fn is_writing(&self) -> bool {
        matches!(self, Self::File(file) if file.is_writing())
    }

    /// Waits until all that was taken is written. `false` if the wait was interrupted.
    fn settle(&mut self, shared: &Shared) -> io::Result<bool> {
        match self {
            Self::File(file) => file.settle(shared),
            Self::Any(_) => Ok(true),
        }
    }

    fn write_within(&mut self, bytes: &[u8], time: Duration) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write_within(bytes, time),
            // May take longer: the time of a call cannot be limited.
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
    /// The buffer is written when it has this many bytes.
    const CAPACITY: usize = 64 << 10;

    /// An unfinished line is held back up to this length, in bytes.
    const LONGEST_PART: usize = 4 << 10;

    /// The process's standard output.
    pub fn standard_output() -> Result<Self, StreamError> {
        Self::standard(file::standard_output(), "standard output", OnFailure::End)
    }

    /// The process's standard error. If it cannot be written, the run continues.
    pub fn standard_error() -> Result<Self, StreamError> {
        Self::standard(file::standard_error(), "standard error", OnFailure::GoOn)
    }

    fn standard(
        file: io::Result<OutputFile>,
        name: &'static str,
        on_failure: OnFailure,
    ) -> Result<Self, StreamError> {
        match file {
            Ok(file) => Ok(Self::named(Writer::File(file), name, on_failure)),
            Err(cause) => Err(StreamError::Output { stream: name, cause, lost: 0 }),
        }
    }

    /// A file, pipe, socket or terminal. An interrupt ends a wait for its reader at once.
    #[cfg(unix)]
    pub fn from_fd(fd: impl Into<OwnedFd>) -> Self {
        Self::from_file(OutputFile::new(File::from(fd.into())))
    }

    fn from_file(file: OutputFile) -> Self {
        Self::named(Writer::File(file), "the output", OnFailure::End)
    }

    /// Any writer. A call of it that blocks cannot be interrupted.
    pub fn from_writer(writer: impl Write + Send + 'static) -> Self {
        Self::named(Writer::Any(AnyWriter::new(writer)), "the output", OnFailure::End)
    }

    fn named(writer: Writer, name: &'static str, on_failure: OnFailure) -> Self {
        Self { sink: Some(Sink { writer, name, on_failure }), ..Self::memory() }
    }

    /// Keeps all output in memory, for [`Self::bytes`].
    pub fn memory() -> Self {
        Self::memory_up_to(usize::MAX)
    }

    /// Keeps the last output in memory, for [`Self::bytes`]: at least this many bytes, and less than twice as many. A guest that
    /// sends without end takes no more.
    pub fn memory_up_to(most: usize) -> Self {
        Self {
            sink: None,
            buffer: Vec::new(),
            written: 0,
            most,
            left_out: 0,
            is_buffered: true,
            whole_lines: false,
            is_joined: false,
            is_mid_line: Arc::default(),
            is_lost: false,
        }
    }

    /// Sets whether output is buffered, or written at once.
    pub(crate) fn set_buffered(&mut self, buffered: bool) {
        self.is_buffered = buffered;
    }

    /// Sets whether unfinished lines are held back.
    pub(crate) fn set_whole_lines(&mut self, whole: bool) {
        self.whole_lines = whole;
    }

    /// Checks whether both are written to the same file, pipe or terminal. If so, they share [`Self::is_mid_line`]
    /// from now on.
    pub(crate) fn share_file(&mut self, other: &mut Self) {
        let is_same = match (&self.sink, &other.sink) {
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

    /// Whether both are written to the same file, pipe or terminal.
    pub(super) fn shares_file(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.is_mid_line, &other.is_mid_line)
    }

    /// Moves the buffered bytes of `other` here.
    pub(super) fn take(&mut self, other: &mut Self) {
        self.buffer.append(&mut other.buffer);
    }

    /// The bytes that have not been written to a sink: with [`Self::memory`], all of them.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// How many bytes came before those of [`Self::bytes`] and were not kept: see [`Self::memory_up_to`].
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether bytes are buffered that have not been written.
    pub(crate) fn is_waiting(&self) -> bool {
        self.written < self.buffer.len() || self.sink.as_ref().is_some_and(|sink| sink.writer.is_writing())
    }

    /// Whether buffered bytes may be written now, because they are not held back as an unfinished line.
    pub(crate) fn is_due(&self) -> bool {
        self.sink.is_some() && self.due() > self.written
    }

    /// The length of the part of the buffer that is not held back as an unfinished line.
    fn due(&self) -> usize {
        if !self.whole_lines {
            return self.buffer.len();
        }
        let longest = self.buffer.len().saturating_sub(Self::LONGEST_PART).max(self.written);
        match end_of_lines(&self.buffer[longest..]) {
            0 if longest > self.written => self.buffer.len(),
            end => longest + end,
        }
    }

    /// Buffers bytes, and writes if the buffer is full. Bytes that cannot be written now stay in the buffer.
    pub(crate) fn send(&mut self, bytes: &[u8], shared: &Shared) -> Result<(), StreamError> {
        if self.is_lost {
            return Ok(());
        }
        self.add(bytes);
        self.flush_if_full(shared)
    }

    /// Adds bytes to the buffer. Where nothing takes them from there, the first ones make room.
    fn add(&mut self, bytes: &[u8]) {
        let before = self.buffer.len();
        let all = before.saturating_add(bytes.len());
        if self.sink.is_some() || all < self.most.saturating_mul(2) {
            self.buffer.extend_from_slice(bytes);
            return;
        }
        let left_out = all - self.most;
        let of_buffer = left_out.min(before);
        self.buffer.drain(..of_buffer);
        self.written = self.written.saturating_sub(of_buffer);
        self.buffer.extend_from_slice(&bytes[left_out - of_buffer..]);
        self.left_out += left_out as u64;
    }

    /// Inserts a line of the host's before the guest's unfinished line, or below the part of that line that is
    /// written already. An error if the reader has closed the output.
    pub(crate) fn note(&mut self, line: &str, shared: &Shared) -> Result<(), StreamError> {
        if self.is_lost {
            return Err(StreamError::Closed);
        }
        if self.whole_lines && self.due() == self.buffer.len() && self.buffer.last() != Some(&b'\n') {
            self.flush(shared)?;
        }
        let at = self.written + end_of_lines(&self.buffer[self.written..]);
        let is_cut = at == self.written && self.is_mid_line.load(Ordering::Relaxed);
        let line = format!("{}{line}\n", if is_cut { "\n" } else { "" });
        self.buffer.splice(at..at, line.bytes());
        self.flush_if_full(shared)
    }

    fn flush_if_full(&mut self, shared: &Shared) -> Result<(), StreamError> {
        if self.sink.is_some() && (self.buffer.len() >= Self::CAPACITY || !self.is_buffered) {
            self.flush_due(shared)?;
        }
        Ok(())
    }

    /// Writes the whole buffer, however long that takes.
    pub(crate) fn flush(&mut self, shared: &Shared) -> Result<Flush, StreamError> {
        self.flush_first(self.buffer.len(), shared)
    }

    /// Writes the part of the buffer that is not held back as an unfinished line.
    pub(crate) fn flush_due(&mut self, shared: &Shared) -> Result<Flush, StreamError> {
        self.flush_first(self.due(), shared)
    }

    /// Writes the first `len` bytes of the buffer.
    fn flush_first(&mut self, len: usize, shared: &Shared) -> Result<Flush, StreamError> {
        let Some(sink) = &mut self.sink else {
            self.forget(len);
            return Ok(Flush::Done);
        };
        let mut written = 0;
        let result = loop {
            if written == len {
                let is_settled = sink.writer.settle(shared);
                break is_settled.map(|done| if done { Flush::Done } else { Flush::Interrupted });
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

    /// Writes as much as possible in this time, for a run that was stopped while its reader does not read. The rest
    /// stays in [`Self::bytes`].
    pub(crate) fn flush_within(&mut self, time: Duration) -> Result<(), StreamError> {
        let Some(sink) = &mut self.sink else {
            self.forget(self.buffer.len());
            return Ok(());
        };
        match sink.writer.write_within(&self.buffer, time) {
            Ok(written) => {
                self.forget(written);
                Ok(())
            }
            Err(error) => self.failed(error),
        }
    }

    /// Adds bytes to the buffer, whatever its size.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        if !self.is_lost {
            self.add(bytes);
        }
    }

    /// Marks the first bytes of the buffer as written. Removes them, unless there is no sink.
    fn forget(&mut self, written: usize) {
        if let Some(last) = written.checked_sub(1) {
            self.is_mid_line.store(self.buffer[last] != b'\n', Ordering::Relaxed);
        }
        match self.sink {
            Some(_) => drop(self.buffer.drain(..written)),
            None => self.written = written,
        }
    }

    /// Handles a failed write: discards the buffer, and returns the error if it ends the run.
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

/// The end of the last complete line; 0 if there is none.
fn end_of_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

/// Appends the output to these bytes, for [`Output::bytes`].
impl From<Vec<u8>> for Output {
    fn from(bytes: Vec<u8>) -> Self {
        Self { buffer: bytes, ..Self::memory() }
    }
}

impl From<File> for Output {
    fn from(file: File) -> Self {
        Self::from_file(OutputFile::new(file))
    }
}

impl From<io::PipeWriter> for Output {
    fn from(pipe: io::PipeWriter) -> Self {
        Self::from_file(OutputFile::new(pipe))
    }
}

impl From<io::Stdout> for Output {
    fn from(stdout: io::Stdout) -> Self {
        // Writes through std if the descriptor cannot be duplicated.
        Self::standard_output().unwrap_or_else(|_| Self::from_writer(stdout))
    }
}

impl From<io::Stderr> for Output {
    fn from(stderr: io::Stderr) -> Self {
        Self::standard_error().unwrap_or_else(|_| Self::from_writer(stderr))
    }
}
