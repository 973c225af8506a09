//! [`Port::InputReady`](flatland_contract::Port::InputReady).

use crate::device::Answer;
use crate::{Device, Host, Unfinished};

/// The number of bytes of input that can be read without waiting.
#[derive(Clone, Debug, Default)]
pub struct InputReady(Answer);

impl Device for InputReady {
    fn read_bytes(&mut self, _: u16, bytes: &mut [u8], host: &mut Host) -> Result<(), Unfinished> {
        self.0.read(bytes, || {
            let ready = u32::try_from(host.input_ready()?).unwrap_or(u32::MAX);
            Ok(ready.to_le_bytes().into())
        })
    }

    fn reset(&mut self) {
        self.0 = Answer::default();
    }

    fn save(&self) -> Vec<u8> {
        self.0.unread().into()
    }

    fn restore(&mut self, state: &[u8]) {
        self.0.set_unread(state);
    }
}
