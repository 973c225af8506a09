//! Transcendental functions (SDM volume 1, section 8.3.5): power series in 128 bits, rounded once to 64. So the error is
//! little more than half a unit in the last place, and a processor's is below one (section 8.3.10).
//!
//! Angles are reduced by the processor's pi, which has 66 bits (section 8.3.8).

use super::flag;
use super::from_integer;
use super::number::{Kind, Number};
use super::round::Environment;
use super::wide::Wide;

/// Below 2^this, the sine and the arc tangent are what they are of.
const TINY: i32 = -64;
/// The same for the tangent.
const TINY_OF_TANGENT: i32 = -33;

/// Whether an angle is small enough to be reduced: below 2^63.
pub fn is_reducible(angle: Number) -> bool {
    angle.kind != Kind::Finite || angle.exponent < 63
}

/// An angle between -pi/4 and pi/4, and the number of quarter turns that were taken from it.
fn reduced(angle: Number) -> (Wide, u64) {
    /// The processor's pi times 2^66, which is pi/2 times 2^67.
    const QUARTER: u128 = 0xc_90fd_aa22_168c_234c;
    /// How many bits can be shifted in at once.
    const MOST: i32 = 58;
    // Smaller angles are smaller than pi/4, and those from here on are integers times 2^-67.
    if angle.exponent < -4 {
        return (Wide::from(angle), 0);
    }
    let (mut rest, mut quarters) = (u128::from(angle.significand), 0_u64);
    let mut left = angle.exponent + 4;
    while left > 0 {
        let bits = left.min(MOST);
        rest <<= bits;
        quarters = quarters << bits | (rest / QUARTER) as u64;
        rest %= QUARTER;
        left -= bits;
    }
    let mut negative = angle.negative;
    if rest * 2 > QUARTER {
        (rest, quarters, negative) = (QUARTER - rest, quarters.wrapping_add(1), !negative);
    }
    (Wide::of_integer(rest, -67).with_sign(negative), quarters)
}

/// The sum of a series whose term `n` is the one before it divided by `ratio(n)`, times `factor`.
fn series(first: Wide, factor: Wide, ratio: impl Fn(u64) -> u64) -> Wide {
    let (mut sum, mut term) = (first, first);
    for n in 1.. {
        term = term.times(factor).divided_by_integer(ratio(n));
        sum = sum.plus(term);
        if term.is_negligible_beside(sum) {
            break;
        }
    }
    sum
}

fn sine_of_reduced(angle: Wide) -> Wide {
    series(angle, angle.times(angle).negated(), |n| 2 * n * (2 * n + 1))
}

fn cosine_of_reduced(angle: Wide) -> Wide {
    series(Wide::ONE, angle.times(angle).negated(), |n| (2 * n - 1) * 2 * n)
}

/// The sine and the cosine of a finite angle other than 0.
fn sine_and_cosine(angle: Number) -> (Wide, Wide) {
    let (rest, quarters) = reduced(angle);
    let (sine, cosine) = (sine_of_reduced(rest), cosine_of_reduced(rest));
    // The rest of a negative angle is negative, and its quarters turn the other way.
    let quarters = if angle.negative { quarters.wrapping_neg() } else { quarters };
    match quarters & 3 {
        0 => (sine, cosine),
        1 => (cosine, sine.negated()),
        2 => (sine.negated(), cosine.negated()),
        _ => (cosine.negated(), sine),
    }
}

/// The result for an angle that is no finite number, or 0.
fn special_angle(env: &mut Environment, angle: Number, of_zero: Number) -> Option<Number> {
    if let Some(result) = env.unusable(angle) {
        return Some(result);
    }
    match angle.kind {
        Kind::Infinity => Some(env.invalid()),
        Kind::Zero => Some(of_zero),
        _ => {
            env.note_denormal(angle);
            None
        }
    }
}

/// `fsin`.
pub fn sine(env: &mut Environment, angle: Number) -> Number {
    if let Some(result) = special_angle(env, angle, angle) {
        return result;
    }
    if angle.exponent < TINY {
        return Wide::from(angle).round_argument(env);
    }
    sine_and_cosine(angle).0.round(env)
}

/// `fcos`.
pub fn cosine(env: &mut Environment, angle: Number) -> Number {
    if let Some(result) = special_angle(env, angle, Number::ONE) {
        return result;
    }
    sine_and_cosine(angle).1.round(env)
}

/// `fptan`, without the 1 that it also loads.
pub fn tangent(env: &mut Environment, angle: Number) -> Number {
    if let Some(result) = special_angle(env, angle, angle) {
        return result;
    }
    if angle.exponent < TINY_OF_TANGENT {
        return Wide::from(angle).round_argument(env);
    }
    let (sine, cosine) = sine_and_cosine(angle);
    sine.divided_by(cosine).round(env)
}

/// `fpatan`: the angle of the point (`x`, `y`).
pub fn arc_tangent(env: &mut Environment, y: Number, x: Number) -> Number {
    if let Some(result) = env.unusable_2(x, y) {
        return result;
    }
    env.note_denormal(y);
    env.note_denormal(x);
    let of_pi = |env: &mut Environment, numerator: u64, shift: i32| {
        let angle = Wide::PI.times(Wide::of_integer(numerator.into(), shift));
        angle.with_sign(y.negative).round(env)
    };
    match (y.kind, x.kind) {
        (Kind::Infinity, Kind::Infinity) if x.negative => return of_pi(env, 3, -2),
        (Kind::Infinity, Kind::Infinity) => return of_pi(env, 1, -2),
        (Kind::Zero, _) | (_, Kind::Infinity) if x.negative => return of_pi(env, 1, 0),
        (Kind::Zero, _) | (_, Kind::Infinity) => return Number::zero(y.negative),
        (Kind::Infinity, _) | (_, Kind::Zero) => return of_pi(env, 1, -1),
        _ => {}
    }
    let (height, width) = (Wide::from(y).with_sign(false), Wide::from(x).with_sign(false));
    let is_steep = (height.exponent, height.significand) > (width.exponent, width.significand);
    let tangent = if is_steep { width.divided_by(height) } else { height.divided_by(width) };
    if tangent.exponent < TINY && !is_steep && !x.negative {
        return tangent.with_sign(y.negative).round_argument(env);
    }
    let mut angle = arc_tangent_of(tangent);
    if is_steep {
        angle = Wide::PI.scaled(-1).plus(angle.negated());
    }
    if x.negative {
        angle = Wide::PI.plus(angle.negated());
    }
    angle.with_sign(y.negative).round(env)
}

/// The arc tangent of a number from 0 to 1.
fn arc_tangent_of(tangent: Wide) -> Wide {
    // Above 2/5 by the difference to pi/4, whose tangent is (t - 1) / (t + 1).
    let limit = Wide::of_integer(2, 0).divided_by_integer(5);
    let is_great = (tangent.exponent, tangent.significand) > (limit.exponent, limit.significand);
    if is_great {
        let rest = tangent.plus(Wide::ONE.negated()).divided_by(tangent.plus(Wide::ONE));
        return Wide::PI.scaled(-2).plus(odd_series(rest, true));
    }
    odd_series(tangent, true)
}

/// x + x^3/3 + x^5/5 + ..., or with alternating signs.
fn odd_series(x: Wide, alternates: bool) -> Wide {
    let square = x.times(x);
    let factor = if alternates { square.negated() } else { square };
    let (mut sum, mut power) = (x, x);
    for n in 1.. {
        power = power.times(factor);
        let term = power.divided_by_integer(2 * n + 1);
        sum = sum.plus(term);
        if term.is_negligible_beside(sum) {
            break;
        }
    }
    sum
}

/// `f2xm1`: 2^`x` - 1, for `x` between -1 and 1.
pub fn exponential_minus_1(env: &mut Environment, x: Number) -> Number {
    if let Some(result) = env.unusable(x) {
        return result;
    }
    env.note_denormal(x);
    match x.kind {
        Kind::Zero => return x,
        Kind::Infinity if x.negative => return Number::ONE.negated(),
        Kind::Infinity => return x,
        _ => {}
    }
    if x.exponent >= 0 {
        let is_one = x.exponent == 0 && x.significand << 1 == 0;
        // Beyond 1 the result is undefined.
        return if is_one && x.negative { Number::finite(true, -1, 1 << 63) } else { x };
    }
    let power = Wide::from(x).times(Wide::LN_2);
    series(power, power, |n| n + 1).round(env)
}

/// `fyl2x`: `y` times the logarithm of `x` to base 2.
pub fn logarithm(env: &mut Environment, y: Number, x: Number) -> Number {
    if let Some(result) = env.unusable_2(x, y) {
        return result;
    }
    let is_one = x.kind == Kind::Finite && x.exponent == 0 && x.significand << 1 == 0;
    let is_invalid = match (x.kind, y.kind) {
        (Kind::Zero | Kind::Infinity, Kind::Zero) => true,
        (_, Kind::Infinity) if is_one => true,
        _ => false,
    };
    if is_invalid || x.negative && x.kind != Kind::Zero {
        return env.invalid();
    }
    let is_below_one = x.kind == Kind::Zero || x.kind == Kind::Finite && x.exponent < 0;
    if x.kind == Kind::Zero && y.kind == Kind::Finite {
        env.flags |= flag::ZERO_DIVIDE;
        return Number::infinity(!y.negative);
    }
    env.note_denormal(y);
    env.note_denormal(x);
    if x.kind != Kind::Finite || y.kind == Kind::Infinity {
        return Number::infinity(y.negative != is_below_one);
    }
    if y.kind == Kind::Zero || is_one {
        return Number::zero(y.negative != is_below_one);
    }
    if x.significand << 1 == 0 {
        // Exact, but processors do not say so.
        let exponent = Wide::from(from_integer(x.exponent.into()));
        return exponent.times(Wide::from(y)).round_argument(env);
    }
    // Between 1/sqrt(2) and sqrt(2) nearly, so that there is no difference of two logarithms that are nearly the same.
    const SQUARE_ROOT_2: u64 = 0xb504_f333_f9de_6484;
    let halve = x.significand > SQUARE_ROOT_2;
    let exponent = x.exponent + i32::from(halve);
    let rest = Wide { exponent: if halve { -1 } else { 0 }, ..Wide::from(x) };
    let ratio = rest.plus(Wide::ONE.negated()).divided_by(rest.plus(Wide::ONE));
    let whole = Wide::of_integer(exponent.unsigned_abs().into(), 0).with_sign(exponent < 0);
    times_logarithm(y, whole, ratio).round(env)
}

/// `y` times the sum of `whole` and the logarithm to base 2 of (1 + `ratio`) / (1 - `ratio`).
fn times_logarithm(y: Number, whole: Wide, ratio: Wide) -> Wide {
    let natural = odd_series(ratio, false).scaled(1);
    whole.plus(natural.times(Wide::LOG_2_E)).times(Wide::from(y))
}

/// `fyl2xp1`: `y` times the logarithm of `x` + 1 to base 2, for `x` between sqrt(1/2) - 1 and sqrt(2) - 1.
pub fn logarithm_plus_1(env: &mut Environment, y: Number, x: Number) -> Number {
    if let Some(result) = env.unusable_2(x, y) {
        return result;
    }
    let is_at_most_minus_1 =
        x.negative && (x.kind == Kind::Infinity || x.kind == Kind::Finite && x.exponent >= 0);
    let is_invalid = match (x.kind, y.kind) {
        (Kind::Infinity, Kind::Zero) | (Kind::Zero, Kind::Infinity) => true,
        _ => is_at_most_minus_1,
    };
    if is_invalid {
        return env.invalid();
    }
    env.note_denormal(y);
    env.note_denormal(x);
    let negative = y.negative != x.negative;
    match (x.kind, y.kind) {
        (Kind::Infinity, _) | (_, Kind::Infinity) => return Number::infinity(negative),
        (Kind::Zero, _) | (_, Kind::Zero) => return Number::zero(negative),
        _ => {}
    }
    let x = Wide::from(x);
    let ratio = x.divided_by(x.plus(Wide::ONE.scaled(1)));
    times_logarithm(y, Wide::ZERO, ratio).round(env)
}
