//! Rounding: results, their formats, and the exceptions that come of it (SDM volume 1, sections 4.8.4 and 4.9).

use super::flag;
use super::number::{Kind, Number};

/// Where to round to (SDM volume 1, table 4-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// The nearest, or the even one of two.
    Nearest,
    /// Towards negative infinity.
    Down,
    /// Towards positive infinity.
    Up,
    /// Towards zero.
    Zero,
}

impl Rounding {
    /// By the field RC of a control word or of MXCSR.
    pub fn of(field: u32) -> Self {
        [Self::Nearest, Self::Down, Self::Up, Self::Zero][field as usize & 3]
    }
}

/// What a result must fit into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The bits of a significand.
    pub bits: u32,
    /// The exponent of the least normal number.
    pub min: i32,
    /// The greatest exponent.
    pub max: i32,
}

impl Format {
    /// 32 bits.
    pub const SINGLE: Self = Self { bits: 24, min: -126, max: 127 };
    /// 64 bits.
    pub const DOUBLE: Self = Self { bits: 53, min: -1022, max: 1023 };
    /// 80 bits.
    pub const EXTENDED: Self = Self { bits: 64, min: -16382, max: 16383 };
}

/// Whose rules hold for NaNs and unmasked exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The x87's, for a result in a register: an unmasked overflow or underflow has a result, with another exponent.
    X87,
    /// The x87's, for a result in memory, which an unmasked exception leaves as it was.
    X87Memory,
    /// SSE's: an unmasked exception leaves no result.
    Sse,
}

/// How to compute, and the exceptions so far.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    /// Whose rules hold.
    pub unit: Unit,
    /// How to round.
    pub rounding: Rounding,
    /// The masked exceptions.
    pub masks: u8,
    /// Whether tiny results become zero (FTZ).
    pub flushes: bool,
    /// The exceptions.
    pub flags: u8,
    /// Whether the last inexact result was rounded away from zero.
    pub rounded_up: bool,
}

impl Environment {
    /// The exceptions that are not masked.
    pub fn unmasked(&self) -> u8 {
        self.flags & !self.masks
    }

    /// Whether an exception that is not masked comes before the result.
    pub fn is_before_result(&self) -> bool {
        self.unmasked() & (flag::INVALID | flag::ZERO_DIVIDE | flag::DENORMAL) != 0
    }

    /// Whether the result is stored in spite of the exceptions.
    pub fn is_stored(&self) -> bool {
        !self.is_before_result()
            && (self.unit == Unit::X87 || self.unmasked() & (flag::OVERFLOW | flag::UNDERFLOW) == 0)
    }

    /// The result of an invalid operation.
    pub fn invalid(&mut self) -> Number {
        self.flags |= flag::INVALID;
        Number::INDEFINITE
    }

    /// The result of an operation on one number, if it is a NaN or not supported.
    pub fn unusable(&mut self, a: Number) -> Option<Number> {
        match a.kind {
            Kind::Unsupported => Some(self.invalid()),
            Kind::Signaling => {
                self.flags |= flag::INVALID;
                Some(a.quieted())
            }
            Kind::Quiet => Some(a),
            _ => None,
        }
    }

    /// The result of an operation on two numbers, if one is a NaN or not supported (SDM volume 1, table 4-7).
    pub fn unusable_2(&mut self, a: Number, b: Number) -> Option<Number> {
        if a.kind == Kind::Unsupported || b.kind == Kind::Unsupported {
            return Some(self.invalid());
        }
        if !a.is_nan() && !b.is_nan() {
            return None;
        }
        if a.kind == Kind::Signaling || b.kind == Kind::Signaling {
            self.flags |= flag::INVALID;
        }
        let (first, second) = (a.quieted(), b.quieted());
        Some(match (a.is_nan(), b.is_nan()) {
            (true, false) => first,
            (false, _) => second,
            (true, true) if self.unit == Unit::Sse => first,
            _ if a.kind != b.kind => {
                if a.kind == Kind::Quiet {
                    first
                } else {
                    second
                }
            }
            _ if first.significand != second.significand => {
                if first.significand > second.significand {
                    first
                } else {
                    second
                }
            }
            _ if first.negative => second,
            _ => first,
        })
    }

    /// Notes a denormal operand.
    pub fn note_denormal(&mut self, number: Number) {
        if number.denormal {
            self.flags |= flag::DENORMAL;
        }
    }
}

/// How far an unmasked overflow or underflow moves the exponent of a result in a register (SDM volume 1, section 8.5.4).
const WRAP: i32 = 24576;

/// The highest bits of a significand, and what is known of the others.
struct Cut {
    kept: u64,
    inexact: bool,
    up: bool,
}

impl Cut {
    /// The highest `bits` bits; rounded up, there may be one more.
    fn new(significand: u128, bits: u32, rounding: Rounding, negative: bool) -> Self {
        let kept = (significand >> (128 - bits)) as u64;
        let rest = significand << bits;
        const HALF: u128 = 1 << 127;
        let up = match rounding {
            Rounding::Nearest => rest > HALF || rest == HALF && kept & 1 != 0,
            Rounding::Down => negative && rest != 0,
            Rounding::Up => !negative && rest != 0,
            Rounding::Zero => false,
        };
        Self { kept, inexact: rest != 0, up }
    }

    /// The significand of this many bits, as one of 64, and whether it has one more.
    fn rounded(&self, bits: u32) -> (u64, bool) {
        let unit = 1 << (64 - bits);
        (self.kept << (64 - bits)).overflowing_add(if self.up { unit } else { 0 })
    }
}

/// Rounds `significand` / 2^127 * 2^`exponent`, whose bit 127 is set. Its lowest bit may stand for all below it.
pub fn round(
    env: &mut Environment,
    negative: bool,
    mut exponent: i32,
    significand: u128,
    format: Format,
) -> Number {
    let Format { bits, min, max } = format;
    let cut = Cut::new(significand, bits, env.rounding, negative);
    let (mut kept, carry) = cut.rounded(bits);
    // Tiny is what is less than the least normal number after rounding to any exponent (SDM volume 1, section 4.9.1.5).
    let is_tiny = exponent < min && !(exponent == min - 1 && carry);
    if is_tiny && env.masks & flag::UNDERFLOW != 0 {
        return denormal(env, negative, exponent, significand, format);
    }
    if carry {
        (kept, exponent) = (1 << 63, exponent + 1);
    }
    if is_tiny {
        env.flags |= flag::UNDERFLOW;
        if env.unit == Unit::X87 {
            exponent += WRAP;
            if exponent < min {
                // Only `fscale` comes here.
                return denormal(env, negative, min - 100, 1 << 127, format);
            }
        }
    }
    if exponent > max {
        env.flags |= flag::OVERFLOW;
        if env.unit == Unit::X87 && env.masks & flag::OVERFLOW == 0 {
            exponent -= WRAP;
        }
        if env.masks & flag::OVERFLOW != 0 {
            return overflow(env, negative, format);
        }
        if env.unit == Unit::X87 && exponent > max {
            // Only `fscale` comes here.
            (env.flags, env.rounded_up) = (env.flags | flag::PRECISION, true);
            return Number::infinity(negative);
        }
    }
    if cut.inexact {
        env.flags |= flag::PRECISION;
        env.rounded_up = cut.up;
    }
    Number::finite(negative, exponent, kept)
}

/// The result of a masked underflow.
fn denormal(
    env: &mut Environment,
    negative: bool,
    exponent: i32,
    significand: u128,
    format: Format,
) -> Number {
    if env.flushes {
        env.flags |= flag::UNDERFLOW | flag::PRECISION;
        return Number::zero(negative);
    }
    let shift = (format.min - exponent) as u32;
    let shifted = shift_right(significand, shift);
    let cut = Cut::new(shifted, format.bits, env.rounding, negative);
    if cut.inexact {
        env.flags |= flag::UNDERFLOW | flag::PRECISION;
        env.rounded_up = cut.up;
    }
    let (kept, _) = cut.rounded(format.bits);
    Number::normalized(negative, format.min, kept)
}

/// The result of a masked overflow (SDM volume 1, table 4-10).
fn overflow(env: &mut Environment, negative: bool, format: Format) -> Number {
    env.flags |= flag::PRECISION;
    let is_infinite = match env.rounding {
        Rounding::Nearest => true,
        Rounding::Down => negative,
        Rounding::Up => !negative,
        Rounding::Zero => false,
    };
    env.rounded_up = is_infinite;
    if is_infinite {
        return Number::infinity(negative);
    }
    Number::finite(negative, format.max, u64::MAX << (64 - format.bits))
}

/// Shifts right. The lowest bit stands for all that are lost.
pub fn shift_right(value: u128, shift: u32) -> u128 {
    match shift {
        0 => value,
        1..=127 => value >> shift | u128::from(value << (128 - shift) != 0),
        _ => u128::from(value != 0),
    }
}

/// Rounds a number to a format. NaNs are made quiet.
pub fn round_number(env: &mut Environment, number: Number, format: Format) -> Number {
    match number.kind {
        Kind::Finite => {
            round(env, number.negative, number.exponent, u128::from(number.significand) << 64, format)
        }
        _ => number,
    }
}
