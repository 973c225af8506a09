//! Traces: a log of what a guest does, one line for each action.
//!
//! A [`Trace`] observes a run, on any engine. Each [`Kind`] observes events of its own, and all write to one sink.
//! Transfers are reported as they are made; calls and instructions are found by stepping. Tracing changes only the
//! guest's speed, and the same run has the same trace on every engine.

mod calls;
mod instructions;
mod lines;
mod names;
mod record;
mod spans;
mod transfers;

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use flatland_machine::{Event, Machine, Outcome, RunError, Wants};
use flatland_program::Symbols;

use crate::{Observer, Verdict};

use calls::CallTrace;
use instructions::InstructionTrace;
use lines::Lines;
pub use lines::TraceError;
use names::Names;
pub use record::Form;
use record::What;
use spans::SpanTrace;
use transfers::TransferTrace;

/// The kind of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// Each transfer at a port.
    Io,
    /// Each instruction, with the registers it changed.
    Instructions,
    /// Each function's entry and return.
    Calls,
    /// The guest's own [spans](flatland_contract::span). It is told that somebody listens.
    Spans,
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        match name {
            "io" => Ok(Self::Io),
            "calls" => Ok(Self::Calls),
            "insn" => Ok(Self::Instructions),
            "spans" => Ok(Self::Spans),
            _ => Err(UnknownKind),
        }
    }
}

/// No kind of trace has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownKind;

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("no trace: choose io, calls, insn or spans")
    }
}

impl Error for UnknownKind {}

/// Selects the lines to write by the guest's location.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Filter {
    /// In a function whose name contains this text.
    Function(String),
    /// At one of these addresses.
    Addresses(Range<u32>),
}

impl FromStr for Filter {
    type Err = WrongFilter;

    /// `START-END` in hexadecimal, or part of a function's name.
    fn from_str(text: &str) -> Result<Self, WrongFilter> {
        let address = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        match text.split_once('-') {
            Some((start, end)) if start.starts_with("0x") => match (address(start), address(end)) {
                (Some(start), Some(end)) if start < end => Ok(Self::Addresses(start..end)),
                _ => Err(WrongFilter),
            },
            // No function name starts with a digit.
            _ if text.is_empty() || text.starts_with("0x") => Err(WrongFilter),
            _ => Ok(Self::Function(text.into())),
        }
    }
}

/// The text is not a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongFilter;

impl fmt::Display for WrongFilter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("no filter: give part of a function's name, or addresses such as 0x100-0x200")
    }
}

impl Error for WrongFilter {}

/// What to trace, and how many lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The kinds. If several report the same instruction, they do so in the order of [`Kind`].
    pub kinds: Vec<Kind>,
    /// The filter; none selects everything.
    pub filter: Option<Filter>,
    /// The most lines. The run continues untraced after them.
    pub most_lines: u64,
}

/// The default of [`Settings::most_lines`]: small enough to read and not to fill a disk.
pub const MOST_LINES: u64 = 1_000_000;

/// Where the lines are written.
pub enum Sink {
    /// To the machine's diagnostics, between the guest's own lines. Each starts with `trace: `.
    Diagnostics,
    /// To a writer.
    Writer(Box<dyn Write>, Form),
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Diagnostics => "Diagnostics",
            Self::Writer(..) => "Writer",
        })
    }
}

/// Traces a run.
///
/// Put it before other observers: then its lines are written before a debugger holds the guest.
pub struct Trace {
    tracers: Vec<Box<dyn Tracer>>,
    names: Names,
    lines: Lines,
    is_filtered: bool,
    listens_to_spans: bool,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}

/// One kind of trace: an [`Observer`] that shares names and lines with the other kinds. It is called while more lines
/// are wanted, and at the end of the run.
trait Tracer {
    /// See [`Observer::resumes`].
    fn resumes(
        &mut self,
        machine: &mut Machine,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), RunError>;

    /// See [`Observer::wants`].
    fn wants(&self) -> Wants;

    /// See [`Observer::observe`].
    fn observe(
        &mut self,
        machine: &mut Machine,
        event: &Event,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), RunError>;
}

impl Trace {
    /// The time limit for writing the last lines.
    const LAST_FLUSH: Duration = Duration::from_secs(1);

    /// A trace with these settings, and the names of these symbols.
    pub fn new(settings: Settings, symbols: Option<Symbols>, sink: Sink) -> Self {
        let Settings { mut kinds, filter, most_lines } = settings;
        kinds.sort();
        kinds.dedup();
        let is_filtered = filter.is_some();
        let listens_to_spans = kinds.contains(&Kind::Spans);
        let tracer = |kind| -> Box<dyn Tracer> {
            match kind {
                Kind::Io => Box::new(TransferTrace::default()),
                Kind::Instructions => Box::new(InstructionTrace::default()),
                Kind::Calls => Box::new(CallTrace::default()),
                Kind::Spans => Box::new(SpanTrace::default()),
            }
        };
        Self {
            tracers: kinds.into_iter().map(tracer).collect(),
            names: Names::new(symbols, filter),
            lines: Lines::new(sink, most_lines),
            is_filtered,
            listens_to_spans,
        }
    }

    /// Why the trace is incomplete, if a line could not be written.
    pub fn error(&mut self) -> Option<TraceError> {
        self.lines.error()
    }

    /// Writes the last line, which says how the run ended.
    fn end(&mut self, machine: &mut Machine, outcome: &Outcome) {
        let Self { names, lines, .. } = self;
        if self.is_filtered && lines.is_empty() {
            lines.write(
                machine,
                "nothing was where --trace-filter says: give part of a function's name, or addresses such as \
                 0x100-0x200",
                &What::Remark,
            );
        }
        let place = names.end_location(machine, outcome);
        lines.write(machine, &format!("end: {}{place}", names::outcome_in_words(outcome)), &What::End);
        lines.finish(machine);
        if lines.are_diagnostics() {
            // A failure is ignored: the reader may have stopped reading.
            let _ = machine.flush_notes_within(Self::LAST_FLUSH);
        }
    }
}

impl Observer for Trace {
    fn begins(&mut self, machine: &mut Machine) -> Result<Verdict, RunError> {
        if self.listens_to_spans {
            machine.listen_to_spans();
        }
        Ok(Verdict::Continue)
    }

    fn resumes(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        let Self { tracers, names, lines, .. } = self;
        if lines.are_diagnostics() {
            machine.set_whole_lines(!lines.is_full());
        }
        if lines.is_full() {
            return Ok(());
        }
        tracers.iter_mut().try_for_each(|tracer| tracer.resumes(machine, names, lines))
    }

    fn wants(&self) -> Wants {
        if self.lines.is_full() {
            return Wants::nothing();
        }
        self.tracers.iter().fold(Wants::nothing(), |wants, tracer| wants.or(&tracer.wants()))
    }

    fn observe(&mut self, machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
        let Self { tracers, names, lines, .. } = self;
        if !lines.is_full() {
            tracers.iter_mut().try_for_each(|tracer| tracer.observe(machine, event, names, lines))?;
        }
        if let Event::Ended(outcome) = event {
            self.end(machine, outcome);
        }
        Ok(Verdict::Continue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let function = |name: &str| Ok(Filter::Function(name.into()));
        assert_eq!("main".parse(), function("main"));
        assert_eq!("my-kernel::main".parse(), function("my-kernel::main"));
        assert_eq!("0x100-0x200".parse(), Ok(Filter::Addresses(0x100..0x200)));
        for wrong in ["", "0x200-0x100", "0x1-", "0x-0x2", "0x1-5", "0x20"] {
            assert_eq!(wrong.parse::<Filter>(), Err(WrongFilter), "{wrong}");
        }
    }
}
