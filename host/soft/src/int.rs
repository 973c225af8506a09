//! The sizes of an operand: byte, word and doubleword (SDM volume 1, section 4.1).

/// A value in memory.
pub trait Bytes: Copy + 'static {
    /// Its size in bytes.
    const BYTES: u32;

    /// From [`Self::BYTES`] bytes in little-endian order. `None` if `bytes` has another length.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
    /// To [`Self::BYTES`] bytes in little-endian order. `bytes` must have that length.
    fn to_bytes(self, bytes: &mut [u8]);
}

/// An unsigned integer of one of the three operand sizes.
///
/// Instructions compute in `u32`; this type gives the number of bits that count.
pub trait Int: Bytes + Eq {
    /// Its size in bits.
    const BITS: u32 = Self::BYTES * 8;
    /// All its bits.
    const MASK: u32 = u32::MAX >> (32 - Self::BITS);
    /// Its highest bit, the sign of a signed one.
    const SIGN: u32 = 1 << (Self::BITS - 1);

    /// The low bits of `value`.
    fn truncate(value: u32) -> Self;
    /// Zero-extended.
    fn zero_extend(self) -> u32;
    /// Sign-extended.
    fn sign_extend(self) -> u32;
}

macro_rules! bytes {
    ($unsigned:ty) => {
        impl Bytes for $unsigned {
            const BYTES: u32 = <$unsigned>::BITS / 8;

            #[inline(always)]
            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_le_bytes(bytes.try_into().ok()?))
            }

            #[inline(always)]
            fn to_bytes(self, bytes: &mut [u8]) {
                // Not `copy_from_slice`, which would be a call for each store.
                *<&mut [u8; _]>::try_from(bytes).expect("it has this size") = self.to_le_bytes();
            }
        }
    };
}

bytes!(u8);
bytes!(u16);
bytes!(u32);
bytes!(u64);
bytes!(u128);

impl<const LEN: usize> Bytes for [u8; LEN] {
    const BYTES: u32 = LEN as u32;

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }

    fn to_bytes(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self);
    }
}

macro_rules! int {
    ($unsigned:ty, $signed:ty) => {
        impl Int for $unsigned {
            #[inline(always)]
            fn truncate(value: u32) -> Self {
                value as $unsigned
            }

            #[inline(always)]
            fn zero_extend(self) -> u32 {
                self as u32
            }

            #[inline(always)]
            fn sign_extend(self) -> u32 {
                self as $signed as u32
            }
        }
    };
}

int!(u8, i8);
int!(u16, i16);
int!(u32, i32);

/// An operand size that is known only when an instruction is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Doubleword,
}

/// The handler for an operand size: an expression over a type that is `u8`, `u16` or `u32`.
macro_rules! by_size {
    ($size:expr, $T:ident => $handler:expr) => {
        match $size {
            $crate::int::Size::Byte => {
                type $T = u8;
                $handler as $crate::operation::Handler
            }
            $crate::int::Size::Word => {
                type $T = u16;
                $handler as $crate::operation::Handler
            }
            $crate::int::Size::Doubleword => {
                type $T = u32;
                $handler as $crate::operation::Handler
            }
        }
    };
}

/// The same where there is no byte form.
macro_rules! by_word_size {
    ($size:expr, $T:ident => $handler:expr) => {
        match $size {
            $crate::int::Size::Byte | $crate::int::Size::Word => {
                type $T = u16;
                $handler as $crate::operation::Handler
            }
            $crate::int::Size::Doubleword => {
                type $T = u32;
                $handler as $crate::operation::Handler
            }
        }
    };
}

pub(super) use {by_size, by_word_size};
