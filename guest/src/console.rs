//! The console's port itself, with nothing in between: the host's standard input and output.
//!
//! [`io`](crate::io) is what most programs want: it reads through a buffer, and knows text. What that buffer holds
//! is not seen here, so a program reads in the one way or in the other.

use flatland_contract::Port;

use crate::port;

/// The next byte of input, waiting for it. Past the end of input the run ends with status 0: who wants to
/// know asks [`ready`] first.
pub fn read_byte() -> u8 {
    port::read_byte(Port::Console)
}

/// Fills the whole slice with input, waiting for it. Past the end of input the run ends with status 0.
pub fn read(bytes: &mut [u8]) {
    port::read(Port::Console, bytes);
}

/// How many bytes of input can be read now without waiting. Waits until there is one; 0 is the end of input.
pub fn ready() -> usize {
    u32::from_le_bytes(port::read_array(Port::InputReady)) as usize
}

/// Sends a byte.
pub fn write_byte(byte: u8) {
    port::write_byte(Port::Console, byte);
}

/// Sends bytes.
pub fn write(bytes: &[u8]) {
    port::write(Port::Console, bytes);
}
