//! Reports on the end of a run, for people and for programs.
//!
//! A [`Report`] is plain data, made from the outcome, the processor, and the symbols if available. It can be written
//! as text ([`Report::message`], [`Report::body`]) or as JSON ([`Report::json`]). If nothing went wrong, the report
//! is empty and no files are read.

mod calls;
mod json;
mod page_fault;
mod paint;
mod source;
mod text;

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use flatland_contract::status;

use crate::backtrace::Backtrace;
use flatland_machine::{Outcome, Stop};
use flatland_program::Symbols;
use flatland_x86::instruction::{Read, word};
use flatland_x86::{Engine, Fault, Location, Registers, eflags};

use crate::ending::Ending;
use crate::instruction::{self, Instruction};
use crate::origins::Origin;
use crate::words::Names;

pub use calls::{Call, Calls};
pub use json::Run;
pub use page_fault::{PageFault, Refusal};
pub use paint::{Colors, Paint, UnknownColors};
pub use source::Snippet;
pub(crate) use source::read_source;

/// When to show the calls that led to the end of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backtraces {
    /// If they have names, without the calls that are the same in every program.
    #[default]
    Auto,
    /// All calls, with their addresses.
    Always,
    /// Never.
    Never,
}

impl FromStr for Backtraces {
    type Err = UnknownBacktraces;

    fn from_str(text: &str) -> Result<Self, UnknownBacktraces> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(UnknownBacktraces),
        }
    }
}

/// The text is not a choice of backtraces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownBacktraces;

impl fmt::Display for UnknownBacktraces {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("not a choice: give auto, always or never")
    }
}

impl Error for UnknownBacktraces {}

/// Data on the end of a run.
///
/// ```
/// use flatland_machine::{EngineChoice, Machine, Program};
/// use flatland_tools::report::{Backtraces, Report};
///
/// // ud2
/// let program = Program::from_bytes(vec![0x0f, 0x0b])?;
/// let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program)?;
/// let outcome = machine.run()?;
/// let report = Report::new(&outcome, machine.engine(), program.elf(), Backtraces::Auto);
/// assert!(report.message().unwrap().starts_with("invalid opcode (#UD) at 0x00000000: "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The outcome. If the engine knew only the end of an instruction and its start was found, the location is exact.
    pub outcome: Outcome,
    /// The names at the end of the run.
    pub names: Names,
    /// Whether the guest panicked.
    pub is_panic: bool,
    /// The source of the guest's location.
    pub snippet: Option<Snippet>,
    /// The processor, if it faulted.
    pub processor: Option<Processor>,
    /// The calls that led to the end of the run.
    pub calls: Option<Calls>,
    /// Where the values come from that the fault fell over, if somebody has searched them.
    pub origins: Vec<Origin>,
    /// Further remarks, in sentences.
    pub notes: Vec<String>,
}

/// The processor's state at a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Processor {
    /// The instruction. None if it is not known, or outside memory.
    pub instruction: Option<Instruction>,
    /// The registers before the instruction, as far as the engine preserves them.
    pub registers: Registers,
    /// What the page tables say, if it is a page fault.
    pub page_fault: Option<PageFault>,
    /// The words on the stack from ESP on, as far as there is memory.
    pub stack: Vec<u32>,
}

/// How many stack words are shown.
const STACK_WORDS: u32 = 16;

impl Report {
    /// Examines the end of a run. Names come from this ELF file.
    pub fn new(
        outcome: &Outcome,
        engine: &mut dyn Engine,
        symbols: Option<&Path>,
        backtraces: Backtraces,
    ) -> Self {
        let mut report = Self { outcome: outcome.clone(), ..Self::without_outcome() };
        let location = match *outcome {
            // The debugger's user has already seen the state.
            Outcome::Stopped(Stop::Debugger, _) => return report,
            Outcome::Fault(Fault { location, .. }) | Outcome::Stopped(_, location) => Ok(location),
            // The runtime exits like this after a panic. Its calls show the panic, if they have names.
            Outcome::Exited(status::PANIC) if symbols.is_some() || backtraces == Backtraces::Always => {
                engine.location()
            }
            _ => return report,
        };
        match location.and_then(|location| Ok((location, engine.registers()?))) {
            Ok((location, registers)) => {
                let system = engine.system_registers();
                report.read(location, registers, engine, symbols, backtraces);
                if let (Ok(system), Outcome::Fault(fault), Some(processor)) =
                    (system, &report.outcome, &mut report.processor)
                {
                    processor.page_fault = PageFault::of(&fault.kind, &system, &instruction::reader(engine));
                }
            }
            // Facts that do not need the processor are still reported.
            Err(error) => report.notes.push(error.to_string()),
        }
        report
    }

    /// A report on a run that ended by a failure of the host.
    pub fn without_outcome() -> Self {
        Self {
            outcome: Outcome::Halted,
            names: Names::default(),
            is_panic: false,
            snippet: None,
            processor: None,
            calls: None,
            origins: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn read(
        &mut self,
        location: Location,
        registers: Registers,
        engine: &dyn Engine,
        symbols: Option<&Path>,
        backtraces: Backtraces,
    ) {
        let read = instruction::reader(engine);
        let symbols = symbols.and_then(|path| match Symbols::open(path, &read) {
            Ok(symbols) => Some(symbols),
            Err(error) => {
                self.notes.push(error.to_string());
                None
            }
        });
        self.look(location, registers, &read, symbols.as_ref(), backtraces);
    }

    fn look(
        &mut self,
        location: Location,
        registers: Registers,
        read: Read,
        symbols: Option<&Symbols>,
        backtraces: Backtraces,
    ) {
        let ending = Ending::new(&self.outcome, location, registers, read, symbols);
        let start = ending.start(symbols);
        let Ending { outcome, instruction, mut registers, .. } = ending;
        self.outcome = outcome;
        registers.eflags &= !eflags::RF;
        let calls = start.as_ref().map(|start| Calls::new(&Backtrace::walk(start, read), symbols));
        let place = calls.as_ref().map(Calls::place);
        self.names = symbols.map(|symbols| Names::of(&self.outcome, place, symbols)).unwrap_or_default();
        let Some(calls) = calls else {
            // The registers are no longer the guest's.
            self.notes.push(
                "registers and calls are not known, because KVM resets the processor at a triple fault: run it with \
                 --engine soft to see them"
                    .into(),
            );
            return;
        };
        if let Outcome::Exited(_) = self.outcome {
            self.is_panic = calls.is_panic();
        } else {
            self.snippet = calls.snippet();
        }
        if let Outcome::Fault(_) = self.outcome {
            let word_at = |index| word(read, registers.esp.checked_add(4 * index)?);
            let stack = (0..STACK_WORDS).map_while(word_at).collect();
            self.processor = Some(Processor { instruction, registers, page_fault: None, stack });
        }
        let is_told = self.is_panic || !matches!(self.outcome, Outcome::Exited(_));
        self.calls = match backtraces {
            Backtraces::Never => None,
            Backtraces::Auto => Some(calls.short()).filter(|calls| is_told && calls.have_names()),
            Backtraces::Always => Some(calls),
        };
    }
}
