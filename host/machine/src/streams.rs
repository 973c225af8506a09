//! The streams of a machine: the source of the guest's input, and the sinks of its output.

mod any;
#[cfg_attr(all(target_os = "linux", not(portable)), path = "streams/linux.rs")]
#[cfg_attr(not(all(target_os = "linux", not(portable))), path = "streams/portable.rs")]
mod file;
mod input;
#[cfg(any(test, windows))]
mod lossy;
mod output;

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use flatland_contract::Port;

pub use input::Input;
pub(crate) use input::Refill;
pub(crate) use output::Flush;
pub use output::Output;

use crate::Unfinished;
use crate::interrupt::Shared;

/// The three streams of a machine. More may come: write `..Streams::none()` behind what you name.
#[derive(Debug)]
pub struct Streams {
    /// The input that the guest reads at the console port.
    pub input: Input,
    /// The output that the guest sends to the console port.
    pub output: Output,
    /// The bytes that the guest sends to the diagnostics port.
    pub diagnostics: Output,
}

impl Streams {
    /// The process's own standard streams.
    pub fn standard() -> Result<Self, StreamError> {
        Ok(Self {
            input: Input::standard()?,
            output: Output::standard_output()?,
            diagnostics: Output::standard_error()?,
        })
    }

    /// No input, and output that is kept in memory.
    pub fn none() -> Self {
        Self { input: Input::from_bytes(Vec::new()), output: Output::memory(), diagnostics: Output::memory() }
    }

    /// Whether output is buffered that may be written now.
    pub(crate) fn output_is_due(&self) -> bool {
        self.output.is_due() || self.diagnostics.is_due()
    }

    /// Writes all buffered output.
    pub(crate) fn flush(&mut self, shared: &Shared) -> Result<Flush, StreamError> {
        self.flush_each(|output| output.flush(shared))
    }

    /// Writes all buffered output that is not held back as an unfinished line.
    pub(crate) fn flush_due(&mut self, shared: &Shared) -> Result<Flush, StreamError> {
        self.flush_each(|output| output.flush_due(shared))
    }

    fn flush_each(
        &mut self,
        flush: impl Fn(&mut Output) -> Result<Flush, StreamError>,
    ) -> Result<Flush, StreamError> {
        for output in [&mut self.output, &mut self.diagnostics] {
            if flush(output)? == Flush::Interrupted {
                return Ok(Flush::Interrupted);
            }
        }
        Ok(Flush::Done)
    }

    /// Writes what can be written in this time. Of two failures the first is returned.
    pub(crate) fn flush_within(&mut self, time: Duration) -> Result<(), StreamError> {
        let result = self.output.flush_within(time);
        self.diagnostics.flush_within(time).and(result)
    }

    /// Adds output of an interrupted transfer, at the end of a run that does not wait for its readers any more. Returns
    /// whether the port's device is one of the streams.
    pub(crate) fn keep(&mut self, port: u16, bytes: &[u8]) -> bool {
        match Port::from_number(port) {
            Some(Port::Console) => self.output.keep(bytes),
            Some(Port::Diagnostics) if self.diagnostics.is_joined => self.output.keep(bytes),
            Some(Port::Diagnostics) => self.diagnostics.keep(bytes),
            _ => return false,
        }
        true
    }

    /// Writes only the stream of [`Self::note`], as much as can be written in this time. The output may have no
    /// reader.
    pub(crate) fn flush_notes_within(&mut self, time: Duration) -> Result<(), StreamError> {
        let Self { output, diagnostics, .. } = self;
        let to = if diagnostics.is_joined { output } else { diagnostics };
        to.flush_within(time)
    }

    /// Checks whether output and diagnostics are written to the same file, and joins them if lines are to stay whole.
    pub(crate) fn begin(&mut self, whole_lines: bool) {
        self.output.share_file(&mut self.diagnostics);
        self.set_whole_lines(whole_lines);
    }

    /// Sets whether unfinished lines are held back in each stream that [`Self::note`] may write to.
    pub(crate) fn set_whole_lines(&mut self, whole: bool) {
        let Self { output, diagnostics, .. } = self;
        let is_joined = whole && output.shares_file(diagnostics);
        if is_joined {
            output.take(diagnostics);
        }
        diagnostics.is_joined = is_joined;
        diagnostics.set_whole_lines(whole);
        output.set_whole_lines(is_joined);
    }

    /// Writes a line of the host's to the diagnostics.
    pub(crate) fn note(&mut self, line: &str, shared: &Shared) -> Result<(), StreamError> {
        let Self { output, diagnostics, .. } = self;
        if diagnostics.is_joined {
            return output.note(line, shared);
        }
        if output.shares_file(diagnostics) {
            output.flush(shared)?;
        }
        diagnostics.note(line, shared)
    }

    /// Sends bytes to the output. Writes buffered diagnostics before, to keep the order.
    pub(crate) fn send_output(&mut self, bytes: &[u8], shared: &Shared) -> Result<(), Unfinished> {
        send(&mut self.output, &mut self.diagnostics, bytes, shared)
    }

    /// Sends bytes to the diagnostics. Writes buffered output before, to keep the order.
    pub(crate) fn send_diagnostics(&mut self, bytes: &[u8], shared: &Shared) -> Result<(), Unfinished> {
        match self.diagnostics.is_joined {
            true => self.send_output(bytes, shared),
            false => send(&mut self.diagnostics, &mut self.output, bytes, shared),
        }
    }

    /// Sets whether output is buffered, or written at once.
    pub(crate) fn set_buffered(&mut self, buffered: bool) {
        self.output.set_buffered(buffered);
        self.diagnostics.set_buffered(buffered);
    }
}

fn send(to: &mut Output, other: &mut Output, bytes: &[u8], shared: &Shared) -> Result<(), Unfinished> {
    if other.is_waiting() && other.flush(shared)? == Flush::Interrupted {
        return Err(Unfinished::Interrupted);
    }
    Ok(to.send(bytes, shared)?)
}

/// Why a stream failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamError {
    /// The input is a directory.
    InputIsDirectory,
    /// The input cannot be read.
    Input(io::Error),
    /// The output's device is full.
    Full {
        /// Which stream.
        stream: &'static str,
        /// The operating system's error.
        cause: io::Error,
        /// The number of bytes that the guest had sent and that were lost.
        lost: usize,
    },
    /// The output cannot be written.
    Output {
        /// Which stream.
        stream: &'static str,
        /// The operating system's error.
        cause: io::Error,
        /// The number of bytes that the guest had sent and that were lost.
        lost: usize,
    },
    /// The source of random bytes failed.
    Random(io::Error),
    /// The reader of an output has closed it.
    Closed,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::InputIsDirectory => f.write_str(
                "standard input is a directory: redirect it from a file, or from /dev/null for no input",
            ),
            Self::Input(cause) => write!(
                f,
                "standard input cannot be read ({cause}): redirect it from a file, or from /dev/null for no input"
            ),
            Self::Full { stream, cause, lost } => write!(
                f,
                "{stream} is full ({cause}): make room, or send it elsewhere; {lost} bytes of output are lost"
            ),
            Self::Output { stream, cause, lost } => write!(
                f,
                "{stream} cannot be written ({cause}): send it elsewhere; {lost} bytes of output are lost"
            ),
            Self::Random(cause) => {
                write!(f, "the system gives no random bytes ({cause}): report it, with your system's version")
            }
            Self::Closed => f.write_str("the reader of the output has gone away"),
        }
    }
}

impl Error for StreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Input(cause) | Self::Random(cause) => Some(cause),
            Self::Full { cause, .. } | Self::Output { cause, .. } => Some(cause),
            Self::InputIsDirectory | Self::Closed => None,
        }
    }
}
