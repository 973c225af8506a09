//! What tests of damaged files need, whatever the files are: an allocator that counts, and random changes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;
use std::thread;

/// Counts what this thread has allocated.
struct Counting;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn count(more: usize, less: usize) {
    // Memory may be freed by another thread than the one that allocated it, so this may wrap around zero.
    let now = NOW.get().wrapping_add(more).wrapping_sub(less);
    NOW.set(now);
    if now as isize > PEAK.get() as isize {
        PEAK.set(now);
    }
}

// SAFETY: it does what `System` does.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist for a moment.
        count(size, 0);
        count(0, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.realloc(start, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Calls the function. Also returns how much memory this thread took meanwhile, at most.
pub fn measured<T>(function: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let result = function();
    (result, PEAK.get().wrapping_sub(before))
}

/// Marsaglia's xorshift (2003).
pub struct Random(u64);

impl Random {
    pub fn of_case(number: u64) -> Self {
        let mut random = Self(0x9e37_79b9_7f4a_7c15 ^ (number + 1));
        for _ in 0..8 {
            random.next();
        }
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    /// Changes bytes in one of the ways in which files and lengths go wrong.
    pub fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let longest = [4, 64, 2000][self.below(3)];
        let run = 1 + self.below(longest);
        let end = (at + run).min(bytes.len());
        match self.below(9) {
            0..3 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..at, (0..run).map(|_| self.next() as u8))),
            5 => bytes[at..end].iter_mut().for_each(|byte| *byte = self.next() as u8),
            6 => drop(bytes.drain(at..end)),
            7 => {
                let end = (at + 8).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
            _ => {
                let value = [0, 1, 2, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0xf000_0000, 0x1000][self.below(8)];
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
        }
    }
}

/// Names the case, if it panics.
pub struct Case(pub u64);

impl Drop for Case {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("case {}: repeat it with FLATLAND_SEED={} FLATLAND_CASES=1", self.0, self.0);
        }
    }
}

/// A number from the environment.
pub fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().expect("it is a number"))
}
