//! Conversion to and from integers.

use super::flag;
use super::number::{Kind, Number};
use super::round::{Environment, Rounding, shift_right};

/// The magnitude of a finite number as an integer. `None` if it has more than 64 bits.
fn magnitude(env: &mut Environment, number: Number) -> Option<u64> {
    if number.exponent > 63 {
        return None;
    }
    let shifted = shift_right(u128::from(number.significand) << 64, (63 - number.exponent) as u32);
    let (whole, rest) = ((shifted >> 64) as u64, shifted as u64);
    const HALF: u64 = 1 << 63;
    let up = match env.rounding {
        Rounding::Nearest => rest > HALF || rest == HALF && whole & 1 != 0,
        Rounding::Down => number.negative && rest != 0,
        Rounding::Up => !number.negative && rest != 0,
        Rounding::Zero => false,
    };
    let rounded = whole.checked_add(u64::from(up))?;
    if rest != 0 {
        env.flags |= flag::PRECISION;
        env.rounded_up = up;
    }
    Some(rounded)
}

/// Converts to a signed integer between `-limit` and `limit` - 1. If that cannot be, the operation is invalid.
pub fn to_integer(env: &mut Environment, number: Number, limit: u64) -> Option<i64> {
    let before = *env;
    let integer = match number.kind {
        Kind::Zero => Some(0),
        Kind::Finite => magnitude(env, number).and_then(|magnitude| match number.negative {
            true if magnitude <= limit => Some((magnitude as i64).wrapping_neg()),
            false if magnitude < limit => Some(magnitude as i64),
            _ => None,
        }),
        _ => None,
    };
    if integer.is_none() {
        *env = before;
        env.flags |= flag::INVALID;
    }
    integer
}

/// Rounds to an integer (`frndint`).
pub fn round_to_integer(env: &mut Environment, number: Number) -> Number {
    if let Some(result) = env.unusable(number) {
        return result;
    }
    env.note_denormal(number);
    if number.kind != Kind::Finite || number.exponent >= 63 {
        return number;
    }
    match magnitude(env, number) {
        Some(magnitude) => Number::normalized(number.negative, 63, magnitude),
        None => number,
    }
}

/// The number that an integer is.
pub fn from_integer(integer: i64) -> Number {
    // The zero of an integer is positive.
    Number::normalized(integer < 0, 63, integer.unsigned_abs())
}
