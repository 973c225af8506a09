//! The instructions, in the groups of SDM volume 1, section 5.1.

mod arithmetic;
mod bit;
mod comparison;
mod control;
mod data_transfer;
mod decimal;
mod divide;
mod far_control;
mod flag_control;
mod io;
mod logic;
mod miscellaneous;
mod multiply;
mod segment_register;
mod shift;
mod stack;
mod string;
mod system;
#[cfg(test)]
mod table;
mod vector;
mod x87;

use iced_x86::{Code, Instruction, Mnemonic};

use super::operation::{Handler, Op};

pub use comparison::select as select_comparison;
pub use io::complete as complete_input;

/// The handler of an instruction, if this engine has it. `op` has the operands; the handler's module may rearrange
/// them.
pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    None.or_else(|| data_transfer::select(instruction))
        .or_else(|| arithmetic::select(instruction))
        .or_else(|| control::select(instruction, op))
        .or_else(|| stack::select(instruction, op))
        .or_else(|| logic::select(instruction))
        .or_else(|| shift::select(instruction))
        .or_else(|| bit::select(instruction))
        .or_else(|| multiply::select(instruction))
        .or_else(|| divide::select(instruction))
        .or_else(|| string::select(instruction))
        .or_else(|| io::select(instruction))
        .or_else(|| flag_control::select(instruction))
        .or_else(|| decimal::select(instruction))
        .or_else(|| far_control::select(instruction))
        .or_else(|| segment_register::select(instruction))
        .or_else(|| miscellaneous::select(instruction))
        .or_else(|| system::select(instruction))
        .or_else(|| vector::select(instruction))
        .or_else(|| x87::select(instruction, op))
}

/// Whether an instruction needs privilege level 0 (SDM volume 3, section 6.9).
pub fn is_privileged(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    let moves = [Code::Mov_r32_cr, Code::Mov_cr_r32, Code::Mov_r32_dr, Code::Mov_dr_r32];
    matches!(
        instruction.mnemonic(),
        Lgdt | Lidt
            | Lldt
            | Ltr
            | Lmsw
            | Clts
            | Invd
            | Wbinvd
            | Invlpg
            | Rdmsr
            | Wrmsr
            | Rdpmc
            | Hlt
            | Sysexit
    ) || moves.contains(&instruction.code())
}

/// Whether an instruction may continue anywhere but at the next address.
pub fn ends_block(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(
        instruction.mnemonic(),
        Ja | Jae
            | Jb
            | Jbe
            | Je
            | Jg
            | Jge
            | Jl
            | Jle
            | Jne
            | Jno
            | Jnp
            | Jns
            | Jo
            | Jp
            | Js
            | Jcxz
            | Jecxz
            | Loop
            | Loope
            | Loopne
            | Jmp
            | Call
            | Ret
            | Retf
            | Iret
            | Iretd
            | Int
            | Int1
            | Int3
            | Hlt
            | In
            | Out
            | Insb
            | Insw
            | Insd
            | Outsb
            | Outsw
            | Outsd
            | Popf
            | Popfd
            | Lmsw
            | Sysenter
            | Sysexit
    ) || matches!(instruction.code(), Code::Mov_cr_r32 | Code::Mov_dr_r32)
}
