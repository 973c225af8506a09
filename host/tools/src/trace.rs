//! Traces: what a guest did, a line for each thing it did.
//!
//! A [`Tracer`] watches a run, on either engine. Transfers are told of as they are made; calls and instructions are found
//! by stepping. Nothing of the guest is changed by that but its speed.

mod calls;
mod instructions;
mod lines;
mod names;
mod transfers;

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::str::FromStr;

use flatland_machine::{Event, Machine, Outcome, RunError, Transfer, Wants};
use flatland_program::Symbols;
use flatland_x86::Engine;

use crate::{Observer, Verdict};

use calls::Calls;
use instructions::Instructions;
use lines::Lines;
pub use lines::TraceError;
use names::Names;
use transfers::Transfers;

/// What is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Each transfer at a port.
    Io,
    /// Each function's entry and return.
    Calls,
    /// Each instruction, with the registers it changed.
    Instructions,
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        match name {
            "io" => Ok(Self::Io),
            "calls" => Ok(Self::Calls),
            "insn" => Ok(Self::Instructions),
            _ => Err(UnknownKind),
        }
    }
}

/// There is no such trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownKind;

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("no trace: choose io, calls or insn")
    }
}

impl Error for UnknownKind {}

/// Where a guest must be for a line to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Filter {
    /// In a function whose name contains this.
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
            // No function's name begins with a digit.
            _ if text.is_empty() || text.starts_with("0x") => Err(WrongFilter),
            _ => Ok(Self::Function(text.into())),
        }
    }
}

/// There is no such filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongFilter;

impl fmt::Display for WrongFilter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("no filter: give part of a function's name, or addresses such as 0x100-0x200")
    }
}

impl Error for WrongFilter {}

/// What to trace, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What.
    pub kind: Kind,
    /// Where; everywhere, if it does not say.
    pub filter: Option<Filter>,
    /// The most lines. The run goes on behind them, untraced.
    pub most_lines: u64,
}

/// The most lines where nobody asks for another number: so many can be looked at, and do not fill a disk.
pub const MOST_LINES: u64 = 1_000_000;

/// Traces a run.
///
/// ```
/// use flatland_machine::{EngineChoice, Machine, Program};
/// use flatland_tools::observe;
/// use flatland_tools::trace::{Kind, MOST_LINES, Settings, Tracer};
///
/// // mov al, 'A'; out 0xe9, al; hlt
/// let program = Program::from_bytes(vec![0xb0, b'A', 0xe6, 0xe9, 0xf4])?;
/// let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program)?;
/// let settings = Settings { kind: Kind::Io, filter: None, most_lines: MOST_LINES };
/// let mut tracer = Tracer::new(settings, None, Box::new(std::io::stderr()), "trace: ");
/// observe(&mut machine, &mut [&mut tracer])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tracer {
    settings: Settings,
    names: Names,
    lines: Lines,
    what: What,
}

enum What {
    Transfers(Transfers),
    Calls(Calls),
    Instructions(Instructions),
}

impl Tracer {
    /// Writes to this sink, with this before each line.
    pub fn new(
        settings: Settings,
        symbols: Option<Symbols>,
        sink: Box<dyn Write>,
        prefix: &'static str,
    ) -> Self {
        let what = match settings.kind {
            Kind::Io => What::Transfers(Transfers::default()),
            Kind::Calls => What::Calls(Calls::default()),
            Kind::Instructions => What::Instructions(Instructions::default()),
        };
        let names = Names::new(symbols, settings.filter.clone());
        let lines = Lines::new(sink, prefix, settings.most_lines);
        Self { settings, names, lines, what }
    }

    /// Why there are no more lines than there are, if one could not be written.
    pub fn error(&mut self) -> Option<TraceError> {
        self.lines.error()
    }

    fn transferred(&mut self, engine: &mut dyn Engine, transfer: &Transfer) -> Result<(), RunError> {
        if let Self { names, lines, what: What::Transfers(transfers), .. } = self
            && !lines.is_full()
        {
            transfers.transferred(engine, transfer, names, lines)?;
        }
        Ok(())
    }

    fn stepped(&mut self, engine: &mut dyn Engine) -> Result<(), RunError> {
        let Self { names, lines, what, .. } = self;
        if !lines.is_full() {
            match what {
                What::Transfers(_) => {}
                What::Calls(calls) => calls.stepped(engine, names, lines)?,
                What::Instructions(instructions) => instructions.stepped(engine, names, lines)?,
            }
        }
        Ok(())
    }

    fn ended(&mut self, engine: &mut dyn Engine, outcome: &Outcome) -> Result<(), RunError> {
        let Self { settings, names, lines, what } = self;
        match what {
            What::Transfers(transfers) => transfers.flush(lines),
            What::Calls(_) => {}
            What::Instructions(instructions) => instructions.end(engine, lines)?,
        }
        let place = match outcome.location().and_then(|location| location.inside()) {
            Some(address) => format!(" at {address:#010x}{}", names.get(address).place),
            None => String::new(),
        };
        if settings.filter.is_some() && lines.is_empty() {
            lines.write(
                "nothing was where --trace-filter says: give part of a function's name, or addresses such as \
                 0x100-0x200",
            );
        }
        lines.write(&format!("end: {}{place}", names::of_outcome(outcome)));
        lines.finish();
        Ok(())
    }
}

impl Observer for Tracer {
    fn begins(&mut self, machine: &mut Machine) -> Result<Verdict, RunError> {
        let Self { names, lines, what, .. } = self;
        match what {
            What::Transfers(_) => {}
            What::Calls(calls) => calls.begin(machine.engine(), names, lines)?,
            What::Instructions(instructions) => instructions.begin(machine.engine(), names)?,
        }
        Ok(Verdict::Continue)
    }

    fn wants(&self) -> Wants {
        if self.lines.is_full() {
            return Wants::nothing();
        }
        let transfers = self.settings.kind == Kind::Io;
        Wants { transfers, steps: !transfers, ..Wants::default() }
    }

    fn observe(&mut self, machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
        match event {
            Event::Transfer(transfer) => self.transferred(machine.engine(), transfer)?,
            Event::Stopped(stopped) if stopped.stepped => self.stepped(machine.engine())?,
            Event::Ended(outcome) => self.ended(machine.engine(), outcome)?,
            _ => {}
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
