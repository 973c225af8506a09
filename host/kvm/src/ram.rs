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
use std::sync::atomic::{AtomicBool, Ordering};

use flatland_contract::memory::PAGE_SIZE;
use flatland_x86::{EngineError, MemorySize, Ram, RamCopy, RamCopyName};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap};
use vm_memory::{GuestAddress, GuestMemoryRegion, GuestRegionMmap, MmapRegion};

use super::{KvmEngine, KvmError};

/// Zeroed RAM that KVM can run a guest in. A soft engine may share it.
#[derive(Clone, Debug)]
pub struct GuestRam {
    pub(super) region: Arc<GuestRegionMmap>,
    /// Whether it is a mapping of a file now, by any engine that has it.
    is_of_file: Arc<AtomicBool>,
}

impl GuestRam {
    /// RAM of this size. The operating system allocates a page when it is first touched.
    pub fn new(size: MemorySize) -> Result<Self, KvmError> {
        let region = MmapRegion::new(size.bytes() as usize).ok();
        let region = region.and_then(|region| GuestRegionMmap::new(region, GuestAddress(0)));
        let region = Arc::new(region.ok_or(KvmError::NoMemory(size))?);
        Ok(Self { region, is_of_file: Arc::default() })
    }

    /// The numbers of the pages that have been touched since RAM was made, in order. All others are zeros. `None` if that
    /// is not known: the system does not say it, or RAM has been put back to a copy. For 64 MiB of RAM it takes a
    /// thirtieth of the time of reading RAM, which also makes the system map each page.
    pub fn touched_pages(&self) -> Option<Vec<u32>> {
        if self.is_of_file.load(Ordering::Relaxed) {
            return None;
        }
        // A u64 for each page of this process (Documentation/admin-guide/mm/pagemap.rst).
        const ENTRY: u64 = 8;
        const SWAPPED_OR_PRESENT: u64 = 0b11 << 62;
        let first = self.start().addr().get() as u64 / u64::from(PAGE_SIZE);
        let mut entries = vec![0; (self.region.len() / u64::from(PAGE_SIZE) * ENTRY) as usize];
        File::open("/proc/self/pagemap")
            .and_then(|file| file.read_exact_at(&mut entries, first * ENTRY))
            .ok()?;
        let (entries, _) = entries.as_chunks();
        let touched =
            (0..).zip(entries).filter(|(_, entry)| u64::from_ne_bytes(**entry) & SWAPPED_OR_PRESENT != 0);
        Some(touched.map(|(number, _)| number).collect())
    }

    /// Where it is mapped in this process.
    fn start(&self) -> NonNull<u8> {
        let start = self.region.get_host_address(vm_memory::MemoryRegionAddress(0)).expect("RAM begins at 0");
        NonNull::new(start).expect("it is mapped")
    }

    /// The same RAM, for an engine in this process.
    ///
    /// # Safety
    ///
    /// Of all engines with this RAM, only one is used at a time.
    pub unsafe fn share(&self) -> Ram {
        // SAFETY: the owner keeps all bytes of the region mapped, readable and writable. That nothing else accesses
        // them is the caller's promise.
        unsafe { Ram::from_raw(self.start(), self.region.len() as usize, Box::new(self.region.clone())) }
    }
}

/// The files of the copies of RAM that this engine has made or restored.
#[derive(Debug)]
pub struct Copies {
    ram: GuestRam,
    files: Vec<(RamCopyName, Arc<File>)>,
    /// The file that RAM is a private mapping of, if there is one.
    base: Option<Arc<File>>,
}

impl Copies {
    pub fn new(ram: GuestRam) -> Self {
        Self { ram, files: Vec::new(), base: None }
    }
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
        self.copies.ram.is_of_file.store(true, Ordering::Relaxed);
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
        (
            self.copies.ram.start().cast(),
            NonZeroUsize::new(self.map.ram().bytes() as usize).expect("there is RAM"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_are_not_touched_are_known() {
        let ram = GuestRam::new(MemorySize::mib(64)).unwrap();
        let Some(touched) = ram.touched_pages() else {
            assert!(File::open("/proc/self/pagemap").is_err(), "it is readable, and nothing is known");
            return;
        };
        assert!(touched.is_empty(), "{touched:?}");
        // SAFETY: no engine has this RAM.
        let mut shared = unsafe { ram.share() };
        let last = 64 * 256 - 1;
        for number in [3, 700, last] {
            shared[(number * PAGE_SIZE) as usize + 17] = 1;
        }
        let touched = ram.touched_pages().unwrap();
        assert!([3, 700, last].iter().all(|number| touched.contains(number)), "{touched:?}");
        // A system with huge pages touches more at once, and not all.
        assert!(touched.is_sorted() && touched.len() <= 3 * 512, "{}", touched.len());
    }
}
