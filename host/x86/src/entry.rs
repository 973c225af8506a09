//! The processor's state at entry: 32-bit protected mode, paging off, flat segments.
//!
//! The descriptor tables lie far above RAM, where a guest cannot change them.

use flatland_contract::memory::{ENTRY, MAX_RAM_SIZE};

use crate::{MemorySize, Registers, SegmentRegister, cr0, eflags};

/// The address of the descriptor tables: above any RAM, below the pages that KVM needs, and out of reach of a small
/// negative offset from a null pointer.
pub const TABLES: u32 = 0xfd00_0000;

const _: () = assert!(TABLES >= MAX_RAM_SIZE);

/// The contents of GDTR or IDTR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Linear address.
    pub base: u32,
    /// Offset of the last byte.
    pub limit: u16,
}

/// The null descriptor, flat code and flat data of privilege level 0, accessed (SDM volume 3, section 3.4.5).
pub const DESCRIPTORS: [u64; 3] = [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

/// The selector in CS.
pub const CODE_SELECTOR: u16 = 1 << 3;
/// The selector in DS, ES, FS, GS and SS.
pub const DATA_SELECTOR: u16 = 2 << 3;

/// The processor's own exceptions are vectors 0 to 31 (SDM volume 3, section 7.2).
pub const VECTORS: u8 = 32;

/// The GDT, which holds [`DESCRIPTORS`].
pub const GDT: Table = Table { base: TABLES, limit: size_of::<[u64; 3]>() as u16 - 1 };
/// The IDT, with a gate for each of the processor's own vectors.
pub const IDT: Table = Table { base: TABLES + 0x100, limit: VECTORS as u16 * 8 - 1 };

/// LDTR and TR at entry. The contract does not define them; they are as after a reset: the first 64 KiB as an LDT
/// and as the busy TSS of a 32-bit task (SDM volume 3, table 11-1).
pub const LDTR: SegmentRegister =
    SegmentRegister { selector: 0, base: 0, limit: 0xffff, rights: SegmentRegister::PRESENT | 0x2 };
/// See [`LDTR`].
pub const TR: SegmentRegister =
    SegmentRegister { selector: 0, base: 0, limit: 0xffff, rights: SegmentRegister::PRESENT | 0xb };

/// CR0 at entry.
pub const CR0: u32 = cr0::PE | cr0::ET;

/// DR6 as a reset leaves it (SDM volume 3, section 19.2.3, and table 11-1).
pub const DR6: u32 = 0xffff_0ff0;
/// DR7 as a reset leaves it.
pub const DR7: u32 = 0x400;

/// The registers at entry, on a machine with this much RAM.
pub fn registers(ram: MemorySize) -> Registers {
    Registers { eip: ENTRY, esp: ram.bytes(), eflags: eflags::RESERVED_1, ..Registers::default() }
}
