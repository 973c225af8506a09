//! Packed integers in the registers of MMX and SSE (SDM volume 1, sections 5.4.3, 5.4.5, 5.4.6, 5.5.2 and 5.6.3), and bitwise
//! logic.

use iced_x86::{Instruction, Mnemonic};

use super::operand::{Place, Vector, by_vector, by_vector_place};
use crate::cpu::Cpu;
use crate::event::Step;
use crate::operation::{Handler, Op};

/// The handler of an instruction of this module.
pub fn select(instruction: &Instruction) -> Option<Handler> {
    macro_rules! packed {
        ($O:ty) => {
            by_vector!(instruction, V, P => packed::<V, P, $O>)
        };
    }
    macro_rules! shift {
        ($O:ty) => {
            if instruction.op_count() == 2 && instruction.op1_kind() == iced_x86::OpKind::Immediate8 {
                by_vector!(instruction, V, P => shift_by_immediate::<V, P, $O>)
            } else {
                by_vector!(instruction, V, P => shift::<V, P, $O>)
            }
        };
    }
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Paddb => packed!(AddBytes),
        M::Paddw => packed!(AddWords),
        M::Paddd => packed!(AddDoublewords),
        M::Paddq => packed!(AddQuadwords),
        M::Paddsb => packed!(AddSignedBytes),
        M::Paddsw => packed!(AddSignedWords),
        M::Paddusb => packed!(AddUnsignedBytes),
        M::Paddusw => packed!(AddUnsignedWords),
        M::Psubb => packed!(SubtractBytes),
        M::Psubw => packed!(SubtractWords),
        M::Psubd => packed!(SubtractDoublewords),
        M::Psubq => packed!(SubtractQuadwords),
        M::Psubsb => packed!(SubtractSignedBytes),
        M::Psubsw => packed!(SubtractSignedWords),
        M::Psubusb => packed!(SubtractUnsignedBytes),
        M::Psubusw => packed!(SubtractUnsignedWords),
        M::Pmullw => packed!(MultiplyLow),
        M::Pmulhw => packed!(MultiplyHigh),
        M::Pmulhuw => packed!(MultiplyHighUnsigned),
        M::Pmuludq => packed!(MultiplyDoublewords),
        M::Pmaddwd => packed!(MultiplyAndAdd),
        M::Psadbw => packed!(SumOfDifferences),
        M::Pavgb => packed!(AverageBytes),
        M::Pavgw => packed!(AverageWords),
        M::Pminub => packed!(MinimumBytes),
        M::Pmaxub => packed!(MaximumBytes),
        M::Pminsw => packed!(MinimumWords),
        M::Pmaxsw => packed!(MaximumWords),
        M::Pcmpeqb => packed!(EqualBytes),
        M::Pcmpeqw => packed!(EqualWords),
        M::Pcmpeqd => packed!(EqualDoublewords),
        M::Pcmpgtb => packed!(GreaterBytes),
        M::Pcmpgtw => packed!(GreaterWords),
        M::Pcmpgtd => packed!(GreaterDoublewords),
        M::Pand | M::Andps | M::Andpd => packed!(And),
        M::Pandn | M::Andnps | M::Andnpd => packed!(AndNot),
        M::Por | M::Orps | M::Orpd => packed!(Or),
        M::Pxor | M::Xorps | M::Xorpd => packed!(Xor),
        M::Psllw => shift!(LeftWords),
        M::Pslld => shift!(LeftDoublewords),
        M::Psllq => shift!(LeftQuadwords),
        M::Psrlw => shift!(RightWords),
        M::Psrld => shift!(RightDoublewords),
        M::Psrlq => shift!(RightQuadwords),
        M::Psraw => shift!(ArithmeticWords),
        M::Psrad => shift!(ArithmeticDoublewords),
        M::Pslldq => shift_bytes::<true>,
        M::Psrldq => shift_bytes::<false>,
        _ => return None,
    })
}

/// An operation on two vectors, which does the same with all parts of 64 bits.
trait Packed: 'static {
    fn of(a: u128, b: u128) -> u128;
}

fn packed<V: Vector, P: Place, O: Packed>(cpu: &mut Cpu, op: &Op) -> Step {
    V::begin(cpu)?;
    let source: V = P::vector(cpu, op)?;
    let result = O::of(V::get(cpu, op.destination).wide(), source.wide());
    V::end(cpu);
    V::set(cpu, op.destination, V::narrow(result));
    Ok(())
}

/// Functions that apply another to all elements of two vectors.
macro_rules! elements {
    ($($name:ident: $T:ty;)*) => {$(
        #[inline]
        fn $name(a: u128, b: u128, of: impl Fn($T, $T) -> $T) -> u128 {
            const LEN: usize = size_of::<$T>();
            let (mut result, b) = (a.to_le_bytes(), b.to_le_bytes());
            for (a, b) in result.as_chunks_mut::<LEN>().0.iter_mut().zip(b.as_chunks().0) {
                *a = of(<$T>::from_le_bytes(*a), <$T>::from_le_bytes(*b)).to_le_bytes();
            }
            u128::from_le_bytes(result)
        }
    )*};
}

elements! {
    bytes: u8;
    signed_bytes: i8;
    words: u16;
    signed_words: i16;
    doublewords: u32;
    signed_doublewords: i32;
    quadwords: u64;
}

macro_rules! operations {
    ($($name:ident: $elements:ident($of:expr);)*) => {$(
        struct $name;

        impl Packed for $name {
            #[inline]
            fn of(a: u128, b: u128) -> u128 {
                $elements(a, b, $of)
            }
        }
    )*};
}

/// For bitwise logic.
#[inline]
fn all(a: u128, b: u128, of: impl Fn(u128, u128) -> u128) -> u128 {
    of(a, b)
}

/// All bits, if a condition holds.
macro_rules! mask {
    ($holds:expr) => {
        if $holds { !0 } else { 0 }
    };
}

operations! {
    AddBytes: bytes(u8::wrapping_add);
    AddWords: words(u16::wrapping_add);
    AddDoublewords: doublewords(u32::wrapping_add);
    AddQuadwords: quadwords(u64::wrapping_add);
    AddSignedBytes: signed_bytes(i8::saturating_add);
    AddSignedWords: signed_words(i16::saturating_add);
    AddUnsignedBytes: bytes(u8::saturating_add);
    AddUnsignedWords: words(u16::saturating_add);
    SubtractBytes: bytes(u8::wrapping_sub);
    SubtractWords: words(u16::wrapping_sub);
    SubtractDoublewords: doublewords(u32::wrapping_sub);
    SubtractQuadwords: quadwords(u64::wrapping_sub);
    SubtractSignedBytes: signed_bytes(i8::saturating_sub);
    SubtractSignedWords: signed_words(i16::saturating_sub);
    SubtractUnsignedBytes: bytes(u8::saturating_sub);
    SubtractUnsignedWords: words(u16::saturating_sub);
    MultiplyLow: words(u16::wrapping_mul);
    MultiplyHigh: signed_words(|a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16);
    MultiplyHighUnsigned: words(|a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16);
    MultiplyDoublewords: quadwords(|a, b| u64::from(a as u32) * u64::from(b as u32));
    MultiplyAndAdd: doublewords(|a, b| {
        let product = |shift: u32| i32::from((a >> shift) as i16) * i32::from((b >> shift) as i16);
        product(0).wrapping_add(product(16)) as u32
    });
    SumOfDifferences: quadwords(|a, b| {
        a.to_le_bytes().into_iter().zip(b.to_le_bytes()).map(|(a, b)| u64::from(a.abs_diff(b))).sum()
    });
    AverageBytes: bytes(|a, b| ((u16::from(a) + u16::from(b) + 1) >> 1) as u8);
    AverageWords: words(|a, b| ((u32::from(a) + u32::from(b) + 1) >> 1) as u16);
    MinimumBytes: bytes(Ord::min);
    MaximumBytes: bytes(Ord::max);
    MinimumWords: signed_words(Ord::min);
    MaximumWords: signed_words(Ord::max);
    EqualBytes: bytes(|a, b| mask!(a == b));
    EqualWords: words(|a, b| mask!(a == b));
    EqualDoublewords: doublewords(|a, b| mask!(a == b));
    GreaterBytes: signed_bytes(|a, b| mask!(a > b));
    GreaterWords: signed_words(|a, b| mask!(a > b));
    GreaterDoublewords: signed_doublewords(|a, b| mask!(a > b));
    And: all(|a, b| a & b);
    AndNot: all(|a, b| !a & b);
    Or: all(|a, b| a | b);
    Xor: all(|a, b| a ^ b);
}

/// A shift of all elements by the same count.
trait Shift: 'static {
    fn of(value: u128, count: u64) -> u128;
}

/// Beyond the width the result is 0, or for arithmetic shifts all copies of the sign.
macro_rules! shifts {
    ($($name:ident: $elements:ident, $T:ty, $shift:ident, $beyond:expr;)*) => {$(
        struct $name;

        impl Shift for $name {
            #[inline]
            fn of(value: u128, count: u64) -> u128 {
                let beyond: fn($T) -> $T = $beyond;
                $elements(value, 0, |element, _| match count < u64::from(<$T>::BITS) {
                    true => element.$shift(count as u32),
                    false => beyond(element),
                })
            }
        }
    )*};
}

shifts! {
    LeftWords: words, u16, wrapping_shl, |_| 0;
    LeftDoublewords: doublewords, u32, wrapping_shl, |_| 0;
    LeftQuadwords: quadwords, u64, wrapping_shl, |_| 0;
    RightWords: words, u16, wrapping_shr, |_| 0;
    RightDoublewords: doublewords, u32, wrapping_shr, |_| 0;
    RightQuadwords: quadwords, u64, wrapping_shr, |_| 0;
    ArithmeticWords: signed_words, i16, wrapping_shr, |element| element >> 15;
    ArithmeticDoublewords: signed_doublewords, i32, wrapping_shr, |element| element >> 31;
}

fn shift_by<V: Vector, O: Shift>(cpu: &mut Cpu, op: &Op, count: u64) -> Step {
    let result = O::of(V::get(cpu, op.destination).wide(), count);
    V::end(cpu);
    V::set(cpu, op.destination, V::narrow(result));
    Ok(())
}

/// By the low 64 bits of the second operand.
fn shift<V: Vector, P: Place, O: Shift>(cpu: &mut Cpu, op: &Op) -> Step {
    V::begin(cpu)?;
    let count: V = P::vector(cpu, op)?;
    shift_by::<V, O>(cpu, op, count.wide() as u64)
}

fn shift_by_immediate<V: Vector, P: Place, O: Shift>(cpu: &mut Cpu, op: &Op) -> Step {
    V::begin(cpu)?;
    shift_by::<V, O>(cpu, op, (op.immediate & 0xff).into())
}

/// `pslldq` and `psrldq`, by whole bytes.
fn shift_bytes<const LEFT: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    u128::begin(cpu)?;
    let value = u128::get(cpu, op.destination);
    let count = (op.immediate & 0xff) * 8;
    let shifted = if LEFT { value.checked_shl(count) } else { value.checked_shr(count) };
    u128::set(cpu, op.destination, shifted.unwrap_or(0));
    Ok(())
}
