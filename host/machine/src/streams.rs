//! The streams behind the ports: where the guest's input comes from, and where its output goes.

mod input;
mod output;

use std::io;
use std::io::IsTerminal;

pub use input::Input;
pub(crate) use input::Refill;
pub(crate) use output::Flush;
pub use output::Output;

/// The three streams of a machine.
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
}

/// Why a stream does not work.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Standard input is a directory.
    #[error("standard input is a directory: redirect it from a file, or from /dev/null for no input")]
    InputIsDirectory,
    /// Standard input fails.
    #[error("standard input cannot be read ({0}): redirect it from a file, or from /dev/null for no input")]
    Input(#[source] io::Error),
    /// There is no room for output.
    #[error("{stream} is full ({cause}): make room, or send it elsewhere; {lost} bytes of output are lost")]
    Full {
        /// Which stream.
        stream: &'static str,
        /// How the operating system says it.
        #[source]
        cause: io::Error,
        /// Bytes that the guest had sent and nobody got.
        lost: usize,
    },
    /// Output fails.
    #[error("{stream} cannot be written ({cause}): send it elsewhere; {lost} bytes of output are lost")]
    Output {
        /// Which stream.
        stream: &'static str,
        /// How the operating system says it.
        #[source]
        cause: io::Error,
        /// Bytes that the guest had sent and nobody got.
        lost: usize,
    },
    /// The operating system has no random bytes.
    #[error("the system gives no random bytes ({0}): report it, with your system's version")]
    Random(#[source] io::Error),
    /// The reader of an output has gone away.
    #[error("the reader of the output has gone away")]
    Closed,
}
