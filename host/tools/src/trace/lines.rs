//! Writes the lines of a trace.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use flatland_machine::Machine;

use super::Sink;

/// Writes at most a given number of lines.
pub struct Lines {
    sink: Sink,
    most: u64,
    written: u64,
    error: Option<io::Error>,
    is_broken: bool,
}

/// Why a trace is incomplete.
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

    /// Writes a line, unless the limit has been reached.
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
            // A failure of the guest's own output is reported at the guest's next output.
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

    /// Whether the lines go to the machine's diagnostics.
    pub fn are_diagnostics(&self) -> bool {
        matches!(self.sink, Sink::Diagnostics)
    }

    /// Whether no line has been written yet.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Whether the limit has been reached or the sink has failed.
    pub fn is_full(&self) -> bool {
        self.written >= self.most || self.is_broken
    }

    /// Writes buffered lines.
    pub fn flush(&mut self) {
        if let Sink::Writer(writer) = &mut self.sink
            && !self.is_broken
        {
            let result = writer.flush();
            self.check(result);
        }
    }

    /// The error that ended the trace. A closed reader is not an error.
    pub fn error(&mut self) -> Option<TraceError> {
        self.error.take().filter(|error| error.kind() != io::ErrorKind::BrokenPipe).map(TraceError)
    }
}
