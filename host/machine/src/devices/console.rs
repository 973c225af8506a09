//! [`Port::Console`](flatland_contract::Port::Console).

use crate::{Device, Host, Unfinished};

/// Reads the run's input, and writes the run's output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Console;

impl Device for Console {
    fn read_bytes(&mut self, _: u16, bytes: &mut [u8], host: &mut Host) -> Result<(), Unfinished> {
        host.transfer_input(bytes)
    }

    fn write_bytes(&mut self, _: u16, bytes: &[u8], host: &mut Host) -> Result<(), Unfinished> {
        host.output(bytes)
    }
}
