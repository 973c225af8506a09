//! [`Port::Span`](flatland_contract::Port::Span).

use crate::{Device, Host, Unfinished};

/// Says whether somebody listens to the guest's spans, and takes them. What is sent is there for whoever looks at the
/// transfers, such as a trace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    somebody_listens: bool,
}

impl Span {
    /// From here on somebody listens.
    pub fn listen(&mut self) {
        self.somebody_listens = true;
    }
}

/// It has no state of the run's: who listens is the host's choice.
impl Device for Span {
    fn read(&mut self, _: u16, _: &mut Host) -> Result<u8, Unfinished> {
        Ok(self.somebody_listens.into())
    }

    fn write(&mut self, _: u16, _: u8, _: &mut Host) -> Result<(), Unfinished> {
        Ok(())
    }
}
