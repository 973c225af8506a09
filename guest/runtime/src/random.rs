//! Random numbers from the host, good enough for cryptographic keys.

use flatland_contract::Port;

use crate::port;

/// Fills the slice with random bytes.
pub fn fill(bytes: &mut [u8]) {
    port::read(Port::Random, bytes);
}

/// Returns a random number.
pub fn u32() -> u32 {
    u32::from_le_bytes(port::read_array(Port::Random))
}

/// Returns a random number.
pub fn u64() -> u64 {
    u64::from_le_bytes(port::read_array(Port::Random))
}
