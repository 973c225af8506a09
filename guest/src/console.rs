//! The console: the host's standard input and output.

use core::fmt;

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
    let mut answer = [0; 4];
    port::read(Port::InputReady, &mut answer);
    u32::from_le_bytes(answer) as usize
}

/// Sends a byte.
pub fn write_byte(byte: u8) {
    port::write_byte(Port::Console, byte);
}

/// Sends bytes.
pub fn write(bytes: &[u8]) {
    port::write(Port::Console, bytes);
}

/// The console as a destination for `write!`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}
