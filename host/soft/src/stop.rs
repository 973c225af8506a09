//! Watchpoints.

use alloc::vec::Vec;
use flatland_x86::Access;
use flatland_x86::Watchpoint;

/// The watchpoints, and the one that the current instruction has accessed.
///
/// While there are any, no segment counts as flat, so that each access is checked here.
#[derive(Debug, Default)]
pub struct Watch {
    points: Vec<Watchpoint>,
    hit: Option<(u32, Access)>,
}

impl Watch {
    /// Sets these watchpoints.
    pub fn new(points: &[Watchpoint]) -> Self {
        Self { points: points.to_vec(), hit: None }
    }

    /// Whether there are watchpoints.
    pub fn is_active(&self) -> bool {
        !self.points.is_empty()
    }

    /// Records an access. A store replaces a load.
    pub fn access(&mut self, address: u32, len: u32, access: Access) {
        let touched = self.points.iter().find_map(|point| point.touched_by(address, len, access));
        if let Some(touched) = touched
            && (self.hit.is_none() || access == Access::Write)
        {
            self.hit = Some((touched, access));
        }
    }

    /// The access since the last call, if there was one.
    pub fn take_hit(&mut self) -> Option<(u32, Access)> {
        self.hit.take()
    }
}
