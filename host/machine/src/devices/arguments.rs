//! [`Port::Arguments`](flatland_contract::Port::Arguments).

use crate::device::Answer;
use crate::{Device, Host, Unfinished};

/// The guest's arguments.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// All arguments, each followed by a zero byte.
    bytes: Vec<u8>,
    answer: Answer,
}

impl Arguments {
    /// No argument may have a zero byte, which would end it.
    pub fn new(arguments: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let bytes = arguments.into_iter().flat_map(|argument| [argument, vec![0]].concat()).collect();
        Self { bytes, answer: Answer::default() }
    }
}

impl Device for Arguments {
    fn read_bytes(&mut self, _: u16, bytes: &mut [u8], _: &mut Host) -> Result<(), Unfinished> {
        self.answer.read(bytes, || {
            let len = u32::try_from(self.bytes.len()).expect("a command line is shorter");
            Ok([&len.to_le_bytes(), &self.bytes[..]].concat())
        })
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
