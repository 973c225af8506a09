//! Moves elements between the places of a vector, and between vectors and general registers (SDM volume 1, sections 5.4.2,
//! 5.5.1.4, 5.5.2 and 5.6.1.4).

use iced_x86::{Code, Instruction, Mnemonic};

use super::operand::{Place, Vector, by_vector, by_vector_place, is_memory, is_mmx};
use crate::cpu::Cpu;
use crate::event::{Break, Step};
use crate::operation::{Handler, Memory, Op, Register, Source};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    macro_rules! combine {
        ($O:ty) => {
            by_vector!(instruction, V, P => combine::<V, P, $O>)
        };
    }
    macro_rules! interleave {
        ($WIDTH:literal, $HIGH:literal) => {
            if is_mmx(instruction.op0_register()) && !$HIGH && is_memory(instruction, 1) {
                interleave_with_doubleword::<$WIDTH>
            } else {
                combine!(Interleave<$WIDTH, $HIGH>)
            }
        };
    }
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Punpcklbw => interleave!(8, false),
        M::Punpcklwd => interleave!(16, false),
        M::Punpckldq => interleave!(32, false),
        M::Punpckhbw => interleave!(8, true),
        M::Punpckhwd => interleave!(16, true),
        M::Punpckhdq => interleave!(32, true),
        M::Unpcklps => combine!(Interleave<32, false>),
        M::Unpckhps => combine!(Interleave<32, true>),
        M::Punpcklqdq | M::Unpcklpd => combine!(Interleave<64, false>),
        M::Punpckhqdq | M::Unpckhpd => combine!(Interleave<64, true>),
        M::Packsswb => combine!(PackWords),
        M::Packssdw => combine!(PackDoublewords),
        M::Packuswb => combine!(PackUnsigned),
        M::Pshufw => combine!(ShuffleWords<0>),
        M::Pshuflw => combine!(ShuffleWords<0>),
        M::Pshufhw => combine!(ShuffleWords<64>),
        M::Pshufd => combine!(ShuffleDoublewords),
        M::Shufps => combine!(ShuffleSingles),
        M::Shufpd => combine!(ShuffleDoubles),
        M::Pinsrw => match (is_mmx(instruction.op0_register()), is_memory(instruction, 1)) {
            (true, false) => insert_word::<u64, Register>,
            (true, true) => insert_word::<u64, Memory>,
            (false, false) => insert_word::<u128, Register>,
            (false, true) => insert_word::<u128, Memory>,
        },
        M::Pmovmskb => match is_mmx(instruction.op1_register()) {
            true => signs::<u64, 8>,
            false => signs::<u128, 8>,
        },
        M::Movmskps => signs::<u128, 32>,
        M::Movmskpd => signs::<u128, 64>,
        _ => match instruction.code() {
            Code::Pextrw_r32_mm_imm8 => extract_word::<u64>,
            Code::Pextrw_r32_xmm_imm8 => extract_word::<u128>,
            _ => return None,
        },
    })
}

/// An operation that makes a vector of two. Bits of vectors of 64 that are beyond them are not used.
trait Combine: 'static {
    fn of(a: u128, b: u128, immediate: u32, width: u32) -> u128;
}

fn combine<V: Vector, P: Place, O: Combine>(cpu: &mut Cpu, op: &Op) -> Step {
    V::begin(cpu)?;
    let source: V = P::vector(cpu, op)?;
    finish::<V, O>(cpu, op, source)
}

fn finish<V: Vector, O: Combine>(cpu: &mut Cpu, op: &Op, source: V) -> Step {
    let result = O::of(V::get(cpu, op.destination).wide(), source.wide(), op.immediate, V::BYTES * 8);
    V::end(cpu);
    V::set(cpu, op.destination, V::narrow(result));
    Ok(())
}

/// Of the low half of an MMX register only half is read.
fn interleave_with_doubleword<const WIDTH: u32>(cpu: &mut Cpu, op: &Op) -> Step {
    u64::begin(cpu)?;
    let source: u32 = cpu.load(op.segment, cpu.effective_address(op))?;
    finish::<u64, Interleave<WIDTH, false>>(cpu, op, source.into())
}

/// An element of this width.
fn element(value: u128, index: u32, width: u32) -> u128 {
    value >> (index * width) & ((1 << width) - 1)
}

/// A vector of elements of this width, the lowest first.
fn gather(width: u32, elements: impl Iterator<Item = u128>) -> u128 {
    (0..).zip(elements).fold(0, |all, (index, element): (u32, _)| all | element << (index * width))
}

struct Interleave<const WIDTH: u32, const HIGH: bool>;

impl<const WIDTH: u32, const HIGH: bool> Combine for Interleave<WIDTH, HIGH> {
    fn of(a: u128, b: u128, _: u32, width: u32) -> u128 {
        let count = width / WIDTH;
        let first = if HIGH { count / 2 } else { 0 };
        let pair = |index| [element(a, first + index, WIDTH), element(b, first + index, WIDTH)];
        gather(WIDTH, (0..count / 2).flat_map(pair))
    }
}

/// The elements of two vectors, the first one's first.
fn both(a: u128, b: u128, element_width: u32, width: u32) -> impl Iterator<Item = u128> {
    let elements = move |of| (0..width / element_width).map(move |index| element(of, index, element_width));
    elements(a).chain(elements(b))
}

struct PackWords;
struct PackDoublewords;
struct PackUnsigned;

impl Combine for PackWords {
    fn of(a: u128, b: u128, _: u32, width: u32) -> u128 {
        let saturated = |word: u128| i128::from((word as i16).clamp(-0x80, 0x7f)) as u128 & 0xff;
        gather(8, both(a, b, 16, width).map(saturated))
    }
}

impl Combine for PackDoublewords {
    fn of(a: u128, b: u128, _: u32, width: u32) -> u128 {
        let saturated = |word: u128| i128::from((word as i32).clamp(-0x8000, 0x7fff)) as u128 & 0xffff;
        gather(16, both(a, b, 32, width).map(saturated))
    }
}

impl Combine for PackUnsigned {
    fn of(a: u128, b: u128, _: u32, width: u32) -> u128 {
        gather(8, both(a, b, 16, width).map(|word| (word as i16).clamp(0, 0xff) as u128))
    }
}

/// Four words from a bit on by the immediate; the others as they are.
struct ShuffleWords<const FROM: u32>;
struct ShuffleDoublewords;
struct ShuffleSingles;
struct ShuffleDoubles;

impl<const FROM: u32> Combine for ShuffleWords<FROM> {
    fn of(_: u128, b: u128, immediate: u32, _: u32) -> u128 {
        let words = gather(16, (0..4).map(|index| element(b >> FROM, immediate >> (2 * index) & 3, 16)));
        b & !(u128::from(u64::MAX) << FROM) | words << FROM
    }
}

impl Combine for ShuffleDoublewords {
    fn of(_: u128, b: u128, immediate: u32, _: u32) -> u128 {
        gather(32, (0..4).map(|index| element(b, immediate >> (2 * index) & 3, 32)))
    }
}

impl Combine for ShuffleSingles {
    fn of(a: u128, b: u128, immediate: u32, _: u32) -> u128 {
        let of = |index| if index < 2 { a } else { b };
        gather(32, (0..4).map(|index| element(of(index), immediate >> (2 * index) & 3, 32)))
    }
}

impl Combine for ShuffleDoubles {
    fn of(a: u128, b: u128, immediate: u32, _: u32) -> u128 {
        gather(64, [element(a, immediate & 1, 64), element(b, immediate >> 1 & 1, 64)].into_iter())
    }
}

fn insert_word<V: Vector, S: Source<u16>>(cpu: &mut Cpu, op: &Op) -> Step {
    V::begin(cpu)?;
    let word: Result<u16, Break> = S::read(cpu, op);
    let word = u128::from(word?);
    let shift = 16 * (op.immediate & (V::BYTES / 2 - 1));
    let result = V::get(cpu, op.destination).wide() & !(0xffff << shift) | word << shift;
    V::end(cpu);
    V::set(cpu, op.destination, V::narrow(result));
    Ok(())
}

fn extract_word<V: Vector>(cpu: &mut Cpu, op: &Op) -> Step {
    V::begin(cpu)?;
    let index = op.immediate & (V::BYTES / 2 - 1);
    let word = element(V::get(cpu, op.source).wide(), index, 16);
    V::end(cpu);
    cpu.set_reg(op.destination, word as u32);
    Ok(())
}

/// The highest bits of all elements, as bits of a general register.
fn signs<V: Vector, const WIDTH: u32>(cpu: &mut Cpu, op: &Op) -> Step {
    V::begin(cpu)?;
    let value = V::get(cpu, op.source).wide();
    let bits = (0..V::BYTES * 8 / WIDTH)
        .fold(0, |all, index| all | ((value >> (index * WIDTH + WIDTH - 1)) as u32 & 1) << index);
    V::end(cpu);
    cpu.set_reg(op.destination, bits);
    Ok(())
}
