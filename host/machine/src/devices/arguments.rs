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

    /// The length of what is unread, that, and the arguments: a guest may read them again, or has not yet read them.
    fn save(&self) -> Vec<u8> {
        let unread = self.answer.unread();
        let len = u32::try_from(unread.len()).expect("a command line is shorter");
        [&len.to_le_bytes(), unread, &self.bytes].concat()
    }

    fn restore(&mut self, state: &[u8]) {
        let Some((len, rest)) = state.split_first_chunk() else { return };
        let Some((unread, bytes)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else { return };
        self.answer.set_unread(unread);
        self.bytes = bytes.into();
    }
}
