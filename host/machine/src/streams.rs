//! The streams behind the ports: where the guest's input comes from, and where its output goes.

mod any;
#[cfg(target_os = "linux")]
mod file;
mod input;
mod output;

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};
use std::time::Duration;

pub use input::Input;
pub(crate) use input::Refill;
pub(crate) use output::Flush;
pub use output::Output;

use crate::interrupt::Shared;

/// The three streams of a machine. More may come: write `..Streams::none()` behind what you name.
#[derive(Debug)]
pub struct Streams {
    /// What the guest reads at the console port.
    pub input: Input,
    /// What it sends to the console port.
    pub output: Output,
    /// What it sends to the diagnostics port.
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

    /// Whether a message written to standard error now would begin in the middle of a line of the guest's.
    pub fn mid_line(&self) -> bool {
        let seen = |output: &Output, terminal: bool| terminal && output.mid_line();
        seen(&self.diagnostics, true)
            || seen(&self.output, io::stdout().is_terminal() && io::stderr().is_terminal())
    }

    /// Whether something waits to be written.
    pub(crate) fn output_waits(&self) -> bool {
        self.output.is_waiting() || self.diagnostics.is_waiting()
    }

    /// Writes everything the guest sent.
    pub(crate) fn flush(&mut self, shared: &Shared) -> Result<Flush, StreamError> {
        for stream in [&mut self.output, &mut self.diagnostics] {
            if stream.flush(shared)? == Flush::Interrupted {
                return Ok(Flush::Interrupted);
            }
        }
        Ok(Flush::Done)
    }

    /// Writes what can be written in this time.
    pub(crate) fn flush_within(&mut self, time: Duration) -> Result<(), StreamError> {
        self.output.flush_within(time)?;
        self.diagnostics.flush_within(time)
    }

    /// Has output written as it comes, or has it collected again.
    pub(crate) fn set_buffered(&mut self, buffered: bool) {
        self.output.set_buffered(buffered);
        self.diagnostics.set_buffered(buffered);
    }
}

/// Why a stream does not work.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamError {
    /// The input is a directory.
    InputIsDirectory,
    /// The input fails.
    Input(io::Error),
    /// There is no room for output.
    Full {
        /// Which stream.
        stream: &'static str,
        /// How the operating system says it.
        cause: io::Error,
        /// Bytes that the guest had sent and nobody got.
        lost: usize,
    },
    /// Output fails.
    Output {
        /// Which stream.
        stream: &'static str,
        /// How the operating system says it.
        cause: io::Error,
        /// Bytes that the guest had sent and nobody got.
        lost: usize,
    },
    /// There are no random bytes.
    Random(io::Error),
    /// The reader of an output has gone away.
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
