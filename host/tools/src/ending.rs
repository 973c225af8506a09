//! Finds the exact location where a run ended.

use flatland_contract::memory::ENTRY;
use flatland_contract::{Direction, Port};
use flatland_machine::Outcome;
use flatland_program::Symbols;
use flatland_x86::instruction::Read;
use flatland_x86::{Access, Fault, FaultKind, Location, Registers};

use crate::backtrace::Start;
use crate::instruction::{self, Deed, Instruction};

/// The processor at the end of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// The outcome. If the engine knew only the end of an instruction and its start was found, the location is exact.
    pub outcome: Outcome,
    /// The location.
    pub location: Location,
    /// The instruction there, if its start is known and it can be decoded.
    pub instruction: Option<Instruction>,
    /// The registers before the instruction, as far as the engine preserves them.
    pub registers: Registers,
}

impl Ending {
    /// Decodes the end of a run with this outcome, location and registers.
    pub fn new(
        outcome: &Outcome,
        location: Location,
        mut registers: Registers,
        read: Read,
        symbols: Option<&Symbols>,
    ) -> Self {
        let mut outcome = outcome.clone();
        let exact = exactly(&outcome, location, &registers, read, symbols);
        if let Outcome::Fault(fault) = &mut outcome {
            fault.location = exact;
        }
        let mut instruction = None;
        if let Location::At(address) = exact {
            instruction = Instruction::at(address, read);
            registers.eip = address;
        }
        if let (Location::EndsAt(_), Some(pushed)) = (location, &instruction) {
            // KVM reports it after ESP has changed.
            let by = pushed.moves_stack_pointer().min(0);
            registers.esp = registers.esp.wrapping_sub(by as u32);
        }
        Self { outcome, location: exact, instruction, registers }
    }

    /// The start of a backtrace. None if the registers are no longer the guest's.
    pub fn start(&self, symbols: Option<&Symbols>) -> Option<Start> {
        let eip = self.location.inside()?;
        let Registers { esp, ebp, .. } = self.registers;
        Some(Start { eip, esp, ebp, function: symbols.and_then(|symbols| symbols.function_start(eip)) })
    }
}

/// Finds the instruction if the engine knows only its end.
fn exactly(
    outcome: &Outcome,
    location: Location,
    registers: &Registers,
    read: Read,
    symbols: Option<&Symbols>,
) -> Location {
    let Location::EndsAt(end) = location else { return location };
    let deed = match outcome {
        Outcome::Exited(_) => Deed::Out(Port::Exit.number()),
        Outcome::Fault(Fault { kind, .. }) => match *kind {
            FaultKind::Port { port, direction: Direction::Out, .. } => Deed::Out(port),
            FaultKind::OutsideRam { access: Access::Write, address, .. }
            | FaultKind::Guard { access: Access::Write, address, .. }
            | FaultKind::ReadOnly { address } => Deed::Write(address),
            FaultKind::StackOverflow { .. } => Deed::Stack,
            FaultKind::Exception { .. } => Deed::Trap,
            _ => return location,
        },
        _ => return location,
    };
    // Compilers put only code between a function's start and its end. Without symbols, decode from the start of the
    // image.
    let function = symbols.and_then(|symbols| symbols.function_start(end.wrapping_sub(1)));
    instruction::ending_at(end, function.unwrap_or(ENTRY), deed, registers, read)
        .map_or(location, Location::At)
}
