//! The heap: what lies between the program and the stack's hole, handed out by the allocator `talc`.

use core::alloc::Layout;
use core::ptr;

use flatland_contract::Port;
use flatland_contract::memory;
use talc::base::Talc;
use talc::base::binning::{Binning, DefaultBinning};
use talc::cell::{TalcCell, TalcSyncCell};
use talc::source::Source;

use crate::port;

// SAFETY: there is one processor, and its interrupts are off. A program that takes exceptions with an IDT of its own
// allocates nothing in their handlers, as with any allocator.
#[global_allocator]
static HEAP: TalcSyncCell<Ram, DefaultBinning> =
    unsafe { TalcSyncCell::new(TalcCell::new(Ram { claimed: false })) };

unsafe extern "C" {
    /// Where the program ends (guest/flatland.ld).
    static mut __heap_start: u8;
}

/// All of RAM that nobody else uses, claimed by the first allocation.
#[derive(Debug)]
struct Ram {
    claimed: bool,
}

// SAFETY: nothing in it allocates.
unsafe impl Source for Ram {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, _: Layout) -> Result<(), ()> {
        if talc.source.claimed {
            return Err(());
        }
        talc.source.claimed = true;
        let start = &raw mut __heap_start;
        let layout = memory::Layout::from_bytes(port::read_array(Port::Layout));
        let size = (layout.heap_end as usize).saturating_sub(start.addr());
        // SAFETY: the program ends at `start`, the stack and its hole begin at `heap_end` and RAM ends behind that, and
        // nobody but the allocator uses what lies between.
        unsafe { talc.claim(ptr::with_exposed_provenance_mut(start.expose_provenance()), size) }
            .map(|_| ())
            .ok_or(())
    }
}
