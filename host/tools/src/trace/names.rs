//! Names and lines for a trace. Each address is looked up once.

use std::collections::HashMap;
use std::rc::Rc;

use flatland_machine::{Machine, Outcome, Stop};
use flatland_program::{Function, Place, Symbols};
use flatland_x86::{EngineError, Fault};

use super::Filter;
use crate::backtrace::{Backtrace, Start};
use crate::ending::Ending;
use crate::instruction::reader;
use crate::words;

/// A cache of names and lines by address.
pub struct Names {
    symbols: Option<Symbols>,
    filter: Option<Filter>,
    known: HashMap<u32, Rc<Known>>,
}

/// The names and lines of an address.
#[derive(Clone, Debug, Default)]
pub struct Known {
    address: u32,
    /// The functions at the address: first the innermost, then the functions that it is inlined in.
    functions: Vec<Function>,
    /// The start address of the outermost one.
    pub start: Option<u32>,
    /// Whether the filter accepts the address.
    pub is_wanted: bool,
}

impl Known {
    /// The name of the outermost function, which is the one that can be called.
    pub fn function(&self) -> Option<&str> {
        self.functions.last()?.name.as_deref()
    }

    /// The location in the program, as far as known from the address alone.
    pub fn place(&self) -> Place {
        Place::of(self.address, self.calls())
    }

    fn calls(&self) -> impl Iterator<Item = (u32, &Function)> {
        self.functions.iter().map(|function| (self.address, function))
    }
}

impl Names {
    pub fn new(symbols: Option<Symbols>, filter: Option<Filter>) -> Self {
        Self { symbols, filter, known: HashMap::new() }
    }

    pub fn get(&mut self, address: u32) -> Rc<Known> {
        if let Some(known) = self.known.get(&address) {
            return known.clone();
        }
        let known = Rc::new(self.look_up(address));
        self.known.insert(address, known.clone());
        known
    }

    fn look_up(&self, address: u32) -> Known {
        let symbols = self.symbols.as_ref();
        let functions = symbols.map(|symbols| symbols.functions(address)).unwrap_or_default();
        let is_wanted = match &self.filter {
            None => true,
            Some(Filter::Addresses(range)) => range.contains(&address),
            Some(Filter::Function(part)) => functions
                .iter()
                .any(|function| function.name.as_ref().is_some_and(|name| name.contains(part))),
        };
        let start = symbols.and_then(|symbols| symbols.function_start(address));
        Known { address, functions, start, is_wanted }
    }

    /// The program's own code location at this address, past the runtime and the standard library. Also whether the
    /// filter accepts any address of the calls up to there.
    pub fn place(&mut self, machine: &mut Machine, address: u32) -> Result<(Place, bool), EngineError> {
        let here = self.get(address);
        let place = here.place();
        if self.symbols.is_none() || place.is_own && here.is_wanted {
            return Ok((place, here.is_wanted));
        }
        let registers = machine.registers()?;
        let start = Start { eip: address, esp: registers.esp, ebp: registers.ebp, function: here.start };
        Ok(self.place_of(machine, &start))
    }

    fn place_of(&mut self, machine: &mut Machine, start: &Start) -> (Place, bool) {
        let walk = Backtrace::walk(start, &reader(machine.engine()));
        let calls: Vec<_> = walk.addresses.into_iter().map(|address| self.get(address)).collect();
        let place = Place::of(start.eip, calls.iter().flat_map(|known| known.calls()));
        (place, calls.iter().any(|known| known.is_wanted))
    }

    /// The location where a run ended, as a suffix: an address with its names.
    pub fn end_location(&mut self, machine: &mut Machine, outcome: &Outcome) -> String {
        let Some(location) = outcome.location() else { return String::new() };
        let Ok(registers) = machine.registers() else { return String::new() };
        let symbols = self.symbols.as_ref();
        let ending = Ending::new(outcome, location, registers, &reader(machine.engine()), symbols);
        match ending.start(symbols) {
            Some(start) => format!(" at {:#010x}{}", start.eip, self.place_of(machine, &start).0),
            None => String::new(),
        }
    }
}

/// The outcome of a run, in a few words.
pub fn outcome_in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Halted => "hlt".into(),
        Outcome::EndOfInput => "the console was read past the end of input".into(),
        Outcome::Exited(status) => format!("exit with status {status}"),
        Outcome::Fault(Fault { kind, .. }) => words::fault(kind, None),
        Outcome::Stopped(Stop::TimeLimit(_), _) => "time limit".into(),
        Outcome::Stopped(Stop::InstructionLimit(_), _) => "limit of instructions".into(),
        Outcome::Stopped(Stop::Signal(signal), _) => signal.to_string(),
        Outcome::Stopped(Stop::Interrupted, _) => "interrupted".into(),
        Outcome::Stopped(Stop::Debugger, _) => "killed by the debugger".into(),
        Outcome::OutputClosed => "the reader of the output has gone away".into(),
        _ => "stopped".into(),
    }
}
