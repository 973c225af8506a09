//! Where a trace is written.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

/// Lines, up to a number of them.
pub struct Lines {
    sink: Box<dyn Write>,
    prefix: &'static str,
    most: u64,
    written: u64,
    error: Option<io::Error>,
}

/// Why a trace is not complete.
#[derive(Debug)]
pub struct TraceError(io::Error);

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self(cause) = self;
        write!(
            f,
            "the trace ends early, because it cannot be written ({cause}): make room, or give another --trace-file"
        )
    }
}

impl Error for TraceError {}

impl Lines {
    pub fn new(sink: Box<dyn Write>, prefix: &'static str, most: u64) -> Self {
        Self { sink, prefix, most, written: 0, error: None }
    }

    /// Writes a line; not if there are enough.
    pub fn write(&mut self, line: &str) {
        if self.is_full() {
            return;
        }
        self.put(line.trim_end());
        self.written += 1;
        if self.written == self.most {
            self.put(&format!("... behind {} lines: give it more with --trace-limit LINES", self.most));
        }
    }

    fn put(&mut self, line: &str) {
        if self.error.is_none() {
            // At once, so that a line is never cut by what others write to the same terminal.
            let line = format!("{}{line}\n", self.prefix);
            self.error = self.sink.write_all(line.as_bytes()).err();
        }
    }

    /// Whether there was no line yet.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Whether no more lines are written.
    pub fn is_full(&self) -> bool {
        self.written >= self.most || self.error.is_some()
    }

    /// Writes what is still in a buffer.
    pub fn finish(&mut self) {
        if self.error.is_none() {
            self.error = self.sink.flush().err();
        }
    }

    /// What went wrong. Nobody reads what goes to standard error: that is no error.
    pub fn error(&mut self) -> Option<TraceError> {
        self.error.take().filter(|error| error.kind() != io::ErrorKind::BrokenPipe).map(TraceError)
    }
}
