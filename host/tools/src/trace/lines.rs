//! Where a trace is written.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use flatland_machine::Machine;

use super::Sink;

/// Lines, up to a number of them.
pub struct Lines {
    sink: Sink,
    most: u64,
    written: u64,
    error: Option<io::Error>,
    is_broken: bool,
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

impl Error for TraceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl Lines {
    pub fn new(sink: Sink, most: u64) -> Self {
        Self { sink, most, written: 0, error: None, is_broken: false }
    }

    /// Writes a line; not if there are enough.
    pub fn write(&mut self, machine: &mut Machine, line: &str) {
        if self.is_full() {
            return;
        }
        self.put(machine, line.trim_end());
        self.written += 1;
        if self.written == self.most {
            let most = self.most;
            self.put(machine, &format!("... behind {most} lines: give it more with --trace-limit LINES"));
        }
    }

    fn put(&mut self, machine: &mut Machine, line: &str) {
        match &mut self.sink {
            // A failure of the guest's own output is told when the guest sends something.
            Sink::Diagnostics => self.is_broken |= machine.note(&format!("trace: {line}")).is_err(),
            Sink::Writer(writer) => {
                let result = writeln!(writer, "{line}");
                self.check(result);
            }
        }
    }

    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.is_broken = true;
            self.error = Some(error);
        }
    }

    /// Whether they go to the machine's diagnostics.
    pub fn are_diagnostics(&self) -> bool {
        matches!(self.sink, Sink::Diagnostics)
    }

    /// Whether there was no line yet.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Whether no more lines are written.
    pub fn is_full(&self) -> bool {
        self.written >= self.most || self.is_broken
    }

    /// Writes what is still in a buffer.
    pub fn flush(&mut self) {
        if let Sink::Writer(writer) = &mut self.sink
            && !self.is_broken
        {
            let result = writer.flush();
            self.check(result);
        }
    }

    /// What went wrong. That a reader has seen enough is no error.
    pub fn error(&mut self) -> Option<TraceError> {
        self.error.take().filter(|error| error.kind() != io::ErrorKind::BrokenPipe).map(TraceError)
    }
}
