//! Random numbers from the host's own source, of the quality that keys are made of.

use flatland_contract::Port;

use crate::port;

/// Fills the slice with random bytes.
pub fn fill(bytes: &mut [u8]) {
    port::read(Port::Random, bytes);
}

/// A random number.
pub fn u32() -> u32 {
    u32::from_le_bytes(port::read_array(Port::Random))
}

/// A random number.
pub fn u64() -> u64 {
    u64::from_le_bytes(port::read_array(Port::Random))
}
