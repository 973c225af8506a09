//! What the machine knows and tells a guest that asks.

use std::time::{Instant, SystemTime};

use flatland_contract::Clock;
use flatland_contract::memory::Layout;
use flatland_contract::test::Order;

use crate::StreamError;

/// What there is to tell.
#[derive(Debug)]
pub(crate) struct Facts {
    /// What lies where in RAM.
    pub layout: Layout,
    /// Each with a zero byte behind it.
    arguments: Vec<u8>,
    /// When the run began.
    start: Instant,
    order: Order,
    /// What was sent as a completion record, but no more than shows that it is too much.
    completion: Vec<u8>,
}

impl Facts {
    /// Of a machine with this layout.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            arguments: Vec::new(),
            start: Instant::now(),
            order: Order { function: 0, token: 0 },
            completion: Vec::new(),
        }
    }

    /// The run begins now.
    pub fn begin(&mut self) {
        self.start = Instant::now();
        self.completion.clear();
    }

    /// Sets what the guest finds as its arguments. A zero byte would end one.
    pub fn set_arguments(&mut self, arguments: impl IntoIterator<Item = Vec<u8>>) {
        self.arguments = arguments.into_iter().flat_map(|argument| [argument, vec![0]].concat()).collect();
    }

    /// Sets which test to run.
    pub fn set_order(&mut self, order: Order) {
        self.order = order;
        self.completion.clear();
    }

    /// What [`Port::Arguments`](flatland_contract::Port::Arguments) answers.
    pub fn arguments(&self) -> Vec<u8> {
        let len = u32::try_from(self.arguments.len()).expect("a command line is shorter");
        [&len.to_le_bytes(), &self.arguments[..]].concat()
    }

    /// The time.
    pub fn clock(&self) -> Clock {
        let nanoseconds =
            |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Clock {
            elapsed: nanoseconds(self.start.elapsed()),
            // A clock that is set before 1970 is at its beginning.
            unix_time: SystemTime::UNIX_EPOCH.elapsed().map_or(0, nanoseconds),
        }
    }

    /// Which test to run.
    pub fn order(&self) -> Order {
        self.order
    }

    /// The guest sent these bytes of a completion record.
    pub fn completed(&mut self, bytes: &[u8]) {
        let room = size_of_val(&self.order.token) + 1 - self.completion.len();
        self.completion.extend(&bytes[..bytes.len().min(room)]);
    }

    /// Whether the completion record is the one of the test.
    pub fn is_complete(&self) -> bool {
        self.completion == self.order.token.to_le_bytes()
    }

    /// Fills `bytes` with random ones.
    pub fn random(bytes: &mut [u8]) -> Result<(), StreamError> {
        getrandom::fill(bytes).map_err(|error| StreamError::Random(error.into()))
    }
}
