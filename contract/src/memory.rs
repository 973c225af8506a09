//! Where things lie. All addresses are physical, and linear: segments are flat and paging is off.
//!
//! ```text
//! 0             the image, and what it wants zeroed
//! ...           the heap: as the guest likes
//! heap_end      the hole: no RAM, where the host knows the program's symbols
//! stack_start   the stack, which grows down
//! ram_end       ESP at entry
//! ```

/// The address of the flat image's first byte. RAM begins here too.
pub const LOAD_ADDRESS: u32 = 0;

/// EIP at entry.
pub const ENTRY: u32 = LOAD_ADDRESS;

/// Bytes of RAM where nobody asks for another size: 16 MiB.
pub const DEFAULT_RAM_SIZE: u32 = 16 << 20;

/// RAM is made of whole pages of this many bytes.
pub const PAGE_SIZE: u32 = 4096;

/// The most RAM a machine can have, in bytes. What lies above belongs to the host: KVM wants room below
/// 4 GiB for its own pages (KVM API 4.13, KVM_SET_TSS_ADDR), and an engine may keep a page there that
/// catches the processor's exceptions.
pub const MAX_RAM_SIZE: u32 = 0xf000_0000;

/// The part of RAM that is the stack's where nobody asks for another size: an eighth, 2 MiB of 16, and at least a
/// page.
pub const fn default_stack_size(ram_size: u32) -> u32 {
    let pages = ram_size / 8 / PAGE_SIZE;
    if pages == 0 { PAGE_SIZE } else { pages * PAGE_SIZE }
}

/// The hole below the stack: a 256th of RAM, and at least a page. A function that takes more of the stack at
/// once touches each page of it (LLVM's stack probes, which the target asks for), so none is stepped over.
pub const fn hole_size(ram_size: u32) -> u32 {
    let pages = ram_size / 256 / PAGE_SIZE;
    if pages == 0 { PAGE_SIZE } else { pages * PAGE_SIZE }
}

/// What [`Port::Layout`](crate::Port::Layout) answers: where the parts of RAM begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The end of what the guest may use beside its stack.
    pub heap_end: u32,
    /// The lowest address of the stack. What lies between is no RAM where the host knows the program's symbols.
    pub stack_start: u32,
    /// The end of RAM, and ESP at entry.
    pub ram_end: u32,
}

impl Layout {
    /// Bytes on the bus.
    pub const SIZE: usize = 12;

    /// The layout of a machine with so much RAM and so large a stack, both whole pages. Where that leaves nothing
    /// for a heap, it ends at 0.
    pub const fn new(ram_size: u32, stack_size: u32) -> Self {
        let stack_start = ram_size.saturating_sub(stack_size);
        Self { heap_end: stack_start.saturating_sub(hole_size(ram_size)), stack_start, ram_end: ram_size }
    }

    /// As it goes over the bus: each as a little-endian u32, in the order of the fields.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&self.heap_end.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.stack_start.to_le_bytes());
        bytes[8..].copy_from_slice(&self.ram_end.to_le_bytes());
        bytes
    }

    /// The other way.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { heap_end: word(0), stack_start: word(4), ram_end: word(8) }
    }
}
