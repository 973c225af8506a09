//! EFLAGS (SDM volume 1, section 3.4.3).
//!
//! Most status flags are overwritten before they are read. So an instruction stores only what they can be computed
//! from: its result, and the carries out of some of its bits. Each flag and each condition is then a few operations
//! without a branch. The technique is that of Bochs and Darek Mihocka.

use super::int::Int;

pub use flatland_x86::eflags::*;

/// The status flags, in the form that the module describes.
///
/// Translated code writes both fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Flags {
    /// The result, sign-extended: ZF, SF and PF come from it.
    result: u32,
    /// Bit 31: the carry out of the highest bit, CF. Bit 30: the carry into it; OF is the two's difference.
    /// Bit 3: AF. Bit 0 inverts SF and bit 8 inverts PF, for combinations that no result has.
    carries: u32,
}

const CARRY_OUT: u32 = 1 << 31;
const CARRY_IN: u32 = 1 << 30;
const CARRY_OF_BIT_3: u32 = 1 << 3;
const INVERT_SF: u32 = 1 << 0;
const INVERT_PF: u32 = 1 << 8;

impl Flags {
    /// Where the carries are; the result is at the start.
    #[cfg(all(feature = "translate", unix, target_arch = "x86_64"))]
    pub const CARRIES: usize = core::mem::offset_of!(Self, carries);

    /// After an addition or subtraction of a size. `carries` has the carry, or borrow, out of each bit.
    #[inline(always)]
    pub fn of_carries<T: Int>(result: u32, carries: u32) -> Self {
        let high = (carries << (32 - T::BITS)) & (CARRY_OUT | CARRY_IN);
        Self { result: T::truncate(result).sign_extend(), carries: high | carries & CARRY_OF_BIT_3 }
    }

    /// After an operation that clears CF and OF. AF is undefined there; it is cleared.
    #[inline(always)]
    pub fn of_result<T: Int>(result: u32) -> Self {
        Self { result: T::truncate(result).sign_extend(), carries: 0 }
    }

    /// The status flags of an EFLAGS image.
    pub fn from_eflags(eflags: u32) -> Self {
        // The low byte of both is 0, which has an even number of ones, and neither has a sign.
        let result = if eflags & ZF != 0 { 0 } else { 0x100 };
        let flag = |flag, bit| if eflags & flag != 0 { bit } else { 0 };
        let carry_in = if (eflags & CF != 0) != (eflags & OF != 0) { CARRY_IN } else { 0 };
        Self {
            result,
            carries: flag(CF, CARRY_OUT)
                | carry_in
                | flag(AF, CARRY_OF_BIT_3)
                | flag(SF, INVERT_SF)
                | (flag(PF, INVERT_PF) ^ INVERT_PF),
        }
    }

    /// The status flags' bits of EFLAGS.
    pub fn to_eflags(self) -> u32 {
        let flag = |set, flag| if set { flag } else { 0 };
        flag(self.cf(), CF)
            | flag(self.pf(), PF)
            | flag(self.af(), AF)
            | flag(self.zf(), ZF)
            | flag(self.sf(), SF)
            | flag(self.of(), OF)
    }

    /// Carry.
    #[inline(always)]
    pub fn cf(self) -> bool {
        self.carries & CARRY_OUT != 0
    }

    /// Carry, as a number to add.
    #[inline(always)]
    pub fn carry(self) -> u32 {
        self.carries >> 31
    }

    /// Parity.
    #[inline(always)]
    pub fn pf(self) -> bool {
        (((self.result & 0xff).count_ones() ^ (self.carries >> 8)) & 1) == 0
    }

    /// Auxiliary carry.
    #[inline(always)]
    pub fn af(self) -> bool {
        self.carries & CARRY_OF_BIT_3 != 0
    }

    /// Zero.
    #[inline(always)]
    pub fn zf(self) -> bool {
        self.result == 0
    }

    /// Sign.
    #[inline(always)]
    pub fn sf(self) -> bool {
        (self.result ^ (self.carries << 31)) & (1 << 31) != 0
    }

    /// Overflow.
    #[inline(always)]
    pub fn of(self) -> bool {
        (self.carries ^ (self.carries << 1)) & CARRY_OUT != 0
    }

    /// The same flags, with this carry and overflow.
    #[inline(always)]
    pub fn with_cf_of(self, cf: bool, of: bool) -> Self {
        let high = (u32::from(cf) << 31) | (u32::from(cf != of) << 30);
        Self { carries: self.carries & !(CARRY_OUT | CARRY_IN) | high, ..self }
    }

    /// The same flags, with this carry.
    #[inline(always)]
    pub fn with_cf(self, cf: bool) -> Self {
        self.with_cf_of(cf, self.of())
    }

    /// The same flags, with the carry of others. OF stays.
    #[inline(always)]
    pub fn with_cf_from(self, others: Flags) -> Self {
        let changed = (self.carries ^ others.carries) & CARRY_OUT;
        Self { carries: self.carries ^ (changed | changed >> 1), ..self }
    }

    /// The same flags, with this zero flag.
    pub fn with_zf(self, zf: bool) -> Self {
        Self::from_eflags(self.to_eflags() & !ZF | if zf { ZF } else { 0 })
    }

    /// The same flags, with this auxiliary carry.
    pub fn with_af(self, af: bool) -> Self {
        Self { carries: self.carries & !CARRY_OF_BIT_3 | if af { CARRY_OF_BIT_3 } else { 0 }, ..self }
    }
}

/// A condition of `jcc`, `setcc` and `cmovcc` (SDM volume 1, appendix B).
pub trait Condition: 'static {
    /// Whether it holds.
    fn holds(flags: Flags) -> bool;
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $name:ident: $flags:ident => $holds:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Condition for $name {
            #[inline(always)]
            fn holds($flags: Flags) -> bool {
                $holds
            }
        }
    )*};
}

conditions! {
    /// Overflow.
    O: flags => flags.of();
    /// No overflow.
    No: flags => !flags.of();
    /// Below, or carry.
    B: flags => flags.cf();
    /// Above or equal, or no carry.
    Ae: flags => !flags.cf();
    /// Equal, or zero.
    E: flags => flags.zf();
    /// Not equal, or not zero.
    Ne: flags => !flags.zf();
    /// Below or equal.
    Be: flags => flags.cf() | flags.zf();
    /// Above.
    A: flags => !(flags.cf() | flags.zf());
    /// Sign.
    S: flags => flags.sf();
    /// No sign.
    Ns: flags => !flags.sf();
    /// Parity even.
    P: flags => flags.pf();
    /// Parity odd.
    Np: flags => !flags.pf();
    /// Less.
    L: flags => flags.sf() ^ flags.of();
    /// Greater or equal.
    Ge: flags => !(flags.sf() ^ flags.of());
    /// Less or equal.
    Le: flags => flags.zf() | (flags.sf() ^ flags.of());
    /// Greater.
    G: flags => !(flags.zf() | (flags.sf() ^ flags.of()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_survives() {
        for bits in 0..64 {
            let eflags = [CF, PF, AF, ZF, SF, OF]
                .into_iter()
                .enumerate()
                .filter(|(index, _)| bits & (1 << index) != 0)
                .fold(0, |eflags, (_, flag)| eflags | flag);
            let flags = Flags::from_eflags(eflags);
            assert_eq!(flags.to_eflags(), eflags);
            assert_eq!(flags.with_cf(true).to_eflags(), eflags | CF);
            assert_eq!(flags.with_cf(false).to_eflags(), eflags & !CF);
            assert_eq!(flags.with_zf(true).to_eflags(), eflags | ZF);
            assert_eq!(flags.with_af(true).to_eflags(), eflags | AF);
            assert_eq!(flags.with_cf_of(false, true).to_eflags(), eflags & !CF | OF);
        }
    }

    #[test]
    fn sizes() {
        // 0x80 + 0x80 in a byte: carry, overflow, zero; the carry out of bit 7 only.
        let flags = Flags::of_carries::<u8>(0x100, 0x80);
        assert_eq!(flags.to_eflags(), CF | OF | ZF | PF);
        // 0x7fff + 1 in a word: overflow and sign; carries out of bits 0 to 14.
        let flags = Flags::of_carries::<u16>(0x8000, 0x7fff);
        assert_eq!(flags.to_eflags(), OF | SF | AF | PF);
        assert_eq!(Flags::of_result::<u8>(0x80).to_eflags(), SF);
    }
}
