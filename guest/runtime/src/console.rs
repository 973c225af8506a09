//! The console port: the host's standard input and output without a buffer.
//!
//! Most programs use [`io`](crate::io), which reads through a buffer. These functions do not see the bytes in that
//! buffer, so a program should read either here or there.

use flatland_contract::Port;

use crate::port;

/// Waits for the next byte of input. At the end of input the run ends with status 0; [`ready`] tells beforehand
/// whether there is a byte.
pub fn read_byte() -> u8 {
    port::read_byte(Port::Console)
}

/// Fills the whole slice with input, and waits for it. At the end of input the run ends with status 0.
pub fn read(bytes: &mut [u8]) {
    port::read(Port::Console, bytes);
}

/// Waits for input, and returns how many bytes can be read without waiting again; 0 is the end of input.
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
