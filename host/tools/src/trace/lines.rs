//! Writes the lines of a trace.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use flatland_machine::Machine;

use super::record::{self, Track};
use super::{Form, Sink, What};

/// Writes at most a given number of lines.
pub struct Lines {
    sink: Sink,
    most: u64,
    written: u64,
    error: Option<io::Error>,
    is_broken: bool,
    /// The bars that have begun and not ended on each track of a timeline.
    open: [u32; Track::ALL.len()],
    /// Whether there is any entry in the file.
    has_begun: bool,
    is_finished: bool,
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
        Self {
            sink,
            most,
            written: 0,
            error: None,
            is_broken: false,
            open: [0; Track::ALL.len()],
            has_begun: false,
            is_finished: false,
        }
    }

    /// Writes an entry, unless the limit has been reached: this line for people, or the same for programs.
    pub fn write(&mut self, machine: &mut Machine, line: &str, what: &What) {
        if self.is_full() {
            return;
        }
        self.put(machine, line.trim_end(), what);
        self.written += 1;
        if self.written == self.most {
            let most = self.most;
            let line = format!("... behind {most} lines: give it more with --trace-limit LINES");
            self.put(machine, &line, &What::Remark);
        }
    }

    fn put(&mut self, machine: &mut Machine, line: &str, what: &What) {
        let instructions = machine.instructions();
        let result = match &mut self.sink {
            Sink::Diagnostics => {
                // A failure of the guest's own output is reported at the guest's next output.
                self.is_broken |= machine.note(&format!("trace: {line}")).is_err();
                return;
            }
            Sink::Writer(writer, Form::Lines) => writeln!(writer, "{line}"),
            Sink::Writer(writer, Form::JsonLines) => match record::json(what, line, instructions) {
                Some(value) => writeln!(writer, "{value}"),
                None => return,
            },
            Sink::Writer(writer, Form::TraceEvents) => {
                let Some(event) = record::event(what, line, instructions.unwrap_or_default()) else { return };
                let open = &mut self.open[what.track() as usize];
                match what {
                    What::Enter { .. } | What::SpanBegin { .. } => *open += 1,
                    // The trace may have begun, or be filtered, inside of it.
                    What::Leave { .. } | What::SpanEnd { .. } if *open == 0 => return,
                    What::Leave { .. } | What::SpanEnd { .. } => *open -= 1,
                    _ => {}
                }
                let result = match std::mem::replace(&mut self.has_begun, true) {
                    true => writer.write_all(b",\n"),
                    false => {
                        let [run, spans] = Track::ALL.map(Track::naming_event);
                        write!(writer, "[\n{run},\n{spans},\n")
                    }
                };
                result.and_then(|()| write!(writer, "{event}"))
            }
        };
        self.check(result);
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

    /// Writes what is buffered, and what a file of this form ends with. The run may go on, if somebody revives it.
    pub fn finish(&mut self, machine: &mut Machine) {
        if self.is_broken {
            return;
        }
        if matches!(self.sink, Sink::Writer(_, Form::TraceEvents)) && !self.is_finished {
            self.is_finished = true;
            for track in Track::ALL {
                let left = self.open[track as usize];
                (0..left).for_each(|_| self.put(machine, "", &track.end()));
            }
            // Nothing may come behind it.
            self.most = self.written;
        }
        if let Sink::Writer(writer, form) = &mut self.sink {
            let end = match form {
                Form::TraceEvents if !self.has_begun => "[]\n",
                Form::TraceEvents => "\n]\n",
                _ => "",
            };
            let result = writer.write_all(end.as_bytes()).and_then(|()| writer.flush());
            self.check(result);
        }
    }

    /// The error that ended the trace. A closed reader is not an error.
    pub fn error(&mut self) -> Option<TraceError> {
        self.error.take().filter(|error| error.kind() != io::ErrorKind::BrokenPipe).map(TraceError)
    }
}
