//! The instructions of MMX, SSE and SSE2 (SDM volume 1, sections 5.4 to 5.6).

mod arithmetic;
mod conversion;
mod integer;
mod operand;
mod shuffle;
mod transfer;

use iced_x86::Instruction;

use super::super::operation::Handler;

/// The handler of an instruction of MMX, SSE or SSE2.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    None.or_else(|| arithmetic::select(instruction))
        .or_else(|| integer::select(instruction))
        .or_else(|| transfer::select(instruction))
        .or_else(|| shuffle::select(instruction))
        .or_else(|| conversion::select(instruction))
}
