//! The x87's instructions (SDM volume 1, section 5.2).

mod arithmetic;
mod comparison;
mod control;
mod function;
mod operand;
mod transfer;

use iced_x86::{Instruction, OpKind};

use super::super::operation::{Handler, Op};

pub use comparison::set_flags;

/// The handler of an instruction of the x87. The operation's immediate says whether an operand is in memory.
pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    let handler = None
        .or_else(|| arithmetic::select(instruction))
        .or_else(|| transfer::select(instruction))
        .or_else(|| comparison::select(instruction))
        .or_else(|| function::select(instruction))
        .or_else(|| control::select(instruction))?;
    op.immediate =
        u32::from((0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory));
    Some(handler)
}
