//! The guest's RAM in this process, and putting it back.
//!
//! A copy's pages are also kept in a file in memory, which is mapped privately where the guest's RAM was. What the guest writes
//! then goes to copies of pages. To restore RAM, these are discarded (madvise(2), MADV_DONTNEED), in a time that does
//! not depend on the size of RAM.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::Arc;

use flatland_contract::memory::PAGE_SIZE;
use flatland_x86::{EngineError, MemorySize, Ram, RamCopy, RamCopyName};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap, MmapRegion};

use super::{KvmEngine, KvmError};

/// Zeroed RAM that KVM can run a guest in. A soft engine may share it.
#[derive(Clone, Debug)]
pub struct GuestRam(pub(super) Arc<GuestRegionMmap>);

impl GuestRam {
    /// RAM of this size. The operating system allocates a page when it is first touched.
    pub fn new(size: MemorySize) -> Result<Self, KvmError> {
        let region = MmapRegion::new(size.bytes() as usize).ok();
        let region = region.and_then(|region| GuestRegionMmap::new(region, GuestAddress(0)));
        Ok(Self(Arc::new(region.ok_or(KvmError::NoMemory(size))?)))
    }

    /// The same RAM, for an engine in this process.
    ///
    /// # Safety
    ///
    /// Of all engines with this RAM, only one is used at a time.
    pub unsafe fn share(&self) -> Ram {
        let start = self.0.get_host_address(vm_memory::MemoryRegionAddress(0)).expect("RAM begins at 0");
        let start = NonNull::new(start).expect("it is mapped");
        // SAFETY: the owner keeps all bytes of the region mapped, readable and writable. That nothing else accesses
        // them is the caller's promise.
        unsafe { Ram::from_raw(start, self.0.len() as usize, Box::new(self.0.clone())) }
    }
}

/// The files of the copies of RAM that this engine has made or restored.
#[derive(Debug, Default)]
pub struct Copies {
    files: Vec<(RamCopyName, Arc<File>)>,
    /// The file that RAM is a private mapping of, if there is one.
    base: Option<Arc<File>>,
}

impl KvmEngine {
    /// A copy of RAM, which is then a private mapping of the copy's file.
    pub(super) fn copy_ram(&mut self) -> Result<RamCopy, EngineError> {
        let page = |number: u32| {
            let mut page = RamCopy::ZEROS;
            self.read_ram_at(number * PAGE_SIZE, &mut page);
            (number, page)
        };
        let pages = (0..self.zeros_from.div_ceil(PAGE_SIZE)).map(page);
        let copy = RamCopy::from_pages(pages.filter(|(_, page)| *page != RamCopy::ZEROS));
        self.put_back(&copy)?;
        Ok(copy)
    }

    /// Makes RAM what the copy is.
    pub(super) fn put_back(&mut self, copy: &RamCopy) -> Result<(), EngineError> {
        self.zeros_from = self.map.ram().bytes();
        let file = match self.copies.files.iter().find(|(name, _)| name.is_of(copy)) {
            Some((_, file)) => file.clone(),
            None => {
                let file = Arc::new(self.file_of(copy).map_err(EngineError::call("memfd_create"))?);
                self.copies.files.retain(|(name, _)| !name.is_dropped());
                self.copies.files.push((copy.name(), file.clone()));
                file
            }
        };
        match &self.copies.base {
            Some(base) if Arc::ptr_eq(base, &file) => self.forget_writes(),
            _ => self.map_ram(file),
        }
    }

    /// A file in memory with the copy's pages.
    fn file_of(&self, copy: &RamCopy) -> io::Result<File> {
        let file = File::from(memfd_create("flatland-snapshot", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(self.map.ram().bytes().into())?;
        for (number, page) in copy.pages() {
            file.write_all_at(page, u64::from(number) * u64::from(PAGE_SIZE))?;
        }
        Ok(file)
    }

    /// Replaces RAM by a private mapping of the file.
    fn map_ram(&mut self, file: Arc<File>) -> Result<(), EngineError> {
        let (start, size) = self.mapped_ram();
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: this replaces the mapping of RAM, which `self.memory` owns, by another of the same size, which it
        // will unmap instead. No reference into RAM exists: each one borrows `self`, or an engine that shares the RAM
        // and is not used now.
        let result = unsafe { mmap(Some(start.addr()), size, protection, flags, &*file, 0) };
        result.map_err(EngineError::call("mmap"))?;
        self.copies.base = Some(file);
        Ok(())
    }

    /// Discards what has been written since the file was mapped.
    fn forget_writes(&mut self) -> Result<(), EngineError> {
        let (start, size) = self.mapped_ram();
        // SAFETY: the range is the mapping of RAM, and no reference into it exists: see `map_ram`.
        let result = unsafe { madvise(start, size.get(), MmapAdvise::MADV_DONTNEED) };
        result.map_err(EngineError::call("madvise"))
    }

    /// Where RAM is mapped in this process, and its size.
    fn mapped_ram(&self) -> (NonNull<c_void>, NonZeroUsize) {
        let start = self.memory.get_host_address(GuestAddress(0)).expect("RAM begins at 0");
        let start = NonNull::new(start).expect("it is mapped").cast();
        (start, NonZeroUsize::new(self.map.ram().bytes() as usize).expect("there is RAM"))
    }
}
