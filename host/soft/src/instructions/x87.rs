//! What the x87's instructions have in common (SDM volume 1, section 5.2 and chapter 8).

use flatland_x86::{cr0, instruction};
use iced_x86::{Instruction, OpKind};

use super::super::cpu::Cpu;
use super::super::event::{Break, Step};
use super::super::float::{Extended, Number};
use super::super::fpu::status;
use super::super::operation::{Handler, Op};
use super::super::segment::number;
use super::{x87_arithmetic, x87_comparison, x87_control, x87_function, x87_transfer};

/// The handler of an instruction of the x87. The operation's immediate says whether an operand is in memory.
pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    let handler = None
        .or_else(|| x87_arithmetic::select(instruction))
        .or_else(|| x87_transfer::select(instruction))
        .or_else(|| x87_comparison::select(instruction))
        .or_else(|| x87_function::select(instruction))
        .or_else(|| x87_control::select(instruction))?;
    op.immediate =
        u32::from((0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory));
    Some(handler)
}

/// The number that invalid operations have as their result.
pub const INDEFINITE: Extended = Extended { significand: 0xc000_0000_0000_0000, head: 0xffff };

/// A number in memory.
pub trait Operand: 'static {
    /// Loads it.
    fn load(cpu: &mut Cpu, op: &Op) -> Result<Number, Break>;
}

impl Cpu {
    /// Begins an instruction of the x87 that does not wait: #NM if the unit is switched off (SDM volume 3, table 2-2).
    #[inline]
    pub fn begin_control(&mut self) -> Step {
        if self.cr0 & (cr0::EM | cr0::TS) != 0 { Err(self.no_device()) } else { Ok(()) }
    }

    /// Begins an instruction of the x87: #MF if an earlier one has an exception that is not masked.
    ///
    /// CR0.NE makes no difference: there is no other way to tell a guest, and processors with virtualization behave like
    /// that, too.
    #[inline]
    pub fn begin_x87(&mut self) -> Step {
        self.begin_control()?;
        if self.fpu.has_error() { Err(self.floating_point_error()) } else { Ok(()) }
    }

    /// Ends an instruction of the x87 that may have an exception.
    pub fn end_x87(&mut self, op: &Op) -> Step {
        self.fpu.instruction = op.eip;
        if self.fpu.has_error() {
            self.note_place(op);
        }
        Ok(())
    }

    /// Notes which instruction has an exception that is not masked, and its operand's address.
    #[cold]
    fn note_place(&mut self, op: &Op) {
        let linear = self.segment(number::CS).base.wrapping_add(op.eip);
        let code =
            self.look_up(linear).map_or(&[][..], |at| self.memory.code(at, op.next.wrapping_sub(op.eip)));
        if let [first, second, ..] = *instruction::opcode(code) {
            self.fpu.opcode = u16::from(first & 7) << 8 | u16::from(second);
        }
        if op.immediate != 0 {
            self.fpu.data = self.effective_address(op);
        }
    }

    /// Whether the x87's condition codes are these.
    pub fn set_conditions(&mut self, set: u16) {
        self.fpu.set_conditions(status::C0 | status::C2 | status::C3, set);
    }
}
