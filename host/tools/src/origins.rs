//! Where the values come from that a fault fell over: a search back through the past of the run.
//!
//! The faulting instruction names the first values. For each, the last instruction that changed it is searched in the
//! run's [`Timeline`]. If that copied another value, the search goes on with that one, and so on.

mod operands;

use std::fmt;

use flatland_contract::{Direction, Port};
use flatland_machine::{Machine, Outcome, RunError};
use flatland_program::{Place, Symbols};
use flatland_x86::instruction::{Read, decode};
use flatland_x86::{Fault, FaultKind, Location, Registers, WatchKind, Watchpoint};

use crate::backtrace::{Backtrace, Start};
use crate::ending::Ending;
use crate::instruction::{Instruction, reader};
use crate::timeline::{Register, Target, Timeline};

/// The most steps back that are told of one value.
const MOST_STEPS: usize = 8;

/// The most that are searched, with those that are not worth telling.
const MOST_SEARCHES: usize = 64;

/// Where something that an instruction uses is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// In a register.
    Register(Register),
    /// In memory.
    Memory {
        /// The address of the first byte.
        address: u32,
        /// How many bytes.
        len: u32,
    },
    /// In EIP: where the guest was sent.
    NextInstruction,
}

/// As in a sentence: `ecx` or `0x00008010`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Register(register) => f.write_str(register.name()),
            Self::Memory { address, .. } => write!(f, "{address:#010x}"),
            Self::NextInstruction => f.write_str("eip"),
        }
    }
}

/// How a value came to where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum How {
    /// It was copied from there.
    CopiedFrom(Value),
    /// It was read from this port.
    ReadFrom(u16),
    /// The instruction made it.
    Made,
    /// Nothing has changed it since the beginning of the past.
    NeverWritten,
    /// Somebody ended the search.
    Interrupted,
}

/// One step back: how a value came to where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// Where the value is kept.
    pub of: Value,
    /// What the value is, if it is one that the faulting instruction used.
    pub used: Option<u32>,
    /// How it came there.
    pub how: How,
    /// What brought it there.
    pub by: Option<By>,
}

/// The instruction that brought a value to where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct By {
    /// The instruction.
    pub instruction: Instruction,
    /// Its place in the source.
    pub place: Place,
    /// How many instructions before the end of the run it was executed.
    pub instructions_before: u64,
}

/// A sentence without its period.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { of, used, how, by } = self;
        write!(f, "{of}")?;
        if let Some(used) = used {
            write!(f, " {used:08x}")?;
        }
        match (how, of) {
            (How::NeverWritten, _) => return f.write_str(" was never written since the beginning"),
            (How::Interrupted, _) => return f.write_str(": the search was interrupted"),
            (How::CopiedFrom(from), _) => write!(f, " was {} {from}", copied(*of, *from))?,
            (How::ReadFrom(port), _) => match Port::from_number(*port) {
                Some(known) => write!(f, " was read from port {port:#x}, {},", known.name())?,
                None => write!(f, " was read from port {port:#x}")?,
            },
            (How::Made, Value::Memory { .. }) => f.write_str(" was written")?,
            (How::Made, Value::Register(_)) => f.write_str(" was computed")?,
            (How::Made, Value::NextInstruction) => f.write_str(" was reached")?,
        }
        let Some(By { instruction, place, instructions_before }) = by else { return Ok(()) };
        let Instruction { address, text, .. } = instruction;
        let s = if *instructions_before == 1 { "" } else { "s" };
        write!(f, " by `{text}` at {address:#010x}{place}, {instructions_before} instruction{s} before")
    }
}

/// Whether a register was saved elsewhere and restored, as around a call. That is not worth telling, if it was on the
/// stack or in another register.
fn is_restored(restored: &Origin, saved: &Origin) -> bool {
    matches!(restored.of, Value::Register(_)) && saved.how == How::CopiedFrom(restored.of)
}

/// What an instruction did that took a value from there to here.
fn copied(to: Value, from: Value) -> &'static str {
    match (to, from) {
        (Value::Register(_), Value::Memory { .. }) => "loaded from",
        (Value::Memory { .. }, Value::Register(_)) => "written from",
        (Value::NextInstruction, _) => "taken from",
        _ => "copied from",
    }
}

/// Searches the origins of what this fault fell over. The machine is where the fault has ended its run, and stays there.
///
/// Each step back is a search through the past, which may take as long as the run has taken; for a register much longer.
/// An interrupt of the machine ends it.
pub fn of_fault(
    fault: &Fault,
    machine: &mut Machine,
    timeline: &mut Timeline,
    symbols: Option<&Symbols>,
) -> Result<Vec<Origin>, RunError> {
    let Some(used) = used_by(fault, machine, symbols)? else { return Ok(Vec::new()) };
    // An `out` has been executed when its port refuses it.
    let is_over = matches!(fault.kind, FaultKind::Port { direction: Direction::Out, .. });
    let end = timeline.end(machine).saturating_sub(is_over.into());
    let mut search = Search { end, machine, timeline, symbols };
    let mut origins = Vec::new();
    for (value, used) in used {
        origins.extend(search.follow(value, used)?);
        search.timeline.go_to_end(search.machine)?;
    }
    Ok(origins)
}

/// The values that this fault fell over. None if its instruction is not known.
fn used_by(
    fault: &Fault,
    machine: &mut Machine,
    symbols: Option<&Symbols>,
) -> Result<Option<Vec<(Value, u32)>>, RunError> {
    let registers = machine.registers()?;
    let read = reader(machine.engine());
    let ending = Ending::new(&Outcome::Fault(*fault), fault.location, registers, &read, symbols);
    let is_known = matches!(ending.location, Location::At(_));
    Ok(is_known.then(|| operands::used_by(fault, &ending.registers, &read)))
}

struct Search<'a> {
    /// Where the run has ended: a count of instructions.
    end: u64,
    machine: &'a mut Machine,
    timeline: &'a mut Timeline,
    symbols: Option<&'a Symbols>,
}

impl Search<'_> {
    /// The steps back from this value. The machine is in the past behind that.
    fn follow(&mut self, value: Value, used: u32) -> Result<Vec<Origin>, RunError> {
        let mut origins: Vec<Origin> = Vec::new();
        // Whether each of them is of the stack.
        let mut are_of_stack = Vec::new();
        let mut next = Some(value);
        let mut searches = 0;
        while let Some(of) = next
            && origins.len() < MOST_STEPS
            && searches < MOST_SEARCHES
        {
            searches += 1;
            let used = origins.is_empty().then_some(used);
            let Some(before) = self.go_before_writer(of)? else {
                let how = if self.machine.is_interrupted() { How::Interrupted } else { How::NeverWritten };
                origins.push(Origin { of, used, how, by: None });
                break;
            };
            let registers = self.machine.registers()?;
            let read = reader(self.machine.engine());
            let Some((decoded, bytes)) = decode(registers.eip, &read) else { break };
            let how = operands::how_changed(&decoded, &registers, of);
            let by = By {
                instruction: Instruction::new(&decoded, &bytes),
                place: self.symbols.map(|symbols| place(&registers, &read, symbols)).unwrap_or_default(),
                instructions_before: self.end.saturating_sub(before),
            };
            origins.push(Origin { of, used, how, by: Some(by) });
            are_of_stack.push(operands::is_of_stack(&decoded));
            next = match how {
                How::CopiedFrom(from) => Some(from),
                _ => None,
            };
            if let ([.., restored, saved], [.., was_popped, was_pushed]) = (&origins[..], &are_of_stack[..])
                && is_restored(restored, saved)
                && (matches!(saved.of, Value::Register(_)) || *was_popped && *was_pushed)
            {
                origins.truncate(origins.len() - 2);
                are_of_stack.truncate(origins.len());
            }
        }
        Ok(origins)
    }

    /// Goes to the last instruction that wrote this. Returns how many were executed before it.
    fn go_before_writer(&mut self, value: Value) -> Result<Option<u64>, RunError> {
        let target = match value {
            Value::NextInstruction => {
                let has_moved = self.timeline.step_back(self.machine)?;
                return Ok(self.machine.instructions().filter(|_| has_moved));
            }
            Value::Register(register) => Target::Register(register),
            Value::Memory { address, len } => Target::Stops {
                breakpoints: Vec::new(),
                watchpoints: vec![Watchpoint { address, len, kind: WatchKind::Write }],
            },
        };
        let Some(found) = self.timeline.find(self.machine, target)? else { return Ok(None) };
        self.timeline.go_to_found(self.machine, &found)?;
        Ok(self.machine.instructions())
    }
}

/// The place in the source of a guest that has these registers.
fn place(registers: &Registers, read: Read, symbols: &Symbols) -> Place {
    let Registers { eip, esp, ebp, .. } = *registers;
    let start = Start { eip, esp, ebp, function: symbols.function_start(eip) };
    let calls = Backtrace::walk(&start, read).addresses.into_iter();
    let functions: Vec<_> = calls
        .flat_map(|address| symbols.functions(address).into_iter().map(move |function| (address, function)))
        .collect();
    Place::of(eip, functions.iter().map(|(address, function)| (*address, function)))
}
