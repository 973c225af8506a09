//! Numbers with 128 bits of significand, for results that are rounded to 64.

use super::flag;
use super::number::Number;
use super::round::{Environment, Format, round, shift_right};

/// `significand` / 2^127 * 2^`exponent`. Bit 127 is set, unless it is zero.
#[derive(Clone, Copy, Debug)]
pub struct Wide {
    pub negative: bool,
    pub exponent: i32,
    pub significand: u128,
}

impl Wide {
    pub const ZERO: Self = Self { negative: false, exponent: 0, significand: 0 };
    pub const ONE: Self = Self::new(0, 1 << 127);
    pub const PI: Self = Self::new(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1);
    /// The natural logarithm of 2.
    pub const LN_2: Self = Self::new(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af);
    /// The logarithm to base 2 of e.
    pub const LOG_2_E: Self = Self::new(0, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88);

    pub const fn new(exponent: i32, significand: u128) -> Self {
        Self { negative: false, exponent, significand }
    }

    /// `integer` * 2^`exponent`.
    pub fn of_integer(integer: u128, exponent: i32) -> Self {
        if integer == 0 {
            return Self::ZERO;
        }
        let shift = integer.leading_zeros();
        Self::new(exponent + 127 - shift as i32, integer << shift)
    }

    pub fn is_zero(self) -> bool {
        self.significand == 0
    }

    /// The same with another sign.
    pub fn with_sign(self, negative: bool) -> Self {
        Self { negative, ..self }
    }

    pub fn negated(self) -> Self {
        self.with_sign(!self.negative)
    }

    /// This times 2^`by`.
    pub fn scaled(self, by: i32) -> Self {
        Self { exponent: self.exponent + by, ..self }
    }

    pub fn plus(self, other: Self) -> Self {
        if self.is_zero() {
            return other;
        }
        if other.is_zero() {
            return self;
        }
        let is_less = (self.exponent, self.significand) < (other.exponent, other.significand);
        let (great, small) = if is_less { (other, self) } else { (self, other) };
        let distance = (great.exponent - small.exponent) as u32;
        let (left, right) = (great.significand >> 1, shift_right(small.significand >> 1, distance));
        let sum = if great.negative == small.negative { left + right } else { left - right };
        Self::of_integer(sum, great.exponent - 126).with_sign(great.negative)
    }

    pub fn times(self, other: Self) -> Self {
        let negative = self.negative != other.negative;
        let half = |value: u128| (value >> 64, value & u128::from(u64::MAX));
        let ((a1, a0), (b1, b0)) = (half(self.significand), half(other.significand));
        let (middle_1, middle_2) = (a1 * b0, a0 * b1);
        let low = ((a0 * b0) >> 64) + half(middle_1).1 + half(middle_2).1;
        let high = a1 * b1 + (middle_1 >> 64) + (middle_2 >> 64) + (low >> 64);
        Self::of_integer(high, self.exponent + other.exponent - 126).with_sign(negative)
    }

    pub fn divided_by(self, other: Self) -> Self {
        if self.is_zero() {
            return self;
        }
        let (mut rest, divisor) = (self.significand, other.significand);
        let mut quotient = 0_u128;
        for bit in 0..128 {
            let carry = bit > 0 && rest >> 127 != 0;
            rest <<= u32::from(bit > 0);
            let fits = carry || rest >= divisor;
            if fits {
                rest = rest.wrapping_sub(divisor);
            }
            quotient = quotient << 1 | u128::from(fits);
        }
        Self::of_integer(quotient, self.exponent - other.exponent - 127)
            .with_sign(self.negative != other.negative)
    }

    /// This divided by a small integer.
    pub fn divided_by_integer(self, integer: u64) -> Self {
        Self::of_integer(self.significand / u128::from(integer), self.exponent - 127).with_sign(self.negative)
    }

    /// Whether adding this to `sum` would change nothing.
    pub fn is_negligible_beside(self, sum: Self) -> bool {
        self.is_zero() || self.exponent < sum.exponent - 128
    }

    /// The number of 80 bits for the result of a function that is all but its argument: processors take it for exact, and yet
    /// say that it is not.
    pub fn round_argument(self, env: &mut Environment) -> Number {
        let result = round(env, self.negative, self.exponent, self.significand, Format::EXTENDED);
        let is_tiny = self.exponent < Format::EXTENDED.min;
        env.flags |= flag::PRECISION | if is_tiny { flag::UNDERFLOW } else { 0 };
        result
    }

    /// The number of 80 bits, which is inexact.
    pub fn round(self, env: &mut Environment) -> Number {
        round(env, self.negative, self.exponent, self.significand | 1, Format::EXTENDED)
    }
}

impl From<Number> for Wide {
    /// From a finite number.
    fn from(number: Number) -> Self {
        Self::new(number.exponent, u128::from(number.significand) << 64).with_sign(number.negative)
    }
}
