//! Addition, multiplication, division, square roots and comparisons.

use super::flag;
use super::number::{Kind, Number};
use super::round::{Environment, Format, Rounding, round, round_number, shift_right};

/// `a` + `b`.
pub fn add(env: &mut Environment, a: Number, b: Number, format: Format) -> Number {
    if let Some(result) = env.unusable_2(a, b) {
        return result;
    }
    if a.kind == Kind::Infinity && b.kind == Kind::Infinity && a.negative != b.negative {
        return env.invalid();
    }
    env.note_denormal(a);
    env.note_denormal(b);
    match (a.kind, b.kind) {
        (Kind::Infinity, _) => return a,
        (_, Kind::Infinity) => return b,
        (Kind::Zero, Kind::Zero) if a.negative == b.negative => return a,
        (Kind::Zero, Kind::Zero) => return Number::zero(env.rounding == Rounding::Down),
        (Kind::Zero, _) => return round_number(env, b, format),
        (_, Kind::Zero) => return round_number(env, a, format),
        _ => {}
    }
    let is_less = (a.exponent, a.significand) < (b.exponent, b.significand);
    let (great, small) = if is_less { (b, a) } else { (a, b) };
    let left = u128::from(great.significand) << 63;
    let right = shift_right(u128::from(small.significand) << 63, (great.exponent - small.exponent) as u32);
    let sum = if a.negative == b.negative { left + right } else { left - right };
    if sum == 0 {
        return Number::zero(env.rounding == Rounding::Down);
    }
    let shift = sum.leading_zeros();
    round(env, great.negative, great.exponent + 1 - shift as i32, sum << shift, format)
}

/// `a` * `b`.
pub fn multiply(env: &mut Environment, a: Number, b: Number, format: Format) -> Number {
    if let Some(result) = env.unusable_2(a, b) {
        return result;
    }
    let negative = a.negative != b.negative;
    if matches!((a.kind, b.kind), (Kind::Infinity, Kind::Zero) | (Kind::Zero, Kind::Infinity)) {
        return env.invalid();
    }
    env.note_denormal(a);
    env.note_denormal(b);
    if a.kind == Kind::Infinity || b.kind == Kind::Infinity {
        return Number::infinity(negative);
    }
    if a.kind == Kind::Zero || b.kind == Kind::Zero {
        return Number::zero(negative);
    }
    let product = u128::from(a.significand) * u128::from(b.significand);
    let shift = product.leading_zeros();
    round(env, negative, a.exponent + b.exponent + 1 - shift as i32, product << shift, format)
}

/// `a` / `b`.
pub fn divide(env: &mut Environment, a: Number, b: Number, format: Format) -> Number {
    if let Some(result) = env.unusable_2(a, b) {
        return result;
    }
    let negative = a.negative != b.negative;
    match (a.kind, b.kind) {
        (Kind::Infinity, Kind::Infinity) | (Kind::Zero, Kind::Zero) => return env.invalid(),
        (Kind::Finite, Kind::Zero) => {
            env.flags |= flag::ZERO_DIVIDE;
            return Number::infinity(negative);
        }
        _ => {}
    }
    env.note_denormal(a);
    env.note_denormal(b);
    if a.kind == Kind::Infinity {
        return Number::infinity(negative);
    }
    if a.kind == Kind::Zero || b.kind == Kind::Infinity {
        return Number::zero(negative);
    }
    let divisor = u128::from(b.significand);
    let dividend = u128::from(a.significand) << 64;
    let (quotient, remainder) = (dividend / divisor, dividend % divisor);
    // 64 or 65 bits are not enough to round to 64: one more, and whether there are others.
    let doubled = remainder * 2;
    let half = doubled >= divisor;
    let rest = doubled != 0 && doubled != divisor;
    let quotient = quotient << 2 | u128::from(half) << 1 | u128::from(rest);
    let shift = quotient.leading_zeros();
    // The quotient of equal significands is 2^66.
    round(env, negative, a.exponent - b.exponent + 61 - shift as i32, quotient << shift, format)
}

/// The square root.
pub fn square_root(env: &mut Environment, a: Number, format: Format) -> Number {
    if let Some(result) = env.unusable(a) {
        return result;
    }
    if a.kind == Kind::Zero {
        return a;
    }
    if a.negative {
        return env.invalid();
    }
    env.note_denormal(a);
    if a.kind == Kind::Infinity {
        return a;
    }
    let is_odd = a.exponent & 1 != 0;
    let square = u128::from(a.significand) << if is_odd { 64 } else { 63 };
    let root = square.isqrt();
    let rest = square - root * root;
    // The root is at least `root` + 1/2 if the rest is more than `root`, and never equal to it.
    let root = root << 2 | u128::from(rest > root) << 1 | u128::from(rest != 0);
    round(env, false, a.exponent >> 1, root << 62, format)
}

/// How two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The first is less.
    Less,
    /// They are equal.
    Equal,
    /// The first is greater.
    Greater,
    /// One is a NaN, or not supported.
    Unordered,
}

/// Compares. Any NaN is invalid, or if `quiet` only one that signals.
pub fn compare(env: &mut Environment, a: Number, b: Number, quiet: bool) -> Compared {
    let is_unordered = |number: Number| number.is_nan() || number.kind == Kind::Unsupported;
    if is_unordered(a) || is_unordered(b) {
        let is_invalid = |number: Number| match number.kind {
            Kind::Quiet => !quiet,
            _ => is_unordered(number),
        };
        if is_invalid(a) || is_invalid(b) {
            env.flags |= flag::INVALID;
        }
        return Compared::Unordered;
    }
    env.note_denormal(a);
    env.note_denormal(b);
    let rank = |number: Number| {
        let magnitude = match number.kind {
            Kind::Zero => return (0, 0, 0),
            Kind::Infinity => (2, 0, 0),
            _ => (1, number.exponent, number.significand as i128),
        };
        match number.negative {
            false => magnitude,
            true => (-magnitude.0, -magnitude.1, -magnitude.2),
        }
    };
    match rank(a).cmp(&rank(b)) {
        core::cmp::Ordering::Less => Compared::Less,
        core::cmp::Ordering::Equal => Compared::Equal,
        core::cmp::Ordering::Greater => Compared::Greater,
    }
}
