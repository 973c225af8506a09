//! Partial remainders, scaling, and the parts of a number (SDM volume 2, FPREM, FPREM1, FSCALE and FXTRACT).

use super::flag;
use super::number::{Kind, Number};
use super::round::{Environment, Format, round, round_number};

/// A remainder, or a step towards it.
pub struct Remainder {
    /// What is left.
    pub value: Number,
    /// What is known of the quotient.
    pub quotient: Quotient,
}

/// A quotient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotient {
    /// Its lowest bits.
    Is(u64),
    /// The remainder is not complete.
    Partial,
    /// There is none.
    None,
}

/// `a` - `b` * a quotient, which is truncated, or if `nearest` rounded to the nearest. The quotient has less than 64 bits:
/// more are left to the next step.
pub fn remainder(env: &mut Environment, a: Number, b: Number, nearest: bool) -> Remainder {
    let complete = |value| Remainder { value, quotient: Quotient::Is(0) };
    if let Some(value) = env.unusable_2(a, b) {
        return Remainder { value, quotient: Quotient::None };
    }
    if a.kind == Kind::Infinity || b.kind == Kind::Zero {
        return Remainder { value: env.invalid(), quotient: Quotient::None };
    }
    env.note_denormal(a);
    env.note_denormal(b);
    if a.kind == Kind::Zero {
        return complete(a);
    }
    if b.kind == Kind::Infinity {
        return complete(round_number(env, a, Format::EXTENDED));
    }
    let distance = a.exponent - b.exponent;
    if distance < -1 || !nearest && distance < 0 {
        return complete(round_number(env, a, Format::EXTENDED));
    }
    let divisor = u128::from(b.significand);
    if distance >= 64 {
        // As many bits as processors do at once.
        let bits = (distance & 31) | 32;
        let (_, rest) = long_division(a.significand, b.significand, bits as u32);
        let exponent = a.exponent - bits;
        return Remainder { value: rounded(env, a.negative, exponent, rest), quotient: Quotient::Partial };
    }
    if distance == -1 {
        // The quotient is 0, or 1 if the dividend is more than half of the divisor.
        let doubled = divisor * 2;
        let dividend = u128::from(a.significand);
        let is_one = dividend > divisor;
        let value = match is_one {
            true => rounded(env, !a.negative, a.exponent, doubled - dividend),
            false => rounded(env, a.negative, a.exponent, dividend),
        };
        return Remainder { value, quotient: Quotient::Is(u64::from(is_one)) };
    }
    let (mut quotient, mut rest) = long_division(a.significand, b.significand, distance as u32);
    let mut negative = a.negative;
    let is_more_than_half = rest * 2 > divisor || rest * 2 == divisor && quotient & 1 != 0;
    if nearest && is_more_than_half {
        (quotient, rest, negative) = (quotient.wrapping_add(1), divisor - rest, !negative);
    }
    // A remainder of zero has the dividend's sign.
    let negative = if rest == 0 { a.negative } else { negative };
    Remainder { value: rounded(env, negative, b.exponent, rest), quotient: Quotient::Is(quotient) }
}

/// Divides `dividend` * 2^`bits` by `divisor`: the quotient's low bits, and the remainder.
fn long_division(dividend: u64, divisor: u64, bits: u32) -> (u64, u128) {
    let divisor = u128::from(divisor);
    let dividend = u128::from(dividend) << bits;
    ((dividend / divisor) as u64, dividend % divisor)
}

/// `significand` / 2^63 * 2^`exponent`, in 80 bits. All bits of the result are there, so only underflow can come of it.
fn rounded(env: &mut Environment, negative: bool, exponent: i32, significand: u128) -> Number {
    if significand == 0 {
        return Number::zero(negative);
    }
    let shift = significand.leading_zeros();
    round(env, negative, exponent + 64 - shift as i32, significand << shift, Format::EXTENDED)
}

/// `a` * 2^`b`, with `b` truncated.
pub fn scale(env: &mut Environment, a: Number, b: Number) -> Number {
    if let Some(result) = env.unusable_2(a, b) {
        return result;
    }
    if b.kind == Kind::Infinity {
        let is_invalid = if b.negative { a.kind == Kind::Infinity } else { a.kind == Kind::Zero };
        if is_invalid {
            return env.invalid();
        }
        env.note_denormal(a);
        return match (a.kind, b.negative) {
            (Kind::Finite, true) => Number::zero(a.negative),
            (Kind::Finite, false) => Number::infinity(a.negative),
            _ => a,
        };
    }
    env.note_denormal(a);
    env.note_denormal(b);
    if a.kind != Kind::Finite {
        return a;
    }
    /// More than any number can be scaled by.
    const MOST: i32 = 0x10000;
    let magnitude = match b.kind {
        Kind::Finite if b.exponent >= 16 => MOST,
        Kind::Finite if b.exponent >= 0 => (b.significand >> (63 - b.exponent)) as i32,
        _ => 0,
    };
    let by = if b.negative { -magnitude } else { magnitude };
    round(env, a.negative, a.exponent + by, u128::from(a.significand) << 64, Format::EXTENDED)
}

/// The exponent and the significand.
pub fn extract(env: &mut Environment, a: Number) -> (Number, Number) {
    if let Some(result) = env.unusable(a) {
        return (result, result);
    }
    match a.kind {
        Kind::Infinity => (Number::infinity(false), a),
        Kind::Zero => {
            env.flags |= flag::ZERO_DIVIDE;
            (Number::infinity(true), a)
        }
        _ => {
            env.note_denormal(a);
            (super::from_integer(a.exponent.into()), Number { exponent: 0, denormal: false, ..a })
        }
    }
}
