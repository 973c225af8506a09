//! Near control transfer instructions (SDM volume 1, section 5.1.7), software interrupts, and `setcc` (section
//! 5.1.6), which shares their conditions.

use iced_x86::{Code, Instruction, Mnemonic};

use super::super::cpu::{Cpu, register};
use super::super::event::{Break, Step};
use super::super::flags::*;
use super::super::int::{Int, Size, by_size, by_word_size};
use super::super::operand::{Kind, by_place, kind};
use super::super::operation::{Handler, Memory, Op, Place, Register, Source};

/// The handler of an instruction of this module. The operand of an indirect branch becomes the second.
pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    use Mnemonic::*;
    Some(match instruction.mnemonic() {
        Ja => jcc::<A>,
        Jae => jcc::<Ae>,
        Jb => jcc::<B>,
        Jbe => jcc::<Be>,
        Je => jcc::<E>,
        Jg => jcc::<G>,
        Jge => jcc::<Ge>,
        Jl => jcc::<L>,
        Jle => jcc::<Le>,
        Jne => jcc::<Ne>,
        Jno => jcc::<No>,
        Jnp => jcc::<Np>,
        Jns => jcc::<Ns>,
        Jo => jcc::<O>,
        Jp => jcc::<P>,
        Js => jcc::<S>,
        Seta => setcc::<A>(instruction),
        Setae => setcc::<Ae>(instruction),
        Setb => setcc::<B>(instruction),
        Setbe => setcc::<Be>(instruction),
        Sete => setcc::<E>(instruction),
        Setg => setcc::<G>(instruction),
        Setge => setcc::<Ge>(instruction),
        Setl => setcc::<L>(instruction),
        Setle => setcc::<Le>(instruction),
        Setne => setcc::<Ne>(instruction),
        Setno => setcc::<No>(instruction),
        Setnp => setcc::<Np>(instruction),
        Setns => setcc::<Ns>(instruction),
        Seto => setcc::<O>(instruction),
        Setp => setcc::<P>(instruction),
        Sets => setcc::<S>(instruction),
        Jcxz => jump_if_zero::<u16>,
        Jecxz => jump_if_zero::<u32>,
        Loop | Loope | Loopne => loop_of(instruction)?,
        Jmp | Call => {
            op.source = op.destination;
            branch_of(instruction.code())?(kind(instruction, 0))
        }
        Ret => match instruction.code() {
            Code::Retnw | Code::Retnw_imm16 => ret::<u16>,
            _ => ret::<u32>,
        },
        Int => int,
        Int3 => int3,
        Into => into,
        _ => return None,
    })
}

/// The handler of a near `jmp` or `call`, by its operand's kind.
fn branch_of(code: Code) -> Option<fn(Kind) -> Handler> {
    use Code::*;
    /// By kind of operand.
    macro_rules! by_kind {
        ($handler:ident, $T:ty) => {
            |kind| match kind {
                Kind::Memory => $handler::<$T, Memory>,
                Kind::Register => $handler::<$T, Register>,
                Kind::Immediate => $handler::<$T, super::super::operation::Immediate>,
            }
        };
    }
    Some(match code {
        Jmp_rel8_16 | Jmp_rel16 | Jmp_rm16 => by_kind!(jmp, u16),
        Jmp_rel8_32 | Jmp_rel32_32 | Jmp_rm32 => by_kind!(jmp, u32),
        Call_rel16 | Call_rm16 => by_kind!(call, u16),
        Call_rel32_32 | Call_rm32 => by_kind!(call, u32),
        _ => return None,
    })
}

fn jcc<C: Condition>(cpu: &mut Cpu, op: &Op) -> Step {
    jump_if(cpu, op, C::holds(cpu.flags))
}

#[inline(always)]
fn jump_if(cpu: &mut Cpu, op: &Op, condition: bool) -> Step {
    if condition {
        cpu.branch(op.immediate)
    } else {
        cpu.eip = op.next;
        Err(Break::Branch)
    }
}

fn setcc<C: Condition>(instruction: &Instruction) -> Handler {
    by_place!(instruction, P, T => set::<C, T, P>)
}

fn set<C: Condition, T: Int, P: Place<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = C::holds(cpu.flags);
    P::write(cpu, op, T::truncate(value.into()))?;
    P::finish(cpu)
}

/// `jcxz` and `jecxz`; `N` is the counter's size, which is the address's.
fn jump_if_zero<N: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    jump_if(cpu, op, cpu.reg(register::ECX) & N::MASK == 0)
}

fn loop_of(instruction: &Instruction) -> Option<Handler> {
    use Code::*;
    // The counter has the address's size.
    let counter = match instruction.code() {
        Loop_rel8_16_CX | Loop_rel8_32_CX | Loope_rel8_16_CX | Loope_rel8_32_CX | Loopne_rel8_16_CX
        | Loopne_rel8_32_CX => Size::Word,
        _ => Size::Doubleword,
    };
    Some(match instruction.mnemonic() {
        Mnemonic::Loop => by_word_size!(counter, N => loop_while::<N, Always>),
        Mnemonic::Loope => by_word_size!(counter, N => loop_while::<N, E>),
        Mnemonic::Loopne => by_word_size!(counter, N => loop_while::<N, Ne>),
        _ => return None,
    })
}

/// The condition of a plain `loop`.
struct Always;

impl Condition for Always {
    fn holds(_: Flags) -> bool {
        true
    }
}

fn loop_while<N: Int, C: Condition>(cpu: &mut Cpu, op: &Op) -> Step {
    let count = cpu.reg(register::ECX).wrapping_sub(1) & N::MASK;
    let taken = count != 0 && C::holds(cpu.flags);
    if taken {
        cpu.check_target(op.immediate)?;
    }
    cpu.set_reg_part(register::ECX, N::truncate(count));
    cpu.eip = if taken { op.immediate } else { op.next };
    Err(Break::Branch)
}

/// `T` is the operand size: with 16 bits, the upper half of EIP is cleared (SDM volume 2, JMP).
fn jmp<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let target = S::read(cpu, op)?.zero_extend();
    cpu.branch(target)
}

fn call<T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let target = S::read(cpu, op)?.zero_extend();
    cpu.check_target(target)?;
    cpu.push(T::truncate(op.next))?;
    cpu.branch_after_store(target)
}

/// The immediate is the number of bytes of arguments to drop.
fn ret<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let target = cpu.peek::<T>(0)?.zero_extend();
    cpu.check_target(target)?;
    cpu.drop_stack(T::BYTES + op.immediate);
    cpu.eip = target;
    Err(Break::Branch)
}

fn int(cpu: &mut Cpu, op: &Op) -> Step {
    Err(cpu.software_interrupt(op.immediate as u8))
}

fn int3(cpu: &mut Cpu, _: &Op) -> Step {
    Err(cpu.software_interrupt(3))
}

fn into(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.flags.of() { Err(cpu.software_interrupt(4)) } else { Ok(()) }
}
