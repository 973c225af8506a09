//! A machine's RAM: the live bytes, which several engines may share, and a copy of them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use core::any::Any;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;

use flatland_contract::memory::PAGE_SIZE;

/// RAM from address 0.
///
/// The engines of one machine may share it ([`Self::from_raw`]), so that a run moves from one to another without a
/// copy. Only one of them runs at a time.
pub struct Ram {
    start: NonNull<u8>,
    len: usize,
    /// Keeps the memory mapped.
    _owner: Box<dyn Any + Send + Sync>,
}

// SAFETY: `start` is memory that the owner keeps, and the owner may be sent. Nothing else depends on the thread.
unsafe impl Send for Ram {}
// SAFETY: through a shared reference the bytes can only be read.
unsafe impl Sync for Ram {}

impl Ram {
    /// Zeroed RAM of this many bytes. The operating system allocates a page when it is first touched.
    ///
    /// An allocator may take memory that was used before and clear it. For a machine's RAM that takes 100 times as
    /// long as everything else. glibc does so up to 32 MiB; larger blocks come from the system, which clears pages when
    /// they are touched (mallopt(3), M_MMAP_THRESHOLD). So on Linux more than that is allocated.
    pub fn zeroed(len: usize) -> Self {
        const FRESH_FROM: usize = if cfg!(target_os = "linux") { (32 << 20) + PAGE_SIZE as usize } else { 0 };
        let mut bytes = vec![0_u8; len.max(FRESH_FROM)];
        let start = NonNull::new(bytes.as_mut_ptr()).expect("a vector's pointer is not null");
        // SAFETY: the vector has at least `len` bytes, and is neither used nor resized any more.
        unsafe { Self::from_raw(start, len, Box::new(bytes)) }
    }

    /// RAM in memory that the owner keeps.
    ///
    /// # Safety
    ///
    /// From `start` on, `len` initialized bytes must be readable and writable until the owner is dropped. While the
    /// returned value is used, nothing else may access them. It is used in the calls of the methods of the engine that
    /// has it, and at no other time.
    pub unsafe fn from_raw(start: NonNull<u8>, len: usize, owner: Box<dyn Any + Send + Sync>) -> Self {
        Self { start, len, _owner: owner }
    }
}

impl Deref for Ram {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes are readable and nothing else accesses them, by the contract of `from_raw`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Ram {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes are writable and nothing else accesses them, by the contract of `from_raw`.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Ram {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Ram").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A page of RAM.
pub type Page = [u8; PAGE_SIZE as usize];

/// How many pages a chunk has. A copy with a changed page has a new chunk, and shares all others.
const CHUNK_PAGES: u32 = 64;

/// Neighbouring pages of a copy. A page of zeros is left out.
type Chunk = [Option<Arc<Page>>; CHUNK_PAGES as usize];

static EMPTY: Chunk = [const { None }; CHUNK_PAGES as usize];

/// The chunks that have a page, by the number of their first page divided by [`CHUNK_PAGES`].
type Chunks = BTreeMap<u32, Arc<Chunk>>;

/// A copy of RAM. Pages of zeros are left out. A clone is the same copy. Copies may share pages
/// ([`Self::with_pages`]); copies with the same contents are equal whether they share them or not.
#[derive(Clone, PartialEq, Eq)]
pub struct RamCopy(Arc<Chunks>);

impl fmt::Debug for RamCopy {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("RamCopy").field("pages", &self.pages().count()).finish_non_exhaustive()
    }
}

impl RamCopy {
    /// The contents of a page that is left out.
    pub const ZEROS: Page = [0; PAGE_SIZE as usize];

    /// A copy of these bytes, which are whole pages.
    pub fn of(ram: &[u8]) -> Self {
        let (pages, _) = ram.as_chunks();
        Self::from_pages(
            (0..).zip(pages).filter(|(_, page)| **page != Self::ZEROS).map(|(n, page)| (n, *page)),
        )
    }

    /// A copy with these pages, by their numbers.
    pub fn from_pages(pages: impl IntoIterator<Item = (u32, Page)>) -> Self {
        let mut copy = Self(Arc::default());
        pages.into_iter().for_each(|(number, page)| copy.set_page(number, Some(Arc::new(page))));
        copy
    }

    /// A copy with these pages in place of those of the same numbers. It shares all others with this copy, and those
    /// that are the same here.
    pub fn with_pages<'a>(&self, pages: impl IntoIterator<Item = (u32, &'a Page)>) -> Self {
        let mut copy = self.clone();
        for (number, page) in pages {
            if copy.page(number) != page {
                copy.set_page(number, (*page != Self::ZEROS).then(|| Arc::new(*page)));
            }
        }
        copy
    }

    /// Replaces a page. Chunks that other copies have stay as they are.
    fn set_page(&mut self, number: u32, page: Option<Arc<Page>>) {
        let chunks = Arc::make_mut(&mut self.0);
        let chunk = chunks.entry(number / CHUNK_PAGES).or_insert_with(|| Arc::new(EMPTY.clone()));
        let is_left_out = page.is_none();
        Arc::make_mut(chunk)[(number % CHUNK_PAGES) as usize] = page;
        // Copies with the same contents have the same chunks.
        if is_left_out && **chunk == EMPTY {
            chunks.remove(&(number / CHUNK_PAGES));
        }
    }

    fn chunk(&self, number: u32) -> &Chunk {
        self.0.get(&number).map_or(&EMPTY, |chunk| chunk)
    }

    /// The page with this number.
    pub fn page(&self, number: u32) -> &Page {
        let page = &self.chunk(number / CHUNK_PAGES)[(number % CHUNK_PAGES) as usize];
        page.as_ref().map_or(&Self::ZEROS, |page| page)
    }

    /// The numbers and contents of the pages that are not left out, in order.
    pub fn pages(&self) -> impl Iterator<Item = (u32, &Page)> {
        self.0.iter().flat_map(|(&number, chunk)| {
            let numbers = (0..CHUNK_PAGES).map(move |index| number * CHUNK_PAGES + index);
            numbers.zip(chunk.iter()).filter_map(|(number, page)| Some((number, &**page.as_ref()?)))
        })
    }

    /// The numbers of the pages that the copies do not share. Pages with other contents are among them.
    pub fn not_shared_with<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        let only_there = other.0.keys().filter(|number| !self.0.contains_key(number));
        self.0.keys().chain(only_there).flat_map(|&number| {
            let (here, there) = (self.chunk(number), other.chunk(number));
            let indices = if core::ptr::eq(here, there) { 0..0 } else { 0..CHUNK_PAGES };
            indices
                .filter(|&index| !is_one_page(&here[index as usize], &there[index as usize]))
                .map(move |index| number * CHUNK_PAGES + index)
        })
    }

    /// How many bytes of memory this copy takes that none of the others shares. In a list of copies in order of time,
    /// that is what dropping one frees, if the others are the one before and the one after.
    pub fn bytes_not_in(&self, others: &[&Self]) -> usize {
        let bytes_of_chunk = |(&number, chunk): (&u32, &Arc<Chunk>)| {
            let others = || others.iter().map(|other| other.chunk(number));
            if others().any(|other| core::ptr::eq(other, &**chunk)) {
                return 0;
            }
            let is_alone = |index: usize| others().all(|other| !is_one_page(&other[index], &chunk[index]));
            let alone = (0..chunk.len()).filter(|&index| chunk[index].is_some() && is_alone(index));
            size_of::<Chunk>() + alone.count() * size_of::<Page>()
        };
        self.0.iter().map(bytes_of_chunk).sum()
    }

    /// Whether both are one copy.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A name for this copy that does not keep it.
    pub fn name(&self) -> RamCopyName {
        RamCopyName(Arc::downgrade(&self.0))
    }
}

/// Whether both are the same page in memory, or are left out.
fn is_one_page(one: &Option<Arc<Page>>, other: &Option<Arc<Page>>) -> bool {
    one.as_ref().map(Arc::as_ptr) == other.as_ref().map(Arc::as_ptr)
}

/// The name of a [`RamCopy`], for what an engine keeps about it.
#[derive(Clone, Debug)]
pub struct RamCopyName(Weak<Chunks>);

impl RamCopyName {
    /// Whether it is the name of this copy.
    pub fn is_of(&self, copy: &RamCopy) -> bool {
        core::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&copy.0))
    }

    /// Whether the copy exists no more.
    pub fn is_dropped(&self) -> bool {
        self.0.strong_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const PAGE: usize = PAGE_SIZE as usize;
    /// More than two chunks.
    const PAGES: u32 = 2 * CHUNK_PAGES + 3;

    /// Checks a copy in all ways of looking at it.
    #[track_caller]
    fn check(copy: &RamCopy, ram: &[u8]) {
        assert!(*copy == RamCopy::of(ram), "the same contents are the same copy");
        let (pages, _) = ram.as_chunks::<PAGE>();
        assert!((0..).zip(pages).all(|(number, page)| copy.page(number) == page));
        assert!(copy.pages().eq((0..).zip(pages).filter(|(_, page)| **page != RamCopy::ZEROS)));
        assert_eq!(copy.page(PAGES), &RamCopy::ZEROS);
    }

    #[test]
    fn copies_with_the_same_contents_are_equal_however_they_were_made() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |end: u32| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 32) as u32 % end
        };
        let mut ram = vec![0; PAGES as usize * PAGE];
        let mut copies = vec![(RamCopy::of(&ram), ram.clone())];
        for _ in 0..300 {
            let (base, before) = &copies[below(copies.len() as u32) as usize];
            ram.copy_from_slice(before);
            // All pages, few, or none. Half of them become zeros, and some stay as they are.
            let changed: Vec<u32> = match below(20) {
                0 => (0..PAGES).collect(),
                _ => (0..below(6)).map(|_| below(PAGES)).collect(),
            };
            let zeros = below(2) == 0;
            for number in &changed {
                let page = &mut ram[*number as usize * PAGE..][..PAGE];
                match below(4) {
                    0 => {}
                    _ if zeros => page.fill(0),
                    _ => page[below(PAGE_SIZE) as usize] = below(3) as u8,
                }
            }
            let (pages, _) = ram.as_chunks();
            let copy = base.with_pages(changed.iter().map(|number| (*number, &pages[*number as usize])));
            check(&copy, &ram);
            for number in 0..PAGES {
                let (page, base_page) = (copy.page(number), base.page(number));
                let is_shared = core::ptr::eq(page, base_page) || [page, base_page] == [&RamCopy::ZEROS; 2];
                assert_eq!(is_shared, page == base_page, "page {number} is shared if it is the same");
            }
            let different = (0..PAGES).filter(|number| copy.page(*number) != base.page(*number));
            let mut not_shared: Vec<u32> = copy.not_shared_with(base).collect();
            assert!(base.not_shared_with(&copy).all(|number| not_shared.contains(&number)));
            not_shared.sort_unstable();
            assert!(different.eq(not_shared));
            copies.push((copy, ram.clone()));
        }
        copies.iter().for_each(|(copy, ram)| check(copy, ram));
    }

    #[test]
    fn a_copy_takes_the_memory_that_its_neighbours_do_not_share() {
        const CHUNK: usize = size_of::<Chunk>();
        let page = |byte| [byte; PAGE];
        let first = RamCopy::from_pages((0..CHUNK_PAGES + 1).map(|number| (number, page(1))));
        let second = first.with_pages([(0, &page(2)), (1, &page(2))]);
        let third = second.with_pages([(1, &page(3)), (2, &RamCopy::ZEROS)]);
        assert_eq!(first.bytes_not_in(&[]), (CHUNK_PAGES as usize + 1) * PAGE + 2 * CHUNK);
        assert_eq!(second.bytes_not_in(&[&first]), 2 * PAGE + CHUNK);
        assert_eq!(second.bytes_not_in(&[&third]), 2 * PAGE + CHUNK, "pages 1 and 2");
        assert_eq!(second.bytes_not_in(&[&first, &third]), PAGE + CHUNK, "page 1");
        assert_eq!(second.bytes_not_in(&[&third, &second.clone()]), 0);
        // The same contents, not the same memory.
        assert_eq!(
            first.bytes_not_in(&[&RamCopy::from_pages(first.pages().map(|(n, page)| (n, *page)))]),
            first.bytes_not_in(&[])
        );
    }
}
