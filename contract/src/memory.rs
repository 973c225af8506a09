//! Where things lie. All addresses are physical, and linear: segments are flat and paging is off.

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
