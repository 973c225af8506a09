//! Arithmetic is compared with the host's; what the host does not have, with known values.

extern crate std;

use super::*;

fn environment(rounding: Rounding) -> Environment {
    Environment { unit: Unit::Sse, rounding, masks: flag::ALL, flushes: false, flags: 0, rounded_up: false }
}

/// Bits that are often near the limits of exponents and significands.
fn random_doubles(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 31
    };
    core::iter::from_fn(move || {
        let (bits, kind) = (next(), next());
        let exponent = match kind % 4 {
            0 => kind >> 8 & 1,
            1 => 0x7fe + (kind >> 8 & 1),
            2 => 0x3f0 + (kind >> 8 & 0x1f),
            _ => kind >> 8 & 0x7ff,
        };
        let fraction = if kind >> 4 & 1 == 0 { bits & !(u64::MAX >> (kind >> 40 & 63)) } else { bits };
        Some(f64::from_bits(bits & 1 << 63 | exponent << 52 | fraction & ((1 << 52) - 1)))
    })
}

/// Whether two results are the same; NaNs count as one.
fn is_same(ours: f64, hosts: f64) -> bool {
    ours.to_bits() == hosts.to_bits() || ours.is_nan() && hosts.is_nan()
}

#[test]
fn results_are_those_of_the_host() {
    type Operation = fn(&mut Environment, Number, Number, Format) -> Number;
    type OfHost = fn(f64, f64) -> f64;
    let operations: [(Operation, OfHost); 4] = [
        (add, |a, b| a + b),
        (multiply, |a, b| a * b),
        (divide, |a, b| a / b),
        (|env, a, _, format| square_root(env, a, format), |a, _| a.sqrt()),
    ];
    for (a, b) in random_doubles(1).zip(random_doubles(2)).take(20_000) {
        for (index, (ours, hosts)) in operations.iter().enumerate() {
            let mut env = environment(Rounding::Nearest);
            let [first, second] = [a, b].map(|number| Number::from_double(number.to_bits()));
            let result = f64::from_bits(ours(&mut env, first, second, Format::DOUBLE).to_double());
            assert!(is_same(result, hosts(a, b)), "{index}: {a:e} {b:e}: {result:e}");
            // By way of 80 bits, each double and its rounding to 32 bits.
            let extended = Extended::from(first);
            assert!(is_same(f64::from_bits(extended.number().to_double()), a));
            let single = round_number(&mut env, first.quieted(), Format::SINGLE).to_single();
            assert!(is_same(f32::from_bits(single).into(), (a as f32).into()), "{a:e}");
        }
    }
}

#[test]
fn integers_are_those_of_the_host() {
    for number in random_doubles(3).take(20_000) {
        let unpacked = Number::from_double(number.to_bits());
        let integer = to_integer(&mut environment(Rounding::Zero), unpacked, 1 << 63);
        let hosts = (number > -9.3e18 && number < 9.2e18).then_some(number as i64);
        assert_eq!(integer, hosts.filter(|_| number >= i64::MIN as f64), "{number:e}");
        let integral = round_to_integer(&mut environment(Rounding::Down), unpacked).to_double();
        assert!(is_same(f64::from_bits(integral), number.floor()), "{number:e}");
    }
}

#[test]
fn each_direction_of_rounding() {
    let third = |rounding, negative| {
        let mut env = environment(rounding);
        let three = Number::finite(negative, 1, 3 << 62);
        let result = divide(&mut env, Number::ONE, three, Format::SINGLE).to_single();
        (result, env.flags, env.rounded_up)
    };
    const LESS: u32 = 0x3eaa_aaaa;
    const MINUS: u32 = 1 << 31;
    let inexact = flag::PRECISION;
    assert_eq!(third(Rounding::Nearest, false), (LESS + 1, inexact, true));
    assert_eq!(third(Rounding::Up, false), (LESS + 1, inexact, true));
    assert_eq!(third(Rounding::Down, false), (LESS, inexact, false));
    assert_eq!(third(Rounding::Zero, false), (LESS, inexact, false));
    assert_eq!(third(Rounding::Up, true), (MINUS | LESS, inexact, false));
    assert_eq!(third(Rounding::Down, true), (MINUS | (LESS + 1), inexact, true));
}

/// What would be rounded up to the least normal number with any exponent is not tiny.
#[test]
fn tiny_is_decided_after_rounding() {
    let product = |significand| {
        let mut env = environment(Rounding::Nearest);
        // Almost 1, times the least normal number.
        let almost = Number::finite(false, -1, significand);
        let least = Number::finite(false, -126, 1 << 63);
        (multiply(&mut env, almost, least, Format::SINGLE).to_single(), env.flags)
    };
    let (inexact, underflow) = (flag::PRECISION, flag::PRECISION | flag::UNDERFLOW);
    assert_eq!(product(u64::MAX), (0x0080_0000, inexact));
    // 24 bits and a little: with any exponent it would be rounded down.
    assert_eq!(product(0xffff_ff40_0000_0000), (0x0080_0000, underflow));
    assert_eq!(product(0x8000_0000_0000_0000), (0x0040_0000, 0));
}

#[test]
fn functions_have_known_values() {
    let rounded = |number: Number| (number.exponent, number.significand);
    let mut env = environment(Rounding::Nearest);
    let env = &mut env;
    let three = Number::finite(false, 1, 3 << 62);
    assert_eq!(rounded(sine(env, Number::ONE)), (-1, 0xd76a_a478_4867_7021));
    assert_eq!(rounded(cosine(env, Number::ONE)), (-1, 0x8a51_407d_a834_5c92));
    assert_eq!(rounded(tangent(env, Number::ONE)), (0, 0xc759_22e5_f71d_2dc5));
    assert_eq!(rounded(arc_tangent(env, Number::ONE, three)), (-2, 0xa4bc_7d19_34f7_0924));
    // A quarter of pi.
    assert_eq!(rounded(arc_tangent(env, Number::ONE, Number::ONE)), (-1, 0xc90f_daa2_2168_c235));
    let three_quarters = Number::finite(false, -1, 3 << 62);
    assert_eq!(rounded(exponential_minus_1(env, three_quarters)), (-1, 0xae89_f995_ad3a_d5e8));
    assert_eq!(rounded(logarithm(env, Number::ONE, three)), (0, 0xcae0_0d1c_fdeb_43d0));
    let quarter = Number::finite(false, -2, 1 << 63);
    assert_eq!(rounded(logarithm_plus_1(env, Number::ONE, quarter)), (-2, 0xa4d3_c25e_68dc_57f2));
    // 10^9 is reduced by the processor's pi.
    let great = sine(env, from_integer(1_000_000_000));
    assert_eq!(rounded(great), (-1, 0x8bbc_6574_1f64_7991));
}

#[test]
fn remainders() {
    let of = |dividend, divisor, nearest| {
        let mut env = environment(Rounding::Nearest);
        let found = remainder(&mut env, from_integer(dividend), from_integer(divisor), nearest);
        (found.value, found.quotient)
    };
    assert_eq!(of(17, 5, false), (from_integer(2), Quotient::Is(3)));
    assert_eq!(of(18, 5, true), (from_integer(-2), Quotient::Is(4)));
    assert_eq!(of(-17, 5, false), (from_integer(-2), Quotient::Is(3)));
    assert_eq!(of(3, 5, true), (from_integer(-2), Quotient::Is(1)));
}
