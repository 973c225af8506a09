//! A device that a recorded run had, and its replay has not.

use crate::{Device, Host, Unfinished};

/// Takes all that is sent to this many ports. What is read there comes from the recording.
#[derive(Clone, Copy, Debug)]
pub struct StandIn(pub(crate) u16);

impl Device for StandIn {
    fn ports(&self) -> u16 {
        self.0
    }

    fn takes_width(&self, _: u16, _: u8) -> bool {
        true
    }

    fn write(&mut self, _: u16, _: u8, _: &mut Host) -> Result<(), Unfinished> {
        Ok(())
    }
}
