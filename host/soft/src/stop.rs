//! Watchpoints.

use alloc::vec::Vec;
use flatland_x86::{Access, WatchKind, Watchpoint};

/// The watchpoints, and the one that the current instruction has accessed.
///
/// While there are any for loads, no segment counts as flat, so that each load is checked here. Lines of memory are
/// marked for those for stores, so that only stores to these are.
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

    /// The watchpoints.
    pub fn points(&self) -> &[Watchpoint] {
        &self.points
    }

    /// Whether there are watchpoints for loads.
    pub fn watches_loads(&self) -> bool {
        self.points.iter().any(|point| point.kind != WatchKind::Write)
    }

    /// Records an access, if it is watched, and returns whether it is. A store replaces a load.
    pub fn access(&mut self, address: u32, len: u32, access: Access) -> bool {
        let touched = self.points.iter().find_map(|point| point.touched_by(address, len, access));
        if let Some(touched) = touched
            && (self.hit.is_none() || access == Access::Write)
        {
            self.hit = Some((touched, access));
        }
        touched.is_some()
    }

    /// Whether a watched access was made since the last [`Self::take_hit`].
    pub fn has_hit(&self) -> bool {
        self.hit.is_some()
    }

    /// The access since the last call, if there was one.
    pub fn take_hit(&mut self) -> Option<(u32, Access)> {
        self.hit.take()
    }
}
