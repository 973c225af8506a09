//! Numbers apart from their formats.

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Zero.
    Zero,
    /// A finite number other than zero.
    Finite,
    /// Infinity.
    Infinity,
    /// A quiet NaN.
    Quiet,
    /// A signaling NaN.
    Signaling,
    /// An encoding of 80 bits that the x87 does not support (SDM volume 1, section 8.2.2).
    Unsupported,
}

/// A number. A finite one is `significand` / 2^63 * 2^`exponent`, with bit 63 set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// What it is.
    pub kind: Kind,
    /// Its sign.
    pub negative: bool,
    /// Whether it was denormal in its format.
    pub denormal: bool,
    /// The exponent of a finite number.
    pub exponent: i32,
    /// The significand of a finite number, or of a NaN: its format's highest bits. Bit 62 says that a NaN is quiet.
    pub significand: u64,
}

/// The highest bit of a significand.
const INTEGER: u64 = 1 << 63;
/// The bit that makes a NaN quiet.
pub const QUIET: u64 = 1 << 62;

impl Number {
    /// The NaN of invalid operations (SDM volume 1, section 4.8.3.7).
    pub const INDEFINITE: Self = Self {
        kind: Kind::Quiet,
        negative: true,
        denormal: false,
        exponent: 0,
        significand: INTEGER | QUIET,
    };

    /// One.
    pub const ONE: Self = Self::finite(false, 0, INTEGER);

    /// A number of bit 63 and those below it.
    pub const fn finite(negative: bool, exponent: i32, significand: u64) -> Self {
        Self { kind: Kind::Finite, negative, denormal: false, exponent, significand }
    }

    /// Zero with this sign.
    pub const fn zero(negative: bool) -> Self {
        Self { kind: Kind::Zero, negative, denormal: false, exponent: 0, significand: 0 }
    }

    /// Infinity with this sign.
    pub const fn infinity(negative: bool) -> Self {
        Self { kind: Kind::Infinity, negative, denormal: false, exponent: 0, significand: INTEGER }
    }

    /// `significand` / 2^63 * 2^`exponent`, for any significand.
    pub fn normalized(negative: bool, exponent: i32, significand: u64) -> Self {
        if significand == 0 {
            return Self::zero(negative);
        }
        let shift = significand.leading_zeros();
        Self::finite(negative, exponent - shift as i32, significand << shift)
    }

    /// Whether it is a NaN.
    pub fn is_nan(self) -> bool {
        matches!(self.kind, Kind::Quiet | Kind::Signaling)
    }

    /// A NaN made quiet; any other number as it is.
    pub fn quieted(self) -> Self {
        match self.kind {
            Kind::Signaling => Self { kind: Kind::Quiet, significand: self.significand | QUIET, ..self },
            _ => self,
        }
    }

    /// The number with this sign.
    pub fn with_sign(self, negative: bool) -> Self {
        Self { negative, ..self }
    }

    /// The number with the other sign.
    pub fn negated(self) -> Self {
        Self { negative: !self.negative, ..self }
    }

    /// What is added to subtract it: the number with the other sign. A NaN keeps its sign.
    pub fn subtracted(self) -> Self {
        match self.kind {
            Kind::Quiet | Kind::Signaling | Kind::Unsupported => self,
            _ => self.negated(),
        }
    }

    /// Unpacks a number of an IEEE format (SDM volume 1, section 4.2.2): `fraction` bits below `exponent` bits.
    fn unpacked(bits: u64, exponent_bits: u32, fraction_bits: u32) -> Self {
        let most = (1 << exponent_bits) - 1;
        let bias = most >> 1;
        let negative = bits >> (exponent_bits + fraction_bits) & 1 != 0;
        let exponent = (bits >> fraction_bits) as i32 & most;
        let fraction = (bits & ((1 << fraction_bits) - 1)) << (63 - fraction_bits);
        match exponent {
            0 if fraction == 0 => Self::zero(negative),
            0 => Self { denormal: true, ..Self::normalized(negative, 1 - bias, fraction) },
            _ if exponent != most => Self::finite(negative, exponent - bias, INTEGER | fraction),
            _ if fraction == 0 => Self::infinity(negative),
            _ => Self { kind: nan_kind(fraction), ..Self::finite(negative, 0, INTEGER | fraction) },
        }
    }

    /// Packs a number that an IEEE format has.
    fn packed(self, exponent_bits: u32, fraction_bits: u32) -> u64 {
        let most = (1_u64 << exponent_bits) - 1;
        let bias = (most >> 1) as i32;
        let fraction = (self.significand & !INTEGER) >> (63 - fraction_bits);
        let magnitude = match self.kind {
            Kind::Zero => 0,
            Kind::Finite if self.exponent < 1 - bias => {
                let shift = (1 - bias - self.exponent) as u32 + 63 - fraction_bits;
                self.significand.checked_shr(shift).unwrap_or(0)
            }
            // An exponent beyond the format is of an overflow whose result is not used.
            Kind::Finite => ((self.exponent + bias) as u64 & most) << fraction_bits | fraction,
            Kind::Infinity => most << fraction_bits,
            Kind::Quiet | Kind::Signaling | Kind::Unsupported => most << fraction_bits | fraction,
        };
        u64::from(self.negative) << (exponent_bits + fraction_bits) | magnitude
    }

    /// Unpacks a number of 32 bits.
    pub fn from_single(bits: u32) -> Self {
        Self::unpacked(bits.into(), 8, 23)
    }

    /// Unpacks a number of 64 bits.
    pub fn from_double(bits: u64) -> Self {
        Self::unpacked(bits, 11, 52)
    }

    /// A number that has been rounded to 32 bits.
    pub fn to_single(self) -> u32 {
        self.packed(8, 23) as u32
    }

    /// A number that has been rounded to 64 bits.
    pub fn to_double(self) -> u64 {
        self.packed(11, 52)
    }
}

fn nan_kind(significand: u64) -> Kind {
    if significand & QUIET != 0 { Kind::Quiet } else { Kind::Signaling }
}

/// A number in the x87's format of 80 bits (SDM volume 1, section 4.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// Bits 0 to 63, with the integer bit.
    pub significand: u64,
    /// Sign and exponent: bits 64 to 79.
    pub head: u16,
}

impl Extended {
    const BIAS: i32 = 0x3fff;
    const MOST: i32 = 0x7fff;

    /// From its bytes in memory.
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        let [low @ .., nine, ten] = bytes;
        Self { significand: u64::from_le_bytes(low), head: u16::from_le_bytes([nine, ten]) }
    }

    /// Its bytes in memory.
    pub fn to_bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.significand.to_le_bytes());
        bytes[8..].copy_from_slice(&self.head.to_le_bytes());
        bytes
    }

    /// Unpacks it.
    pub fn number(self) -> Number {
        let Self { significand, head } = self;
        let negative = head & 0x8000 != 0;
        let exponent = i32::from(head) & Self::MOST;
        let has_integer = significand & INTEGER != 0;
        match exponent {
            0 if significand == 0 => Number::zero(negative),
            // With the integer bit: a pseudo-denormal, which has the exponent of a denormal.
            0 => Number { denormal: true, ..Number::normalized(negative, 1 - Self::BIAS, significand) },
            _ if !has_integer => {
                Number { kind: Kind::Unsupported, ..Number::finite(negative, exponent, significand) }
            }
            Self::MOST if significand == INTEGER => Number::infinity(negative),
            Self::MOST => Number { kind: nan_kind(significand), ..Number::finite(negative, 0, significand) },
            _ => Number::finite(negative, exponent - Self::BIAS, significand),
        }
    }
}

impl From<Number> for Extended {
    /// Packs a number that has been rounded to 80 bits.
    fn from(number: Number) -> Self {
        let Number { kind, negative, exponent, significand, .. } = number;
        let sign = u16::from(negative) << 15;
        match kind {
            Kind::Zero => Self { significand: 0, head: sign },
            Kind::Finite if exponent < 1 - Self::BIAS => {
                let shift = (1 - Self::BIAS - exponent) as u32;
                Self { significand: significand.checked_shr(shift).unwrap_or(0), head: sign }
            }
            Kind::Finite => Self { significand, head: sign | (exponent + Self::BIAS) as u16 & 0x7fff },
            Kind::Infinity => Self { significand: INTEGER, head: sign | 0x7fff },
            Kind::Quiet | Kind::Signaling | Kind::Unsupported => {
                Self { significand: significand | INTEGER, head: sign | 0x7fff }
            }
        }
    }
}
