//! [`Port::Layout`](flatland_contract::Port::Layout).

use flatland_contract::memory;

use crate::device::Answer;
use crate::{Device, Host, Unfinished};

/// The memory layout of the machine.
#[derive(Clone, Debug)]
pub struct Layout {
    layout: memory::Layout,
    answer: Answer,
}

impl Layout {
    /// A device that returns this layout.
    pub fn new(layout: memory::Layout) -> Self {
        Self { layout, answer: Answer::default() }
    }
}

impl Device for Layout {
    fn read_bytes(&mut self, _: u16, bytes: &mut [u8], _: &mut Host) -> Result<(), Unfinished> {
        self.answer.read(bytes, || Ok(self.layout.to_bytes().into()))
    }

    fn reset(&mut self) {
        self.answer = Answer::default();
    }

    fn save(&self) -> Vec<u8> {
        self.answer.unread().into()
    }

    fn restore(&mut self, state: &[u8]) {
        self.answer.set_unread(state);
    }
}
