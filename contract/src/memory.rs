//! The memory layout. Addresses are physical and linear at once: segments are flat and paging is off.
//!
//! ```text
//! 0             the image, and its zero-initialized data
//! ...           the heap
//! heap_end      the guard, which catches stack overflows: no RAM if the host knows the program's symbols
//! stack_start   the stack, which grows down
//! ram_end       ESP at entry
//! ```

/// The address of the flat image's first byte. RAM begins here too.
pub const LOAD_ADDRESS: u32 = 0;

/// EIP at entry.
pub const ENTRY: u32 = LOAD_ADDRESS;

/// The default size of RAM in bytes: 16 MiB.
pub const DEFAULT_RAM_SIZE: u32 = 16 << 20;

/// The size of a page in bytes. RAM is a whole number of pages.
pub const PAGE_SIZE: u32 = 4096;

/// The maximum size of RAM in bytes. The addresses above belong to the host: KVM needs some below 4 GiB for its own
/// pages (KVM API 4.13, KVM_SET_TSS_ADDR), and an engine may have a page there that catches the processor's
/// exceptions.
pub const MAX_RAM_SIZE: u32 = 0xf000_0000;

/// The default size of the stack in bytes: an eighth of RAM (2 MiB of 16), and at least a page.
pub const fn default_stack_size(ram_size: u32) -> u32 {
    let pages = ram_size / 8 / PAGE_SIZE;
    if pages == 0 { PAGE_SIZE } else { pages * PAGE_SIZE }
}

/// The size of the guard below the stack in bytes: a 256th of RAM, and at least a page. A function with a large frame
/// cannot skip it, because it touches each page of the frame (LLVM's stack probes, which the target turns on).
pub const fn guard_size(ram_size: u32) -> u32 {
    let pages = ram_size / 256 / PAGE_SIZE;
    if pages == 0 { PAGE_SIZE } else { pages * PAGE_SIZE }
}

/// What [`Port::Layout`](crate::Port::Layout) answers: the boundaries between the parts of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The end of the RAM that the guest may use besides its stack.
    pub heap_end: u32,
    /// The lowest address of the stack. From `heap_end` up to here is the guard.
    pub stack_start: u32,
    /// The end of RAM, and ESP at entry.
    pub ram_end: u32,
}

impl Layout {
    /// The size in bytes.
    pub const SIZE: usize = 12;

    /// The layout of a machine with these sizes of RAM and stack in bytes, both whole pages. If nothing is left for a
    /// heap, `heap_end` is 0.
    pub const fn new(ram_size: u32, stack_size: u32) -> Self {
        let stack_start = ram_size.saturating_sub(stack_size);
        Self { heap_end: stack_start.saturating_sub(guard_size(ram_size)), stack_start, ram_end: ram_size }
    }

    /// The fields in order, little-endian.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&self.heap_end.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.stack_start.to_le_bytes());
        bytes[8..].copy_from_slice(&self.ram_end.to_le_bytes());
        bytes
    }

    /// The inverse of [`Self::to_bytes`].
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { heap_end: word(0), stack_start: word(4), ram_end: word(8) }
    }
}
