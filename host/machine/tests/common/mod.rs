//! What the tests of damaged files share: an allocator that counts, random changes, and the blocks of a file with their
//! checksums made right again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;
use std::thread;

use flatland_contract::Port;
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

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

    /// Changes compressed data and lengths, and makes the checksums right again.
    pub fn change_blocks(&mut self, changes: usize, head: &[u8], old: &[(u32, &[u8])]) -> Vec<u8> {
        let mut blocks: Vec<_> = old.iter().map(|(len, packed)| (*len, packed.to_vec())).collect();
        for _ in 0..changes {
            let index = self.below(blocks.len());
            match self.below(6) {
                0 => blocks[index].0 = [1, 0xffff, 0x1_0000, 0x1_0001, u32::MAX][self.below(5)],
                1 => blocks.truncate(index),
                _ => self.change(&mut blocks[index].1),
            }
            if blocks.is_empty() {
                break;
            }
        }
        let blocks: Vec<_> = blocks.iter().map(|(len, packed)| (*len, &packed[..])).collect();
        file_of(head, &blocks)
    }

    /// Changes a body. Half of the time only what comes before RAM, which is shorter and has more to go wrong.
    pub fn change_body(&mut self, changes: usize, mut body: Vec<u8>) -> Vec<u8> {
        let rest = match self.below(2) {
            0 => body.split_off(body.len().min(700)),
            _ => Vec::new(),
        };
        (0..changes).for_each(|_| self.change(&mut body));
        [body, rest].concat()
    }
}

/// The bytes before the first block.
pub const HEAD: usize = 20;

/// The blocks behind a head: how many bytes each holds, and these compressed. Also what follows them.
pub fn blocks(file: &[u8], head: usize) -> (Vec<(u32, &[u8])>, &[u8]) {
    let word = |at: usize| u32::from_le_bytes(*file[at..].first_chunk().unwrap());
    let mut blocks = Vec::new();
    let mut at = head;
    while word(at) > 0 {
        let packed_end = at + 8 + word(at + 4) as usize;
        blocks.push((word(at), &file[at + 8..packed_end]));
        at = packed_end + 4;
    }
    (blocks, &file[at + 12..])
}

/// A file of this head and these blocks, with the checksums that belong to them.
pub fn file_of(head: &[u8], blocks: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = head.to_vec();
    let mut sum = crc32fast::Hasher::new();
    let mut summed = 0;
    for (len, packed) in blocks.iter().chain([&(0, &[][..])]) {
        file.extend(len.to_le_bytes());
        file.extend((packed.len() as u32).to_le_bytes());
        file.extend(*packed);
        sum.update(&file[summed..]);
        summed = file.len();
        file.extend(sum.clone().finalize().to_le_bytes());
    }
    file
}

pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0; get_maximum_output_size(bytes.len())];
    let len = compress_into(bytes, &mut packed).unwrap();
    packed.truncate(len);
    packed
}

/// `None` if it is not as many bytes.
pub fn decompress(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    (decompress_into(packed, &mut bytes).ok()? == len).then_some(bytes)
}

pub fn body(file: &[u8], head: usize) -> Vec<u8> {
    let (blocks, _) = blocks(file, head);
    blocks.into_iter().flat_map(|(len, packed)| decompress(packed, len as usize).unwrap()).collect()
}

pub fn with_body(head: &[u8], body: &[u8]) -> Vec<u8> {
    let packed: Vec<_> = body.chunks(64 << 10).map(|piece| (piece.len() as u32, compress(piece))).collect();
    let blocks: Vec<_> = packed.iter().map(|(len, packed)| (*len, &packed[..])).collect();
    file_of(head, &blocks)
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

/// How many bytes the contract's devices take in a file, with nothing read yet: their number, and for each its ports,
/// a length, and the state.
pub const DEVICES_LEN: usize = {
    let arguments = 4;
    let clock = 8;
    4 + Port::ALL.len() * 12 + arguments + clock
};
