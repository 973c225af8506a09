//! The size of a machine's RAM.

use core::fmt;
use core::str::FromStr;

use crate::memory::{DEFAULT_RAM_SIZE, MAX_RAM_SIZE, PAGE_SIZE};

/// A size of RAM that a machine can have: whole pages, at least one, at most [`MAX_RAM_SIZE`].
///
/// Parsed from bytes, or with a suffix `K`, `M` or `G` (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize(u32);

impl MemorySize {
    /// A size in bytes, checked.
    pub fn from_bytes(bytes: u64) -> Result<Self, MemorySizeError> {
        if bytes == 0 {
            return Err(MemorySizeError::Zero);
        }
        if bytes > u64::from(MAX_RAM_SIZE) {
            return Err(MemorySizeError::TooLarge);
        }
        if !bytes.is_multiple_of(u64::from(PAGE_SIZE)) {
            return Err(MemorySizeError::NotWholePages);
        }
        Ok(Self(bytes as u32)) // fits: at most MAX_RAM_SIZE
    }

    /// A size in MiB: 1 to 3840.
    ///
    /// # Panics
    ///
    /// If no machine can have this size.
    pub fn mib(count: u32) -> Self {
        Self::from_bytes(u64::from(count) << 20).expect("a machine has 1 to 3840 MiB")
    }

    /// The size in bytes; also the address just past the end of RAM.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for MemorySize {
    fn default() -> Self {
        Self(DEFAULT_RAM_SIZE)
    }
}

impl FromStr for MemorySize {
    type Err = MemorySizeError;

    fn from_str(text: &str) -> Result<Self, MemorySizeError> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = &text[digits.len()..];
        let is_one_of = |names: [&str; 2]| names.iter().any(|name| unit.eq_ignore_ascii_case(name));
        let unit: u64 = match () {
            () if unit.is_empty() => 1,
            () if is_one_of(["K", "KiB"]) => 1 << 10,
            () if is_one_of(["M", "MiB"]) => 1 << 20,
            () if is_one_of(["G", "GiB"]) => 1 << 30,
            () => return Err(MemorySizeError::NotANumber),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(MemorySizeError::NotANumber);
        }
        // They are digits, so it only fails if the number is too large.
        let count: u64 = digits.parse().map_err(|_| MemorySizeError::TooLarge)?;
        Self::from_bytes(count.checked_mul(unit).ok_or(MemorySizeError::TooLarge)?)
    }
}

/// In the largest unit that gives a whole number: `16M`, `4K`.
impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0.trailing_zeros() {
            30.. => write!(f, "{}G", self.0 >> 30),
            20.. => write!(f, "{}M", self.0 >> 20),
            _ => write!(f, "{}K", self.0 >> 10),
        }
    }
}

/// Why a size of RAM is refused. Each message ends with a size that would be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemorySizeError {
    /// No digits, or an unknown unit after them.
    NotANumber,
    /// Zero.
    Zero,
    /// Above [`MAX_RAM_SIZE`].
    TooLarge,
    /// Not a multiple of [`PAGE_SIZE`].
    NotWholePages,
}

impl fmt::Display for MemorySizeError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "not a size: give a number of bytes, or one with K, M or G, such as 16M",
            Self::Zero => "too little: give at least 4K",
            Self::TooLarge => "more than the address space leaves for RAM: give at most 3840M",
            Self::NotWholePages => "not whole pages: give a multiple of 4K",
        })
    }
}

impl core::error::Error for MemorySizeError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn sizes_people_write() {
        for (text, bytes) in [
            ("16M", 16 << 20),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("4096", 4096),
            ("1G", 1 << 30),
            ("2MiB", 2 << 20),
            ("3840M", MAX_RAM_SIZE),
        ] {
            assert_eq!(text.parse(), Ok(MemorySize(bytes)), "{text}");
        }
    }

    #[test]
    fn sizes_that_are_refused() {
        use MemorySizeError::*;
        for (text, error) in [
            ("0", Zero),
            ("0M", Zero),
            ("", NotANumber),
            ("M", NotANumber),
            ("lots", NotANumber),
            ("-1", NotANumber),
            ("1.5M", NotANumber),
            ("16 M", NotANumber),
            ("0x1000", NotANumber),
            ("16Q", NotANumber),
            ("3841M", TooLarge),
            ("4G", TooLarge),
            ("99999999999999999999", TooLarge),
            ("18446744073709551615G", TooLarge),
            ("5000", NotWholePages),
        ] {
            assert_eq!(text.parse::<MemorySize>(), Err(error), "{text}");
        }
    }

    #[test]
    fn messages_name_the_real_bounds() {
        assert!(MemorySizeError::TooLarge.to_string().contains(&MemorySize(MAX_RAM_SIZE).to_string()));
        assert!(MemorySizeError::NotWholePages.to_string().contains(&MemorySize(PAGE_SIZE).to_string()));
    }

    #[test]
    fn shown_in_the_largest_whole_unit() {
        for text in ["16M", "4K", "1028K", "3G"] {
            assert_eq!(text.parse::<MemorySize>().unwrap().to_string(), text);
        }
    }
}
