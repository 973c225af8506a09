//! Interrupts of devices that are pending (SDM volume 3, section 7.3.2).

use core::fmt;

/// The vector of an interrupt that a device raises: 32 to 255. Those below are the processor's exceptions (SDM volume 3,
/// table 7-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vector(u8);

impl Vector {
    /// The first one.
    pub const FIRST: u8 = 32;

    /// `None` for the vector of an exception.
    pub const fn new(number: u8) -> Option<Self> {
        if number < Self::FIRST { None } else { Some(Self(number)) }
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// The vectors that have been raised and not delivered. A vector that is raised twice before it is delivered is delivered
/// once. The highest one is delivered first, as a local APIC does it (SDM volume 3, section 12.8.3.1).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PendingInterrupts([u64; 4]);

impl PendingInterrupts {
    /// None.
    pub const NONE: Self = Self([0; 4]);

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// Adds a vector.
    pub fn raise(&mut self, vector: Vector) {
        self.0[usize::from(vector.0 / 64)] |= 1 << (vector.0 % 64);
    }

    /// Adds all of another set.
    pub fn raise_all(&mut self, others: Self) {
        self.0.iter_mut().zip(others.0).for_each(|(word, other)| *word |= other);
    }

    /// The vector that is delivered first.
    pub fn highest(&self) -> Option<Vector> {
        let (word, bits) = self.0.iter().enumerate().rfind(|(_, bits)| **bits != 0)?;
        Some(Vector((word * 64) as u8 + bits.ilog2() as u8))
    }

    /// Removes the vector that is delivered first, and returns it.
    pub fn take_highest(&mut self) -> Option<Vector> {
        let vector = self.highest()?;
        self.0[usize::from(vector.0 / 64)] &= !(1 << (vector.0 % 64));
        Some(vector)
    }

    /// A bit for each vector, from 0 on.
    pub const fn to_bits(self) -> [u64; 4] {
        self.0
    }

    /// The inverse of [`Self::to_bits`]. `None` if an exception is among them.
    pub const fn from_bits(bits: [u64; 4]) -> Option<Self> {
        if bits[0] & ((1 << Vector::FIRST) - 1) != 0 { None } else { Some(Self(bits)) }
    }
}

impl fmt::Debug for PendingInterrupts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut left = *self;
        f.debug_set().entries(core::iter::from_fn(|| Some(left.take_highest()?.number()))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_comes_first_and_each_once() {
        let mut pending = PendingInterrupts::NONE;
        for number in [32, 255, 64, 63, 128, 255] {
            pending.raise(Vector::new(number).unwrap());
        }
        assert_eq!(PendingInterrupts::from_bits(pending.to_bits()), Some(pending));
        let order = core::iter::from_fn(|| pending.take_highest()).map(Vector::number);
        assert!(order.eq([255, 128, 64, 63, 32]));
        assert!(pending.is_empty());
    }

    #[test]
    fn exceptions_are_no_interrupts() {
        assert_eq!(Vector::new(31), None);
        assert_eq!(PendingInterrupts::from_bits([1 << 31, 0, 0, 0]), None);
    }
}
