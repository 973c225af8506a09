//! Names and lines for a trace, looked up once for each address.

use std::collections::HashMap;
use std::rc::Rc;

use super::Filter;
use crate::backtrace::{Backtrace, Start};
use flatland_machine::{Outcome, Stop};
use flatland_program::Function;
use flatland_program::{Place, Symbols};
use flatland_x86::{Access, Fault};
use flatland_x86::{Engine, EngineError};

/// What is known of addresses.
pub struct Names {
    symbols: Option<Symbols>,
    filter: Option<Filter>,
    known: HashMap<u32, Rc<Known>>,
}

/// What is known of an address.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The innermost function and line.
    pub place: Place,
    /// The function that can be called: the outermost, in which others may be inlined.
    pub function: Option<String>,
    /// Where that begins.
    pub start: Option<u32>,
    /// The innermost function that is the program's own, and no runtime's.
    pub own: Option<Place>,
    /// Whether the filter lets it through.
    pub wanted: bool,
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
        let wanted = match &self.filter {
            None => true,
            Some(Filter::Addresses(range)) => range.contains(&address),
            Some(Filter::Function(part)) => functions
                .iter()
                .any(|function| function.name.as_ref().is_some_and(|name| name.contains(part))),
        };
        Known {
            place: functions.first().map(place).unwrap_or_default(),
            function: functions.last().and_then(|function| function.name.clone()),
            start: symbols.and_then(|symbols| symbols.function_start(address)),
            own: functions.iter().find(|function| is_own(function)).map(place),
            wanted,
        }
    }

    /// The place in the program itself that led to where the guest is, past the runtime and the standard library; and
    /// whether the filter lets anything of the way through.
    pub fn own_place(&mut self, engine: &mut dyn Engine, address: u32) -> Result<(Place, bool), EngineError> {
        let here = self.get(address);
        if here.own.is_some() && here.wanted {
            return Ok((here.own.clone().unwrap_or_default(), true));
        }
        let registers = engine.registers()?;
        let start = Start { eip: address, esp: registers.esp, ebp: registers.ebp, function: here.start };
        let callers = Backtrace::walk(&start, &|address, bytes| engine.read_ram(address, bytes)).addresses;
        let mut own = None;
        let mut wanted = false;
        for address in callers {
            let known = self.get(address);
            own = own.or_else(|| known.own.clone());
            wanted |= known.wanted;
        }
        Ok((own.unwrap_or_else(|| here.place.clone()), wanted))
    }
}

fn place(function: &Function) -> Place {
    let line = function.source.as_ref().map(|source| (source.shown.clone(), source.line));
    Place { function: function.name.clone(), line }
}

fn is_own(function: &Function) -> bool {
    let is_runtime =
        |name: &String| name.starts_with("flatland_guest::") || name.starts_with("<flatland_guest::");
    function.source.is_some()
        && !function.name.as_ref().is_some_and(is_runtime)
        && !function.is_of_the_standard_library()
}

/// How a run ended, in a few words.
pub fn of_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Halted => "hlt".into(),
        Outcome::EndOfInput => "the console was read past the end of input".into(),
        Outcome::Exited(status) => format!("exit with status {status}"),
        Outcome::Fault(Fault { kind, .. }) => crate::words::fault(kind, None),
        Outcome::Stopped(Stop::TimeLimit(_), _) => "time limit".into(),
        Outcome::Stopped(Stop::InstructionLimit(_), _) => "limit of instructions".into(),
        Outcome::Stopped(Stop::Signal(signal), _) => signal.to_string(),
        Outcome::Stopped(Stop::Interrupted, _) => "interrupted".into(),
        Outcome::Stopped(Stop::Debugger, _) => "killed by the debugger".into(),
        Outcome::OutputClosed => "the reader of the output has gone away".into(),
        other => format!("{other:?}"),
    }
}

/// What the guest can read, for whoever decodes its code.
pub fn read(engine: &dyn Engine, address: u32, bytes: &mut [u8]) -> usize {
    let there = engine.memory_map().end_of_run(Access::Execute, address).saturating_sub(address);
    engine.read_ram(address, bytes).min(there as usize)
}
