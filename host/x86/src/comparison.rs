//! What a program compares.

/// Two operands that a program has compared: of `cmp`, `test`, `sub` or `xor`, or what `cmps` was about to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Comparison {
    /// The address of the instruction, in the code segment.
    pub address: u32,
    /// The operands.
    pub operands: Operands,
}

/// The operands of a [`Comparison`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operands {
    /// Two numbers.
    Numbers {
        /// How many bytes each has: 1, 2 or 4.
        width: u8,
        /// The first operand.
        first: u32,
        /// The second operand.
        second: u32,
        /// Whether the second operand is a part of the instruction.
        is_constant: bool,
    },
    /// Two texts, from their beginning.
    Bytes {
        /// How many bytes of each there are here.
        len: u8,
        /// The one at ESI.
        first: [u8; Comparison::MOST],
        /// The one at EDI.
        second: [u8; Comparison::MOST],
    },
}

impl Comparison {
    /// How many bytes of a text are kept.
    pub const MOST: usize = 32;
    /// How often an instruction is seen, from one [`take_comparisons`](crate::Engine::take_comparisons) to the next.
    pub const OF_EACH: u8 = 16;
    /// How many comparisons are kept.
    pub const AT_MOST: usize = 4096;
}
