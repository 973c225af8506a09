//! Where exactly a run has ended.

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
    /// How the run ended. Where the engine knew only where an instruction ended, and that was found, it is told exactly.
    pub outcome: Outcome,
    /// Where.
    pub location: Location,
    /// The instruction there, if it is known where it begins and there is one.
    pub instruction: Option<Instruction>,
    /// The registers, before it was executed as far as the engine keeps that.
    pub registers: Registers,
}

impl Ending {
    /// Finds out more of a run that has ended there, with these registers.
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
            // KVM tells of it when ESP has moved.
            let by = pushed.moves_stack_pointer().min(0);
            registers.esp = registers.esp.wrapping_sub(by as u32);
        }
        Self { outcome, location: exact, instruction, registers }
    }

    /// Where a walk along its calls begins. None where the registers are not the guest's any more.
    pub fn start(&self, symbols: Option<&Symbols>) -> Option<Start> {
        let eip = self.location.inside()?;
        let Registers { esp, ebp, .. } = self.registers;
        Some(Start { eip, esp, ebp, function: symbols.and_then(|symbols| symbols.function_start(eip)) })
    }
}

/// Finds the instruction where the engine knows only its end.
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
    // Compilers put nothing but code between a function's start and its end. Without symbols there is only the start of
    // the image.
    let function = symbols.and_then(|symbols| symbols.function_start(end.wrapping_sub(1)));
    instruction::ending_at(end, function.unwrap_or(ENTRY), deed, registers, read)
        .map_or(location, Location::At)
}
