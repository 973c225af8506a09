//! The kinds and sizes of an instruction's operands, and the macros that choose a handler by them.

use iced_x86::{Instruction, MemorySize, OpKind, Register};

use super::int::Size;

/// The kind of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A register.
    Register,
    /// In memory.
    Memory,
    /// An immediate.
    Immediate,
}

/// The kind of an instruction's operand.
pub fn kind(instruction: &Instruction, operand: u32) -> Kind {
    match instruction.op_kind(operand) {
        OpKind::Register => Kind::Register,
        OpKind::Memory => Kind::Memory,
        _ => Kind::Immediate,
    }
}

/// The size of a register or of an operand in memory.
pub fn size(instruction: &Instruction, operand: u32) -> Size {
    match instruction.op_kind(operand) {
        OpKind::Register => match instruction.op_register(operand) {
            register if (Register::AL..=Register::BH).contains(&register) => Size::Byte,
            register if (Register::AX..=Register::DI).contains(&register) => Size::Word,
            register if (Register::ES..=Register::GS).contains(&register) => Size::Word,
            _ => Size::Doubleword,
        },
        _ => match instruction.memory_size() {
            MemorySize::UInt8 | MemorySize::Int8 => Size::Byte,
            MemorySize::UInt16 | MemorySize::Int16 | MemorySize::WordOffset => Size::Word,
            _ => Size::Doubleword,
        },
    }
}

/// The handler for an instruction's first operand, a register or in memory: an expression over its place and size.
macro_rules! by_place {
    ($instruction:expr, $P:ident, $T:ident => $handler:expr) => {
        match $crate::operand::kind($instruction, 0) {
            $crate::operand::Kind::Memory => {
                type $P = $crate::operation::Memory;
                by_size!($crate::operand::size($instruction, 0), $T => $handler)
            }
            _ => {
                type $P = $crate::operation::Destination;
                by_size!($crate::operand::size($instruction, 0), $T => $handler)
            }
        }
    };
}

/// The handler for an instruction's second operand, a register or in memory, of the size given.
macro_rules! by_source {
    ($instruction:expr, $S:ident => $handler:expr) => {
        match $crate::operand::kind($instruction, 1) {
            $crate::operand::Kind::Memory => {
                type $S = $crate::operation::Memory;
                $handler
            }
            $crate::operand::Kind::Register => {
                type $S = $crate::operation::Register;
                $handler
            }
            $crate::operand::Kind::Immediate => {
                type $S = $crate::operation::Immediate;
                $handler
            }
        }
    };
}

pub(super) use {by_place, by_source};
