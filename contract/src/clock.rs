//! The time, as the guest is told it.

/// What [`Port::Clock`](crate::Port::Clock) answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds since the run began. Never goes back.
    pub elapsed: u64,
    /// Nanoseconds since 1970-01-01 00:00:00 UTC, as the host's clock has them.
    pub unix_time: u64,
}

impl Clock {
    /// Bytes on the bus.
    pub const SIZE: usize = 16;

    /// As it goes over the bus: both, little-endian.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.elapsed.to_le_bytes());
        bytes[8..].copy_from_slice(&self.unix_time.to_le_bytes());
        bytes
    }

    /// The other way.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let (elapsed, unix_time) = bytes.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Self { elapsed: number(elapsed), unix_time: number(unix_time) }
    }
}
