//! The heap: the RAM between the program and the guard below the stack, managed by the allocator `talc`.

use core::alloc::Layout;
use core::ptr;

use flatland_contract::Port;
use flatland_contract::memory::{self, PAGE_SIZE};
use talc::base::Talc;
use talc::base::binning::{Binning, DefaultBinning};
use talc::cell::{TalcCell, TalcSyncCell};
use talc::source::Source;

use crate::port;

// SAFETY: there is one processor, and its interrupts are off. If a program installs its own exception handlers, they
// must not allocate, as with any allocator.
#[global_allocator]
static HEAP: TalcSyncCell<Ram, DefaultBinning> =
    unsafe { TalcSyncCell::new(TalcCell::new(Ram { claimed: false })) };

unsafe extern "C" {
    /// The end of the program (flatland.ld).
    static mut __heap_start: u8;
}

/// The most bytes that the allocator is given as one region: no object in Rust may be larger than `isize::MAX`, and
/// the allocator relies on that for its regions.
const MAX_REGION_SIZE: usize = isize::MAX as usize & !(PAGE_SIZE as usize - 1);

/// Gives the allocator all unused RAM at the first allocation.
#[derive(Debug)]
struct Ram {
    claimed: bool,
}

// SAFETY: `acquire` does not allocate.
unsafe impl Source for Ram {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, _: Layout) -> Result<(), ()> {
        if talc.source.claimed {
            return Err(());
        }
        talc.source.claimed = true;
        let heap_start = &raw mut __heap_start;
        let mut start = heap_start.expose_provenance();
        let end = memory::Layout::from_bytes(port::read_array(Port::Layout)).heap_end as usize;
        let mut result = Err(());
        while start < end {
            let size = (end - start).min(MAX_REGION_SIZE);
            // SAFETY: the program ends at `__heap_start`, and the stack and its guard begin at `heap_end`. Only the
            // allocator uses what lies between, and the regions do not overlap.
            let region = unsafe { talc.claim(ptr::with_exposed_provenance_mut(start), size) };
            // A region can be too small to be of use.
            if region.is_some() {
                result = Ok(());
            }
            start += size;
        }
        result
    }
}
