//! What has been compared, for whoever wants to know.

use alloc::vec::Vec;

use flatland_x86::Comparison;
use hashbrown::HashMap;

/// What has been compared.
#[derive(Debug, Default)]
pub struct Comparisons {
    list: Vec<Comparison>,
    /// How often each instruction was seen.
    times: HashMap<u32, u8>,
}

impl Comparisons {
    /// What has been compared since the last call.
    pub fn take(&mut self) -> Vec<Comparison> {
        self.times.clear();
        core::mem::take(&mut self.list)
    }

    /// Whether one more of this instruction is wanted.
    pub fn wants(&mut self, address: u32) -> bool {
        let times = self.times.entry(address).or_default();
        *times = times.saturating_add(1);
        *times <= Comparison::OF_EACH && self.list.len() < Comparison::AT_MOST
    }

    /// This has been compared, and is wanted.
    pub fn push(&mut self, comparison: Comparison) {
        self.list.push(comparison);
    }
}
