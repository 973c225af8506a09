//! What the host watches, as the processor sees it.

use alloc::vec::Vec;
use flatland_x86::Access;
use flatland_x86::Watchpoint;

/// The watchpoints, and whether the current instruction has touched one.
///
/// While there are any, no segment counts as flat, so that every access comes by here.
#[derive(Debug, Default)]
pub struct Watch {
    points: Vec<Watchpoint>,
    hit: Option<(u32, Access)>,
}

impl Watch {
    /// Watches these.
    pub fn new(points: &[Watchpoint]) -> Self {
        Self { points: points.to_vec(), hit: None }
    }

    /// Whether there is anything to watch.
    pub fn is_active(&self) -> bool {
        !self.points.is_empty()
    }

    /// Notes an access. A store counts for more than a load.
    pub fn access(&mut self, address: u32, len: u32, access: Access) {
        let touched = self.points.iter().find_map(|point| point.touched_by(address, len, access));
        if let Some(touched) = touched
            && (self.hit.is_none() || access == Access::Write)
        {
            self.hit = Some((touched, access));
        }
    }

    /// What has been touched since this was last asked.
    pub fn take_hit(&mut self) -> Option<(u32, Access)> {
        self.hit.take()
    }
}
