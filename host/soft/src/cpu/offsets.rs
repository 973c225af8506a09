//! Where the fields of a processor are, for translated code.

use core::mem::offset_of;

use super::Cpu;
use crate::flags::Flags;

/// Bytes from the start of a [`Cpu`].
pub struct Offsets {
    pub registers: usize,
    pub readable: usize,
    pub readable_from: usize,
    pub writable: usize,
    pub flags: usize,
    /// The second part of the flags.
    pub carries: usize,
    pub eip: usize,
    pub instructions: usize,
}

impl Cpu {
    /// Where the fields are that translated code uses.
    pub const OFFSETS: Offsets = Offsets {
        registers: offset_of!(Self, registers),
        readable: offset_of!(Self, readable),
        readable_from: offset_of!(Self, readable_from),
        writable: offset_of!(Self, writable),
        flags: offset_of!(Self, flags),
        carries: offset_of!(Self, flags) + Flags::CARRIES,
        eip: offset_of!(Self, eip),
        instructions: offset_of!(Self, instructions),
    };
}
