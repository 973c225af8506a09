//! [`Port::Test`](flatland_contract::Port::Test).

use flatland_contract::test::Order;

use crate::device::Answer;
use crate::{Device, Host, Unfinished};

/// Requests a test from the guest, and takes its completion record. By default it requests no test.
#[derive(Clone, Debug)]
pub struct Test {
    order: Order,
    answer: Answer,
    /// The bytes of the completion record, with at most one byte too many.
    completion: Vec<u8>,
}

impl Default for Test {
    fn default() -> Self {
        Self { order: Order { function: 0, token: 0 }, answer: Answer::default(), completion: Vec::new() }
    }
}

impl Test {
    /// Requests this test from now on.
    pub fn request(&mut self, order: Order) {
        *self = Self { order, ..Self::default() };
    }

    /// Whether the guest sent the completion record of the test, and nothing else.
    pub fn is_complete(&self) -> bool {
        self.completion == self.order.token.to_le_bytes()
    }
}

impl Device for Test {
    fn read_bytes(&mut self, _: u16, bytes: &mut [u8], _: &mut Host) -> Result<(), Unfinished> {
        self.answer.read(bytes, || Ok(self.order.to_bytes().into()))
    }

    fn write_bytes(&mut self, _: u16, bytes: &[u8], _: &mut Host) -> Result<(), Unfinished> {
        let room = size_of_val(&self.order.token) + 1 - self.completion.len();
        self.completion.extend(&bytes[..bytes.len().min(room)]);
        Ok(())
    }

    fn reset(&mut self) {
        self.answer = Answer::default();
        self.completion.clear();
    }

    fn save(&self) -> Vec<u8> {
        self.answer.unread().into()
    }

    fn restore(&mut self, state: &[u8]) {
        self.answer.set_unread(state);
    }
}
