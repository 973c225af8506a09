//! [`Port::Exit`](flatland_contract::Port::Exit).

use crate::{Device, Host, Unfinished};

/// Ends the run with the first byte that is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exit;

impl Device for Exit {
    fn write(&mut self, _: u16, byte: u8, _: &mut Host) -> Result<(), Unfinished> {
        Err(Unfinished::Exit(byte))
    }
}
