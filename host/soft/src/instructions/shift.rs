//! Shift and rotate instructions (SDM volume 1, section 5.1.5).
//!
//! The manual leaves OF undefined for counts above 1. Here it follows the same rule as for 1, as on processors.
//! AF, undefined too, is cleared.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::super::cpu::{Cpu, register};
use super::super::event::Step;
use super::super::flags::Flags;
use super::super::int::{Int, by_size};
use super::super::operand::{Kind, by_place, kind};
use super::super::operation::{Handler, Immediate, Op, Place, Register, Source};

/// Shifts by more than this are shifts by the count modulo 32 (SDM volume 2, SAL/SAR/SHL/SHR).
const COUNT_MASK: u32 = 31;

/// What a shift or rotation by a count from 1 to 31 does.
trait Shift: 'static {
    /// The result and the flags.
    fn apply<T: Int>(operand: u32, count: u32, flags: Flags) -> (u32, Flags);
}

struct Shl;
struct Shr;
struct Sar;
struct Rol;
struct Ror;
struct Rcl;
struct Rcr;

/// Whether the highest bit is set.
fn sign<T: Int>(value: u32) -> bool {
    value & T::SIGN != 0
}

/// Whether the two highest bits differ: OF after a move to the right.
fn high_bits_differ<T: Int>(value: u32) -> bool {
    sign::<T>(value ^ (value << 1))
}

impl Shift for Shl {
    fn apply<T: Int>(operand: u32, count: u32, _: Flags) -> (u32, Flags) {
        let wide = u64::from(operand) << count;
        let result = wide as u32;
        let cf = wide & (1 << T::BITS) != 0;
        (result, Flags::of_result::<T>(result).with_cf_of(cf, sign::<T>(result) != cf))
    }
}

impl Shift for Shr {
    fn apply<T: Int>(operand: u32, count: u32, _: Flags) -> (u32, Flags) {
        let result = operand >> count;
        let cf = (operand >> (count - 1)) & 1 != 0;
        (result, Flags::of_result::<T>(result).with_cf_of(cf, high_bits_differ::<T>(result)))
    }
}

impl Shift for Sar {
    fn apply<T: Int>(operand: u32, count: u32, _: Flags) -> (u32, Flags) {
        let operand = T::truncate(operand).sign_extend() as i32;
        let result = (operand >> count) as u32;
        let cf = (operand >> (count - 1)) & 1 != 0;
        (result, Flags::of_result::<T>(result).with_cf_of(cf, false))
    }
}

impl Shift for Rol {
    fn apply<T: Int>(operand: u32, count: u32, flags: Flags) -> (u32, Flags) {
        let count = count % T::BITS;
        let result = if count == 0 { operand } else { operand << count | operand >> (T::BITS - count) };
        let cf = result & 1 != 0;
        (result, flags.with_cf_of(cf, sign::<T>(result) != cf))
    }
}

impl Shift for Ror {
    fn apply<T: Int>(operand: u32, count: u32, flags: Flags) -> (u32, Flags) {
        let count = count % T::BITS;
        let result = if count == 0 { operand } else { operand >> count | operand << (T::BITS - count) };
        (result, flags.with_cf_of(sign::<T>(result), high_bits_differ::<T>(result)))
    }
}

impl Shift for Rcl {
    fn apply<T: Int>(operand: u32, count: u32, flags: Flags) -> (u32, Flags) {
        // CF and the operand are one number of BITS + 1 bits.
        let count = count % (T::BITS + 1);
        if count == 0 {
            return (operand, flags);
        }
        let wide = u64::from(flags.carry()) << T::BITS | u64::from(operand);
        let rotated = wide << count | wide >> (T::BITS + 1 - count);
        let result = rotated as u32 & T::MASK;
        let cf = rotated & (1 << T::BITS) != 0;
        (result, flags.with_cf_of(cf, sign::<T>(result) != cf))
    }
}

impl Shift for Rcr {
    fn apply<T: Int>(operand: u32, count: u32, flags: Flags) -> (u32, Flags) {
        let count = count % (T::BITS + 1);
        if count == 0 {
            return (operand, flags);
        }
        let wide = u64::from(flags.carry()) << T::BITS | u64::from(operand);
        let rotated = wide >> count | wide << (T::BITS + 1 - count);
        let result = rotated as u32 & T::MASK;
        (result, flags.with_cf_of(rotated & (1 << T::BITS) != 0, high_bits_differ::<T>(result)))
    }
}

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Shl | M::Sal => handler::<Shl>(instruction),
        M::Shr => handler::<Shr>(instruction),
        M::Sar => handler::<Sar>(instruction),
        M::Rol => handler::<Rol>(instruction),
        M::Ror => handler::<Ror>(instruction),
        M::Rcl => handler::<Rcl>(instruction),
        M::Rcr => handler::<Rcr>(instruction),
        M::Shld if by_cl(instruction) => by_place!(instruction, P, T => shld::<T, P, true>),
        M::Shld => by_place!(instruction, P, T => shld::<T, P, false>),
        M::Shrd if by_cl(instruction) => by_place!(instruction, P, T => shrd::<T, P, true>),
        M::Shrd => by_place!(instruction, P, T => shrd::<T, P, false>),
        _ => return None,
    })
}

fn by_cl(instruction: &Instruction) -> bool {
    instruction.op2_kind() == OpKind::Register
}

fn handler<S: Shift>(instruction: &Instruction) -> Handler {
    match kind(instruction, 1) {
        Kind::Immediate => by_place!(instruction, P, T => shift::<S, T, P, Immediate>),
        _ => by_place!(instruction, P, T => shift::<S, T, P, Register>),
    }
}

/// A count of 0 changes nothing, but the operand must be in a segment that can be written (SDM volume 2, exceptions
/// of SAL/SAR/SHL/SHR), so it is stored as it is.
fn shift<S: Shift, T: Int, P: Place<T>, C: Source<u8>>(cpu: &mut Cpu, op: &Op) -> Step {
    let count = u32::from(C::read(cpu, op)?) & COUNT_MASK;
    let operand = P::read_to_write(cpu, op)?;
    if count == 0 {
        P::write(cpu, op, operand)?;
        return P::finish(cpu);
    }
    let (result, flags) = S::apply::<T>(operand.zero_extend(), count, cpu.flags);
    P::write(cpu, op, T::truncate(result))?;
    cpu.flags = flags;
    P::finish(cpu)
}

fn double_shift_count<const BY_CL: bool>(cpu: &Cpu, op: &Op) -> u32 {
    let count = if BY_CL { cpu.reg(register::ECX) } else { op.immediate };
    count & COUNT_MASK
}

/// A shift of a word by more than 16 is undefined. Processors continue with the destination's own bits.
fn shld<T: Int, P: Place<T>, const BY_CL: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let count = double_shift_count::<BY_CL>(cpu, op);
    let operand = P::read_to_write(cpu, op)?.zero_extend();
    if count == 0 {
        P::write(cpu, op, T::truncate(operand))?;
        return P::finish(cpu);
    }
    let source = cpu.reg_part::<T>(op.source).zero_extend();
    let (operand_128, source_128) = (u128::from(operand), u128::from(source));
    let wide = (operand_128 << (2 * T::BITS) | source_128 << T::BITS | operand_128) << count;
    let result = (wide >> (2 * T::BITS)) as u32 & T::MASK;
    let cf = (wide >> (3 * T::BITS)) & 1 != 0;
    P::write(cpu, op, T::truncate(result))?;
    cpu.flags = Flags::of_result::<T>(result).with_cf_of(cf, sign::<T>(result ^ operand));
    P::finish(cpu)
}

fn shrd<T: Int, P: Place<T>, const BY_CL: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let count = double_shift_count::<BY_CL>(cpu, op);
    let operand = P::read_to_write(cpu, op)?.zero_extend();
    if count == 0 {
        P::write(cpu, op, T::truncate(operand))?;
        return P::finish(cpu);
    }
    let source = cpu.reg_part::<T>(op.source).zero_extend();
    let (operand_128, source_128) = (u128::from(operand), u128::from(source));
    let wide = operand_128 << (2 * T::BITS) | source_128 << T::BITS | operand_128;
    let result = (wide >> count) as u32 & T::MASK;
    let cf = (wide >> (count - 1)) & 1 != 0;
    P::write(cpu, op, T::truncate(result))?;
    cpu.flags = Flags::of_result::<T>(result).with_cf_of(cf, sign::<T>(result ^ operand));
    P::finish(cpu)
}

#[cfg(test)]
mod tests {
    use super::super::super::flags::{AF, CF, OF, PF, SF, ZF};
    use super::super::table::{Row, check};

    #[test]
    fn results_and_flags() {
        check(&[
            Row {
                text: "shl al, 1",
                code: &[0xd0, 0xe0],
                before: ([0x40, 0, 0, 0], 0),
                after: ([0x80, 0, 0, 0], SF | OF),
                flags: CF | PF | ZF | SF | OF,
            },
            Row {
                text: "shl eax, 32 does nothing",
                code: &[0xc1, 0xe0, 0x20],
                before: ([1, 0, 0, 0], CF | ZF | OF),
                after: ([1, 0, 0, 0], CF | ZF | OF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "shl ax, 16",
                code: &[0x66, 0xc1, 0xe0, 0x10],
                before: ([0xffff0001, 0, 0, 0], 0),
                after: ([0xffff0000, 0, 0, 0], CF | PF | ZF),
                flags: CF | ZF | PF | SF,
            },
            Row {
                text: "shr ecx, cl",
                code: &[0xd3, 0xe9],
                before: ([0, 0x80000002, 0, 0], 0),
                after: ([0, 0x20000000, 0, 0], CF | PF),
                flags: CF | PF | ZF | SF,
            },
            Row {
                text: "shr dl, 1",
                code: &[0xd0, 0xea],
                before: ([0, 0, 0x81, 0], 0),
                after: ([0, 0, 0x40, 0], CF | OF),
                flags: CF | PF | ZF | SF | OF,
            },
            Row {
                text: "sar ah, 4",
                code: &[0xc0, 0xfc, 0x04],
                before: ([0x8800, 0, 0, 0], 0),
                after: ([0xf800, 0, 0, 0], CF | SF),
                flags: CF | ZF | SF | PF,
            },
            Row {
                text: "sar al, 31",
                code: &[0xc0, 0xf8, 0x1f],
                before: ([0x80, 0, 0, 0], 0),
                after: ([0xff, 0, 0, 0], PF | SF),
                flags: ZF | SF | PF,
            },
            Row {
                text: "rol al, 8 sets CF only",
                code: &[0xc0, 0xc0, 0x08],
                before: ([0x81, 0, 0, 0], ZF),
                after: ([0x81, 0, 0, 0], CF | ZF),
                flags: CF | ZF | SF,
            },
            Row {
                text: "rol eax, 1",
                code: &[0xd1, 0xc0],
                before: ([0x80000000, 0, 0, 0], 0),
                after: ([1, 0, 0, 0], CF | OF),
                flags: CF | OF,
            },
            Row {
                text: "ror ax, 1",
                code: &[0x66, 0xd1, 0xc8],
                before: ([0x10001, 0, 0, 0], 0),
                after: ([0x18000, 0, 0, 0], CF | OF),
                flags: CF | OF,
            },
            Row {
                text: "rcl al, 9 goes round",
                code: &[0xc0, 0xd0, 0x09],
                before: ([0x55, 0, 0, 0], CF),
                after: ([0x55, 0, 0, 0], CF),
                flags: CF,
            },
            Row {
                text: "rcl eax, 1",
                code: &[0xd1, 0xd0],
                before: ([0x40000000, 0, 0, 0], CF),
                after: ([0x80000001, 0, 0, 0], OF),
                flags: CF | OF,
            },
            Row {
                text: "rcr eax, 1",
                code: &[0xd1, 0xd8],
                before: ([1, 0, 0, 0], CF),
                after: ([0x80000000, 0, 0, 0], CF | OF),
                flags: CF | OF,
            },
            Row {
                text: "rcr cx, 17 goes round",
                code: &[0x66, 0xc1, 0xd9, 0x11],
                before: ([0, 0x1234, 0, 0], CF),
                after: ([0, 0x1234, 0, 0], CF),
                flags: CF,
            },
            Row {
                text: "shld eax, edx, 8",
                code: &[0x0f, 0xa4, 0xd0, 0x08],
                before: ([0x12345678, 0, 0x9abcdef0, 0], 0),
                after: ([0x3456789a, 0, 0x9abcdef0, 0], PF),
                flags: CF | ZF | SF | PF,
            },
            Row {
                text: "shrd ax, dx, cl",
                code: &[0x66, 0x0f, 0xad, 0xd0],
                before: ([0xffff1234, 4, 0xf, 0], 0),
                after: ([0xfffff123, 4, 0xf, 0], SF),
                flags: CF | ZF | SF | PF,
            },
        ]);
    }
}
