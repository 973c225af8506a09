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

/// A copy of RAM. Pages of zeros are left out. A clone is the same copy.
#[derive(Clone, PartialEq, Eq)]
pub struct RamCopy(Arc<BTreeMap<u32, Box<Page>>>);

impl fmt::Debug for RamCopy {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("RamCopy").field("pages", &self.0.len()).finish_non_exhaustive()
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
        Self(Arc::new(pages.into_iter().map(|(number, page)| (number, Box::new(page))).collect()))
    }

    /// The page with this number.
    pub fn page(&self, number: u32) -> &Page {
        self.0.get(&number).map_or(&Self::ZEROS, |page| page)
    }

    /// The numbers and contents of the pages that are not left out, in order.
    pub fn pages(&self) -> impl Iterator<Item = (u32, &Page)> {
        self.0.iter().map(|(number, page)| (*number, &**page))
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

/// The name of a [`RamCopy`], for what an engine keeps about it.
#[derive(Clone, Debug)]
pub struct RamCopyName(Weak<BTreeMap<u32, Box<Page>>>);

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
