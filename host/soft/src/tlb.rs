//! The translation cache: which physical page a linear one is, and which accesses are allowed.
//!
//! It is never out of date: a store to an entry of a table that it was filled from empties it ([`memory`](super::memory)).
//! So what a guest sees does not depend on what lies in the cache, and a run that is repeated from a snapshot, where the
//! cache is empty, is the same run. `invlpg` has nothing to do.

use alloc::boxed::Box;
use alloc::vec;

use super::int::Bytes;
use flatland_contract::memory::PAGE_SIZE;

/// Entries for each of the two kinds of access; a power of two.
const ENTRIES: usize = 1 << 9;
/// A tag's flag: without it a tag is of no page.
const VALID: u32 = 1;
/// The part of an address that is the same in both.
pub const OFFSET: u32 = PAGE_SIZE - 1;

/// An entry: for loads and stores at privilege level 3, or at the others.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(16))]
struct Entry {
    /// The linear page that can be read, with [`VALID`].
    read: u32,
    /// The one that can be written. The page's dirty flag is set then.
    write: u32,
    /// The physical page.
    physical: u32,
}

/// The translation cache.
#[derive(Debug, Default)]
pub struct Tlb {
    /// None while paging is off. First those of privilege levels 0 to 2, then those of 3.
    entries: Box<[Entry]>,
    /// Where the entries of the current privilege level begin.
    first: usize,
    /// The page that code was fetched from last.
    pub code: CodePage,
    /// Whether a store has changed a table since [`Self::take_changed`].
    changed: bool,
}

/// A page of code in the current code segment.
#[derive(Clone, Copy, Debug, Default)]
pub struct CodePage {
    /// The EIP of its first byte.
    start: u32,
    /// Its size, or 0 if this is none.
    len: u32,
    /// The physical page's number.
    pub number: u32,
}

impl CodePage {
    /// The page of this number, which begins at an EIP.
    pub fn new(start: u32, number: u32) -> Self {
        Self { start, len: PAGE_SIZE, number }
    }

    /// Whether an EIP lies in it.
    #[inline(always)]
    pub fn has(&self, eip: u32) -> bool {
        eip.wrapping_sub(self.start) < self.len
    }
}

#[inline(always)]
fn index(address: u32) -> usize {
    (address / PAGE_SIZE) as usize % ENTRIES
}

impl Tlb {
    /// The physical address of a value, if it lies in one page, and the page is known to allow the access at the current
    /// privilege level.
    #[inline(always)]
    pub fn find<T: Bytes>(&self, address: u32, write: bool) -> Option<u32> {
        self.find_in(self.first, address, T::BYTES, write)
    }

    /// The same for so many bytes, at privilege level 3 or another.
    #[inline(always)]
    pub fn find_for(&self, is_user: bool, address: u32, len: u32, write: bool) -> Option<u32> {
        self.find_in(usize::from(is_user) * ENTRIES, address, len, write)
    }

    #[inline(always)]
    fn find_in(&self, first: usize, address: u32, len: u32, write: bool) -> Option<u32> {
        let entry = self.entries.get(first + index(address))?;
        let tag = if write { entry.write } else { entry.read };
        let offset = address & OFFSET;
        (tag == address - offset + VALID && offset <= PAGE_SIZE - len).then_some(entry.physical | offset)
    }

    /// Adds a page that can be read, and perhaps written.
    pub fn insert(&mut self, is_user: bool, address: u32, physical: u32, writable: bool) {
        let tag = address & !OFFSET | VALID;
        if let Some(entry) = self.entries.get_mut(usize::from(is_user) * ENTRIES + index(address)) {
            *entry = Entry { read: tag, write: if writable { tag } else { 0 }, physical: physical & !OFFSET };
        }
    }

    /// Turns the cache on or off, empty.
    pub fn turn(&mut self, on: bool) {
        self.code = CodePage::default();
        if !on {
            self.entries = Box::default();
        } else if self.entries.is_empty() {
            self.entries = vec![Entry::default(); 2 * ENTRIES].into_boxed_slice();
        } else {
            self.entries.fill(Entry::default());
        }
    }

    /// Empties the cache.
    pub fn flush(&mut self) {
        self.turn(!self.entries.is_empty());
    }

    /// A store has changed a table.
    pub fn table_changed(&mut self) {
        self.flush();
        self.changed = true;
    }

    /// Whether a store has changed a table since the last call.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// Sets whether the privilege level is 3.
    pub fn set_user(&mut self, is_user: bool) {
        self.first = usize::from(is_user) * ENTRIES;
        self.code = CodePage::default();
    }
}
