//! Executable memory. No page of it is writable and executable at once.

use core::ffi::c_void;
use core::num::NonZeroUsize;
use core::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Bytes of code. When they are used up, the interpreter executes what comes.
const SIZE: NonZeroUsize = NonZeroUsize::new(16 << 20).expect("it is not 0");
const PAGE: usize = 4096;

/// Memory for code.
#[derive(Debug)]
pub struct Arena {
    start: NonNull<c_void>,
    used: usize,
}

// SAFETY: it is memory that nothing else knows, and what it is used for does not depend on the thread.
unsafe impl Send for Arena {}
// SAFETY: through a shared reference nothing is changed.
unsafe impl Sync for Arena {}

impl Arena {
    /// Fails where the system does not allow it.
    pub fn new() -> Option<Self> {
        let flags = MapFlags::MAP_PRIVATE;
        // SAFETY: without an address and a file, this is fresh memory.
        let start = unsafe { mmap_anonymous(None, SIZE, ProtFlags::PROT_NONE, flags) }.ok()?;
        let arena = Self { start, used: 0 };
        // SAFETY: it is the arena's first page.
        unsafe { mprotect(start, PAGE, ProtFlags::PROT_READ | ProtFlags::PROT_EXEC) }.ok()?;
        Some(arena)
    }

    /// Adds code, and returns its first byte, which may be executed until [`Self::clear`]. Fails if there is no room.
    pub fn add(&mut self, code: &[u8]) -> Option<NonNull<u8>> {
        if code.len() > SIZE.get() - self.used {
            return None;
        }
        let first_page = self.used / PAGE * PAGE;
        let len = (self.used + code.len()).next_multiple_of(PAGE) - first_page;
        // SAFETY: both are inside the arena: `used` is at most its size, a multiple of the size of a page.
        let pages = unsafe { self.start.byte_add(first_page) };
        // SAFETY: these pages are the arena's, and `&mut self` shows that none of its code is being executed.
        unsafe { mprotect(pages, len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE) }.ok()?;
        // SAFETY: as above.
        let place = unsafe { self.start.byte_add(self.used) }.cast::<u8>();
        // SAFETY: so many bytes are writable there, and no code is in the arena's unused part.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(code).cast(), code.len()) };
        // SAFETY: as above.
        let executable = unsafe { mprotect(pages, len, ProtFlags::PROT_READ | ProtFlags::PROT_EXEC) };
        // Code that was on the first page before cannot be executed either: the engine has to stop.
        executable.expect("memory that was made writable can be made executable");
        self.used = (self.used + code.len()).next_multiple_of(16);
        Some(place)
    }

    /// Forgets all code.
    pub fn clear(&mut self) {
        self.used = 0;
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and no code is executed without the arena.
        let _ = unsafe { munmap(self.start, SIZE.get()) };
    }
}
