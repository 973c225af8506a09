//! Floating-point numbers as the processor computes with them: the x87's 80 bits, and SSE's 32 and 64 (SDM volume 1, chapters
//! 4, 8 and 11).
//!
//! Everything is done with integers, so that results and exception flags are the same on any host. Operands are unpacked to a
//! [`Number`]; a result is rounded once, to a [`Format`]. Where the host's own operation has the same result, the
//! instructions use that (`instructions::sse_fast`).

mod arithmetic;
mod integer;
mod number;
mod remainder;
mod round;
mod transcendental;
mod wide;

pub use arithmetic::{Compared, add, compare, divide, multiply, square_root};
pub use integer::{from_integer, round_to_integer, to_integer};
pub use number::{Extended, Kind, Number};
pub use remainder::{Quotient, extract, remainder, scale};
pub use round::{Environment, Format, Rounding, Unit, round_number};
pub use transcendental::{
    arc_tangent, cosine, exponential_minus_1, is_reducible, logarithm, logarithm_plus_1, sine, tangent,
};

/// Exception flags, by their bits in the x87's status word and in MXCSR (SDM volume 1, sections 8.1.3 and 10.2.3).
pub mod flag {
    /// An invalid operation.
    pub const INVALID: u8 = 1 << 0;
    /// A denormal operand.
    pub const DENORMAL: u8 = 1 << 1;
    /// A division by zero.
    pub const ZERO_DIVIDE: u8 = 1 << 2;
    /// Overflow.
    pub const OVERFLOW: u8 = 1 << 3;
    /// Underflow.
    pub const UNDERFLOW: u8 = 1 << 4;
    /// An inexact result.
    pub const PRECISION: u8 = 1 << 5;
    /// All of them.
    pub const ALL: u8 = 0x3f;
}

#[cfg(test)]
mod tests;
