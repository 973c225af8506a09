//! Data transfer instructions (SDM volume 1, section 5.1.1), without the stack's: see [`stack`](super::stack).

use flatland_x86::Access;
use iced_x86::{Instruction, Mnemonic, OpKind, Register as Name};

use super::super::cpu::{Cpu, register};
use super::super::event::Step;
use super::super::flags::*;
use super::super::int::{Int, Size, by_size, by_word_size};
use super::super::operand::{Kind, by_place, by_source, kind, size};
use super::super::operation::{Handler, Op, Place, Source};
use super::arithmetic::{Add, Binary, Sub};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic::*;
    let operand_size = || size(instruction, 0);
    Some(match instruction.mnemonic() {
        Mov if !is_special(instruction) => {
            by_source!(instruction, S => by_place!(instruction, P, T => mov::<T, P, S>))
        }
        Movzx => match size(instruction, 1) {
            Size::Byte => by_source!(instruction, S => by_word_size!(operand_size(), T => movzx::<T, u8, S>)),
            _ => by_source!(instruction, S => by_word_size!(operand_size(), T => movzx::<T, u16, S>)),
        },
        Movsx => match size(instruction, 1) {
            Size::Byte => by_source!(instruction, S => by_word_size!(operand_size(), T => movsx::<T, u8, S>)),
            _ => by_source!(instruction, S => by_word_size!(operand_size(), T => movsx::<T, u16, S>)),
        },
        Cmova => cmov::<A>(instruction),
        Cmovae => cmov::<Ae>(instruction),
        Cmovb => cmov::<B>(instruction),
        Cmovbe => cmov::<Be>(instruction),
        Cmove => cmov::<E>(instruction),
        Cmovg => cmov::<G>(instruction),
        Cmovge => cmov::<Ge>(instruction),
        Cmovl => cmov::<L>(instruction),
        Cmovle => cmov::<Le>(instruction),
        Cmovne => cmov::<Ne>(instruction),
        Cmovno => cmov::<No>(instruction),
        Cmovnp => cmov::<Np>(instruction),
        Cmovns => cmov::<Ns>(instruction),
        Cmovo => cmov::<O>(instruction),
        Cmovp => cmov::<P>(instruction),
        Cmovs => cmov::<S>(instruction),
        Xchg => by_place!(instruction, P, T => xchg::<T, P>),
        Xadd => by_place!(instruction, P, T => xadd::<T, P>),
        Cmpxchg => by_place!(instruction, P, T => cmpxchg::<T, P>),
        Cmpxchg8b => cmpxchg8b,
        Bswap => by_word_size!(operand_size(), T => bswap::<T>),
        Lea if kind(instruction, 1) == Kind::Memory => by_word_size!(operand_size(), T => lea::<T>),
        Cbw => cbw,
        Cwde => cwde,
        Cwd => cwd,
        Cdq => cdq,
        Xlatb => xlat(instruction),
        _ => return None,
    })
}

/// Whether a `mov` is from or to a register that is not a general one.
fn is_special(instruction: &Instruction) -> bool {
    (0..2).any(|operand| {
        instruction.op_kind(operand) == OpKind::Register
            && !(Name::AL..=Name::EDI).contains(&instruction.op_register(operand))
    })
}

fn mov<T: Int, P: Place<T>, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = S::read(cpu, op)?;
    P::write(cpu, op, value)?;
    P::finish(cpu)
}

fn movzx<T: Int, U: Int, S: Source<U>>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = S::read(cpu, op)?;
    cpu.set_reg_part(op.destination, T::truncate(value.zero_extend()));
    Ok(())
}

fn movsx<T: Int, U: Int, S: Source<U>>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = S::read(cpu, op)?;
    cpu.set_reg_part(op.destination, T::truncate(value.sign_extend()));
    Ok(())
}

fn cmov<C: Condition>(instruction: &Instruction) -> Handler {
    by_source!(instruction, S => by_word_size!(size(instruction, 0), T => cmovcc::<C, T, S>))
}

/// The source is read, and may fault, even if the condition does not hold.
fn cmovcc<C: Condition, T: Int, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = S::read(cpu, op)?;
    if C::holds(cpu.flags) {
        cpu.set_reg_part(op.destination, value);
    }
    Ok(())
}

fn xchg<T: Int, P: Place<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let first = P::read_to_write(cpu, op)?;
    P::write(cpu, op, cpu.reg_part(op.source))?;
    cpu.set_reg_part(op.source, first);
    P::finish(cpu)
}

/// The sum goes to the first operand, and the first operand's old value to the second. If both are the same register,
/// it holds the sum.
fn xadd<T: Int, P: Place<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let first = P::read_to_write(cpu, op)?;
    let (sum, flags) = Add::apply(first, cpu.reg_part::<T>(op.source), cpu.flags);
    if P::IN_MEMORY {
        P::write(cpu, op, sum)?;
        cpu.set_reg_part(op.source, first);
    } else {
        cpu.set_reg_part(op.source, first);
        P::write(cpu, op, sum)?;
    }
    cpu.flags = flags;
    P::finish(cpu)
}

/// The destination is written even if it does not change (SDM volume 2, CMPXCHG).
fn cmpxchg<T: Int, P: Place<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let destination = P::read_to_write(cpu, op)?;
    let (_, flags) = Sub::apply(cpu.reg_part::<T>(register::EAX), destination, cpu.flags);
    if flags.zf() {
        P::write(cpu, op, cpu.reg_part(op.source))?;
    } else {
        P::write(cpu, op, destination)?;
        cpu.set_reg_part(register::EAX, destination);
    }
    cpu.flags = flags;
    P::finish(cpu)
}

fn cmpxchg8b(cpu: &mut Cpu, op: &Op) -> Step {
    use register::*;
    let low_offset = cpu.effective_address(op);
    let high_offset = low_offset.wrapping_add(4);
    cpu.check_operand_alignment(op.segment, low_offset, 8)?;
    let mut half = |offset| {
        cpu.load::<u32>(op.segment, offset)
            .map_err(|reason| cpu.refused_to_write(op.segment, low_offset, 8, reason))
    };
    let (low, high) = (half(low_offset)?, half(high_offset)?);
    if cpu.is_paged() {
        cpu.place(op.segment, low_offset, 8, Access::Write)?;
    }
    let equal = (low, high) == (cpu.reg(EAX), cpu.reg(EDX));
    let (new_low, new_high) = if equal { (cpu.reg(EBX), cpu.reg(ECX)) } else { (low, high) };
    // The second half first: if it is refused, nothing has been stored.
    cpu.store(op.segment, high_offset, new_high)?;
    cpu.store(op.segment, low_offset, new_low)?;
    if !equal {
        cpu.set_reg(EAX, low);
        cpu.set_reg(EDX, high);
    }
    cpu.flags = cpu.flags.with_zf(equal);
    cpu.stored()
}

/// With a word the result is undefined; processors since the 486 store 0.
fn bswap<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let swapped = if T::BYTES == 4 { cpu.reg(op.destination).swap_bytes() } else { 0 };
    cpu.set_reg_part(op.destination, T::truncate(swapped));
    Ok(())
}

fn lea<T: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let address = cpu.effective_address(op);
    cpu.set_reg_part(op.destination, T::truncate(address));
    Ok(())
}

fn cbw(cpu: &mut Cpu, _: &Op) -> Step {
    let extended = cpu.reg_part::<u8>(register::EAX).sign_extend();
    cpu.set_reg_part(register::EAX, extended as u16);
    Ok(())
}

fn cwde(cpu: &mut Cpu, _: &Op) -> Step {
    let extended = cpu.reg_part::<u16>(register::EAX).sign_extend();
    cpu.set_reg(register::EAX, extended);
    Ok(())
}

fn cwd(cpu: &mut Cpu, _: &Op) -> Step {
    let sign = (cpu.reg_part::<u16>(register::EAX) as i16) >> 15;
    cpu.set_reg_part(register::EDX, sign as u16);
    Ok(())
}

fn cdq(cpu: &mut Cpu, _: &Op) -> Step {
    let sign = (cpu.reg(register::EAX) as i32) >> 31;
    cpu.set_reg(register::EDX, sign as u32);
    Ok(())
}

fn xlat(instruction: &Instruction) -> Handler {
    if instruction.memory_base() == Name::BX { xlat_of::<u16> } else { xlat_of::<u32> }
}

/// `A` is the address's size. The index is AL, zero-extended, which no other address has.
fn xlat_of<A: Int>(cpu: &mut Cpu, op: &Op) -> Step {
    let index = cpu.reg_part::<u8>(register::EAX);
    let offset = cpu.reg(register::EBX).wrapping_add(index.zero_extend()) & A::MASK;
    let value: u8 = cpu.load(op.segment, offset)?;
    cpu.set_reg_part(register::EAX, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::flags::{AF, CF, OF, PF, SF, ZF};
    use super::super::table::{Row, check};

    #[test]
    fn moves() {
        check(&[
            Row {
                text: "mov ah, cl",
                code: &[0x88, 0xcc],
                before: ([0x11223344, 0x55, 0, 0], 0),
                after: ([0x11225544, 0x55, 0, 0], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "movzx eax, ch",
                code: &[0x0f, 0xb6, 0xc5],
                before: ([0xffffffff, 0x8000, 0, 0], 0),
                after: ([0x80, 0x8000, 0, 0], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "movsx ax, cl",
                code: &[0x66, 0x0f, 0xbe, 0xc1],
                before: ([0x12340000, 0x80, 0, 0], 0),
                after: ([0x1234ff80, 0x80, 0, 0], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "xchg al, ah",
                code: &[0x86, 0xc4],
                before: ([0x12345678, 0, 0, 0], 0),
                after: ([0x12347856, 0, 0, 0], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "xadd eax, ecx",
                code: &[0x0f, 0xc1, 0xc8],
                before: ([5, 6, 0, 0], 0),
                after: ([0xb, 5, 0, 0], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "xadd eax, eax",
                code: &[0x0f, 0xc1, 0xc0],
                before: ([5, 0, 0, 0], 0),
                after: ([0xa, 0, 0, 0], PF),
                flags: CF | PF,
            },
            Row {
                text: "cmpxchg ecx, edx, equal",
                code: &[0x0f, 0xb1, 0xd1],
                before: ([7, 7, 9, 0], 0),
                after: ([7, 9, 9, 0], ZF),
                flags: ZF | CF,
            },
            Row {
                text: "cmpxchg ecx, edx, different",
                code: &[0x0f, 0xb1, 0xd1],
                before: ([7, 8, 9, 0], 0),
                after: ([8, 8, 9, 0], CF),
                flags: ZF | CF,
            },
            Row {
                text: "bswap eax",
                code: &[0x0f, 0xc8],
                before: ([0x12345678, 0, 0, 0], 0),
                after: ([0x78563412, 0, 0, 0], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "lea ax, [ecx+edx*8+1]",
                code: &[0x66, 0x8d, 0x44, 0xd1, 0x01],
                before: ([0x55550000, 0x12340000, 2, 0], 0),
                after: ([0x55550011, 0x12340000, 2, 0], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "lea eax, [bx+1]",
                code: &[0x67, 0x8d, 0x47, 0x01],
                before: ([0, 0, 0, 0x1234ffff], 0),
                after: ([0, 0, 0, 0x1234ffff], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "cmovb eax, ecx",
                code: &[0x0f, 0x42, 0xc1],
                before: ([1, 2, 0, 0], CF),
                after: ([2, 2, 0, 0], CF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "cbw",
                code: &[0x66, 0x98],
                before: ([0x12340080, 0, 0, 0], 0),
                after: ([0x1234ff80, 0, 0, 0], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "cwde",
                code: &[0x98],
                before: ([0x12348000, 0, 0, 0], 0),
                after: ([0xffff8000, 0, 0, 0], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "cwd",
                code: &[0x66, 0x99],
                before: ([0x8000, 0, 0x12345678, 0], 0),
                after: ([0x8000, 0, 0x1234ffff, 0], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "cdq",
                code: &[0x99],
                before: ([0x80000000, 0, 0, 0], 0),
                after: ([0x80000000, 0, 0xffffffff, 0], 0),
                flags: CF | PF | AF | ZF | SF | OF,
            },
        ]);
    }
}
