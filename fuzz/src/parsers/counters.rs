//! The compiler's counters: with `-Cpasses=sancov-module`, one for each edge of the control flow ("SanitizerCoverage" in
//! Clang's manual, "Inline 8bit-counters").

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};

static START: AtomicPtr<AtomicU8> = AtomicPtr::new(ptr::null_mut());
static LEN: AtomicUsize = AtomicUsize::new(0);

/// Each compiled module calls this before `main`. All counters of the program lie in one section, so all say the same.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut AtomicU8, end: *mut AtomicU8) {
    START.store(start, Ordering::Relaxed);
    LEN.store(end as usize - start as usize, Ordering::Relaxed);
}

/// Makes of the counters a small map of those that have ever counted.
#[derive(Debug)]
pub struct Counters {
    counters: &'static [AtomicU8],
    /// The place of each counter in the map, from 1 on.
    places: Vec<u32>,
    known: u32,
}

impl Counters {
    /// The size of the map. All edges that come too late share its last place.
    pub const MOST: usize = 24 << 10;

    /// `None` if the program was built without counters.
    pub fn of_program() -> Option<Self> {
        let (start, len) = (START.load(Ordering::Relaxed), LEN.load(Ordering::Relaxed));
        if len == 0 {
            return None;
        }
        // SAFETY: the section is as long as the program runs. All threads count there without a lock, and what is lost of a
        // count does no harm.
        let counters = unsafe { std::slice::from_raw_parts(start, len) };
        Some(Self { counters, places: vec![0; len], known: 0 })
    }

    /// How many counters have ever counted.
    pub fn known(&self) -> u32 {
        self.known
    }

    /// Sets all counters to 0.
    pub fn clear(&self) {
        let (before, words, behind) = self.words();
        before.iter().chain(behind).for_each(|counter| counter.store(0, Ordering::Relaxed));
        words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// Writes what was counted to a map that is all 0.
    pub fn take(&mut self, map: &mut [u8]) {
        let (before, words, _) = self.words();
        let is_counted = |range: &std::ops::Range<usize>| {
            let word = range.start.checked_sub(before.len()).and_then(|at| words.get(at / 8));
            word.is_none_or(|word| word.load(Ordering::Relaxed) != 0)
        };
        // Most counters are 0, and are skipped eight at a time.
        let mut start = 0;
        while start < self.counters.len() {
            let end = if start < before.len() { before.len() } else { (start + 8).min(self.counters.len()) };
            let range = start..end;
            start = end;
            if is_counted(&range) {
                for index in range {
                    let count = self.counters[index].load(Ordering::Relaxed);
                    if count == 0 {
                        continue;
                    }
                    let place = &mut self.places[index];
                    if *place == 0 {
                        self.known += 1;
                        *place = self.known;
                    }
                    map[(*place as usize).min(map.len()) - 1] = count;
                }
            }
        }
    }

    /// The counters, most of them eight at a time.
    fn words(&self) -> (&'static [AtomicU8], &'static [AtomicU64], &'static [AtomicU8]) {
        // SAFETY: any bytes are numbers of 64 bits.
        unsafe { self.counters.align_to() }
    }
}
