//! [`Port::Diagnostics`](flatland_contract::Port::Diagnostics).

use crate::{Device, Host, Unfinished};

/// Writes the run's diagnostics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Diagnostics;

impl Device for Diagnostics {
    fn write_bytes(&mut self, _: u16, bytes: &[u8], host: &mut Host) -> Result<(), Unfinished> {
        host.diagnostics(bytes)
    }
}
