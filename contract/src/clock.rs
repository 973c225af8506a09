//! The host's clocks, as the guest reads them.

/// What [`Port::Clock`](crate::Port::Clock) answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds since the run began. Never goes back.
    pub elapsed: u64,
    /// Nanoseconds since 1970-01-01 00:00:00 UTC, by the host's clock.
    pub unix_time: u64,
}

impl Clock {
    /// The size in bytes.
    pub const SIZE: usize = 16;

    /// The fields in order, little-endian.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.elapsed.to_le_bytes());
        bytes[8..].copy_from_slice(&self.unix_time.to_le_bytes());
        bytes
    }

    /// The inverse of [`Self::to_bytes`].
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let (elapsed, unix_time) = bytes.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Self { elapsed: number(elapsed), unix_time: number(unix_time) }
    }
}
