//! Binary arithmetic instructions (SDM volume 1, section 5.1.2), and `and`, `or` and `xor`, which have the same
//! forms; without multiplication and division.

use iced_x86::{Instruction, Mnemonic};

use super::super::cpu::Cpu;
use super::super::event::Step;
use super::super::flags::Flags;
use super::super::int::{Int, by_size};
use super::super::operand::{by_place, by_source};
use super::super::operation::{Handler, Op, Place, Source};

/// What an instruction of two operands computes.
pub trait Binary: 'static {
    /// The result and the flags.
    fn apply<T: Int>(first: T, second: T, flags: Flags) -> (T, Flags);
}

/// What an instruction of one operand computes.
pub trait Unary: 'static {
    /// The result and the flags.
    fn apply<T: Int>(operand: T, flags: Flags) -> (T, Flags);
}

/// Addition.
pub struct Add;
/// Addition with carry.
struct Adc;
/// Subtraction.
pub struct Sub;
/// Subtraction with borrow.
struct Sbb;
/// Bitwise and.
pub struct And;
/// Bitwise or.
struct Or;
/// Bitwise exclusive or.
struct Xor;
/// Addition of 1, with CF as before.
struct Inc;
/// Subtraction of 1, with CF as before.
struct Dec;
/// Two's complement.
struct Neg;

/// The carry out of a bit is the majority of the operands' bits and the carry into it. The carry into it follows from
/// the result: the result's bit is the sum of the three.
#[inline(always)]
fn add<T: Int>(first: T, second: T, carry: u32) -> (T, Flags) {
    let (first, second) = (first.zero_extend(), second.zero_extend());
    let sum = first.wrapping_add(second).wrapping_add(carry);
    let carries = (first & second) | ((first | second) & !sum);
    (T::truncate(sum), Flags::of_carries::<T>(sum, carries))
}

/// The same for borrows.
#[inline(always)]
fn subtract<T: Int>(first: T, second: T, borrow: u32) -> (T, Flags) {
    let (first, second) = (first.zero_extend(), second.zero_extend());
    let difference = first.wrapping_sub(second).wrapping_sub(borrow);
    let borrows = (!first & second) | ((!first | second) & difference);
    (T::truncate(difference), Flags::of_carries::<T>(difference, borrows))
}

impl Binary for Add {
    #[inline(always)]
    fn apply<T: Int>(first: T, second: T, _: Flags) -> (T, Flags) {
        add(first, second, 0)
    }
}

impl Binary for Adc {
    #[inline(always)]
    fn apply<T: Int>(first: T, second: T, flags: Flags) -> (T, Flags) {
        add(first, second, flags.carry())
    }
}

impl Binary for Sub {
    #[inline(always)]
    fn apply<T: Int>(first: T, second: T, _: Flags) -> (T, Flags) {
        subtract(first, second, 0)
    }
}

impl Binary for Sbb {
    #[inline(always)]
    fn apply<T: Int>(first: T, second: T, flags: Flags) -> (T, Flags) {
        subtract(first, second, flags.carry())
    }
}

#[inline(always)]
fn bitwise<T: Int>(result: u32) -> (T, Flags) {
    (T::truncate(result), Flags::of_result::<T>(result))
}

impl Binary for And {
    #[inline(always)]
    fn apply<T: Int>(first: T, second: T, _: Flags) -> (T, Flags) {
        bitwise(first.zero_extend() & second.zero_extend())
    }
}

impl Binary for Or {
    #[inline(always)]
    fn apply<T: Int>(first: T, second: T, _: Flags) -> (T, Flags) {
        bitwise(first.zero_extend() | second.zero_extend())
    }
}

impl Binary for Xor {
    #[inline(always)]
    fn apply<T: Int>(first: T, second: T, _: Flags) -> (T, Flags) {
        bitwise(first.zero_extend() ^ second.zero_extend())
    }
}

impl Unary for Inc {
    #[inline(always)]
    fn apply<T: Int>(operand: T, flags: Flags) -> (T, Flags) {
        let (result, after) = add(operand, T::truncate(1), 0);
        (result, after.with_cf_from(flags))
    }
}

impl Unary for Dec {
    #[inline(always)]
    fn apply<T: Int>(operand: T, flags: Flags) -> (T, Flags) {
        let (result, after) = subtract(operand, T::truncate(1), 0);
        (result, after.with_cf_from(flags))
    }
}

impl Unary for Neg {
    #[inline(always)]
    fn apply<T: Int>(operand: T, _: Flags) -> (T, Flags) {
        subtract(T::truncate(0), operand, 0)
    }
}

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    use Mnemonic::*;
    Some(match instruction.mnemonic() {
        Add => binary::<self::Add>(instruction),
        Adc => binary::<self::Adc>(instruction),
        Sub => binary::<self::Sub>(instruction),
        Sbb => binary::<self::Sbb>(instruction),
        And => binary::<self::And>(instruction),
        Or => binary::<self::Or>(instruction),
        Xor => binary::<self::Xor>(instruction),
        Cmp => comparison::<self::Sub>(instruction),
        Test => comparison::<self::And>(instruction),
        Inc => unary::<self::Inc>(instruction),
        Dec => unary::<self::Dec>(instruction),
        Neg => unary::<self::Neg>(instruction),
        _ => return None,
    })
}

fn binary<B: Binary>(instruction: &Instruction) -> Handler {
    by_source!(instruction, S => by_place!(instruction, P, T => update::<B, T, P, S>))
}

fn comparison<B: Binary>(instruction: &Instruction) -> Handler {
    by_source!(instruction, S => by_place!(instruction, P, T => compare::<B, T, P, S>))
}

fn unary<U: Unary>(instruction: &Instruction) -> Handler {
    by_place!(instruction, P, T => change::<U, T, P>)
}

fn update<B: Binary, T: Int, P: Place<T>, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let second = S::read(cpu, op)?;
    let first = P::read_to_write(cpu, op)?;
    let (result, flags) = B::apply(first, second, cpu.flags);
    P::write(cpu, op, result)?;
    cpu.flags = flags;
    P::finish(cpu)
}

fn compare<B: Binary, T: Int, P: Source<T>, S: Source<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let second = S::read(cpu, op)?;
    let first = P::read(cpu, op)?;
    (_, cpu.flags) = B::apply(first, second, cpu.flags);
    Ok(())
}

fn change<U: Unary, T: Int, P: Place<T>>(cpu: &mut Cpu, op: &Op) -> Step {
    let operand = P::read_to_write(cpu, op)?;
    let (result, flags) = U::apply(operand, cpu.flags);
    P::write(cpu, op, result)?;
    cpu.flags = flags;
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
                text: "add eax, ecx",
                code: &[0x01, 0xc8],
                before: ([0x7fffffff, 1, 0, 0], CF),
                after: ([0x80000000, 1, 0, 0], PF | AF | SF | OF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "adc al, ah",
                code: &[0x10, 0xe0],
                before: ([0xff00, 0, 0, 0], CF),
                after: ([0xff00, 0, 0, 0], CF | PF | AF | ZF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "adc cx, dx",
                code: &[0x66, 0x11, 0xd1],
                before: ([0, 0x12348000, 0x8000, 0], 0),
                after: ([0, 0x12340000, 0x8000, 0], CF | PF | ZF | OF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "sub eax, ecx",
                code: &[0x29, 0xc8],
                before: ([0, 1, 0, 0], 0),
                after: ([0xffffffff, 1, 0, 0], CF | PF | AF | SF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "sbb al, 0x7f",
                code: &[0x1c, 0x7f],
                before: ([0x80, 0, 0, 0], CF),
                after: ([0, 0, 0, 0], PF | AF | ZF | OF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "cmp eax, -1",
                code: &[0x83, 0xf8, 0xff],
                before: ([0x80000000, 0, 0, 0], 0),
                after: ([0x80000000, 0, 0, 0], CF | AF | SF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "inc eax keeps CF",
                code: &[0x40],
                before: ([0x7fffffff, 0, 0, 0], CF),
                after: ([0x80000000, 0, 0, 0], CF | PF | AF | SF | OF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "dec al keeps CF",
                code: &[0xfe, 0xc8],
                before: ([0, 0, 0, 0], CF),
                after: ([0xff, 0, 0, 0], CF | PF | AF | SF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "neg ecx",
                code: &[0xf7, 0xd9],
                before: ([0, 0x80000000, 0, 0], 0),
                after: ([0, 0x80000000, 0, 0], CF | PF | SF | OF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "neg ecx, of 0",
                code: &[0xf7, 0xd9],
                before: ([0, 0, 0, 0], CF),
                after: ([0, 0, 0, 0], PF | ZF),
                flags: CF | PF | AF | ZF | SF | OF,
            },
            Row {
                text: "and eax, ecx",
                code: &[0x21, 0xc8],
                before: ([0xf0, 0xf, 0, 0], CF | OF),
                after: ([0, 0xf, 0, 0], PF | ZF),
                flags: CF | PF | ZF | SF | OF,
            },
            Row {
                text: "xor al, al",
                code: &[0x30, 0xc0],
                before: ([0x1ff, 0, 0, 0], CF),
                after: ([0x100, 0, 0, 0], PF | ZF),
                flags: CF | PF | ZF | SF | OF,
            },
            Row {
                text: "test ah, bl",
                code: &[0x84, 0xdc],
                before: ([0x8000, 0, 0, 0x80], CF),
                after: ([0x8000, 0, 0, 0x80], SF),
                flags: CF | PF | ZF | SF | OF,
            },
        ]);
    }
}
