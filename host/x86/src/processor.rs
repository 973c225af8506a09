//! The architectural state of a processor: all that its instructions can see, besides memory.
//!
//! Each engine gives it and takes it. So a run can move from one engine to another, and a snapshot can be restored in
//! any engine.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::entry::{self, Table};
use crate::{MemorySize, PendingInterrupts, Registers, segment};

/// The architectural state of a processor between two instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// General registers, instruction pointer and flags.
    pub registers: Registers,
    /// ES, CS, SS, DS, FS and GS, by their numbers in instructions ([`segment`]).
    pub segments: [SegmentRegister; segment::COUNT],
    /// The local descriptor table's register.
    pub ldtr: SegmentRegister,
    /// The task register.
    pub tr: SegmentRegister,
    /// The global descriptor table.
    pub gdt: Table,
    /// The interrupt descriptor table.
    pub idt: Table,
    /// CR0 (SDM volume 3, section 2.5).
    pub cr0: u32,
    /// CR2, the address of the last page fault.
    pub cr2: u32,
    /// CR3, the page directory.
    pub cr3: u32,
    /// CR4.
    pub cr4: u32,
    /// DR0 to DR7 (SDM volume 3, section 19.2). DR4 and DR5 are not used.
    pub debug: [u32; 8],
    /// Whether the last instruction loaded SS, or was an `sti` that set IF. No interrupt comes before the next one, and after a
    /// load of SS no trap (SDM volume 3, section 7.8.3).
    pub shadow: Shadow,
    /// An exception that will be delivered before the next instruction, such as the trap of TF.
    pub pending: Option<PendingException>,
    /// Interrupts of devices that will be delivered when IF and [`Self::shadow`] allow it.
    pub interrupts: PendingInterrupts,
    /// x87 and SSE. `None`: as after a reset.
    pub fpu: Option<Box<Fpu>>,
    /// Model-specific registers: their numbers and values. Those that are not listed are as after a reset.
    pub msrs: Vec<(u32, u64)>,
    /// The time stamp that `rdtsc` gives. It depends on the engine how it goes on, but it does not go back.
    pub time_stamp: u64,
    /// Instructions executed since entry, if all engines of the run have counted them.
    pub instructions: Option<u64>,
}

/// A segment register with its hidden part (SDM volume 3, section 3.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRegister {
    /// The selector.
    pub selector: u16,
    /// The base address.
    pub base: u32,
    /// The limit in bytes.
    pub limit: u32,
    /// Bits 8 to 15 and 20 to 23 of the descriptor's second doubleword, shifted right by 8 (SDM volume 3, table 26-2).
    /// 0 if the register holds a null selector.
    pub rights: u16,
}

impl SegmentRegister {
    /// The rights' field P: the register can be used.
    pub const PRESENT: u16 = 1 << 7;

    /// A register that a descriptor (SDM volume 3, figure 3-8) was loaded into.
    pub const fn of(selector: u16, descriptor: u64) -> Self {
        let limit = descriptor as u32 & 0xffff | (descriptor >> 32) as u32 & 0xf_0000;
        let in_pages = descriptor & (1 << 55) != 0;
        Self {
            selector,
            base: (descriptor >> 16) as u32 & 0xff_ffff | (descriptor >> 32) as u32 & 0xff00_0000,
            limit: if in_pages { limit << 12 | 0xfff } else { limit },
            rights: (descriptor >> 40) as u16 & 0xf0ff,
        }
    }

    /// A descriptor with these rights, base and limit. The inverse of [`Self::of`].
    pub const fn descriptor(&self) -> u64 {
        let in_pages = self.rights & (1 << 15) != 0;
        let limit = (if in_pages { self.limit >> 12 } else { self.limit }) as u64;
        let base = self.base as u64;
        limit & 0xffff
            | (base & 0xff_ffff) << 16
            | ((self.rights & 0xf0ff) as u64) << 40
            | (limit & 0xf_0000) << 32
            | (base & 0xff00_0000) << 32
    }
}

/// Which instruction inhibits traps and interrupts until the next one has been executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shadow {
    /// None.
    #[default]
    None,
    /// One that loaded SS.
    MovSs,
    /// An `sti`.
    Sti,
}

/// An exception that will be delivered before the next instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingException {
    /// Its vector.
    pub vector: u8,
    /// Its error code, if its vector has one.
    pub error_code: Option<u32>,
}

/// The state of x87 and SSE: the fields of FXSAVE (SDM volume 1, section 10.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fpu {
    /// FCW.
    pub control: u16,
    /// FSW.
    pub status: u16,
    /// FTW, abridged: a bit for each register that is not empty.
    pub tags: u8,
    /// FOP.
    pub opcode: u16,
    /// FIP, with FCS.
    pub instruction: u64,
    /// FDP, with FDS.
    pub data: u64,
    /// ST0 to ST7, 10 bytes each.
    pub st: [[u8; 16]; 8],
    /// XMM0 to XMM7.
    pub xmm: [[u8; 16]; 8],
    /// MXCSR.
    pub mxcsr: u32,
}

impl Default for Fpu {
    /// The state after `finit` and a reset of SSE (SDM volume 1, sections 8.1.5 and 10.2.3.1).
    fn default() -> Self {
        Self {
            control: 0x37f,
            status: 0,
            tags: 0,
            opcode: 0,
            instruction: 0,
            data: 0,
            st: [[0; 16]; 8],
            xmm: [[0; 16]; 8],
            mxcsr: 0x1f80,
        }
    }
}

impl Processor {
    /// The state at entry, on a machine with this much RAM.
    pub fn at_entry(ram: MemorySize) -> Self {
        let data = SegmentRegister::of(entry::DATA_SELECTOR, entry::DESCRIPTORS[2]);
        let mut segments = [data; segment::COUNT];
        segments[usize::from(segment::CS)] = SegmentRegister::of(entry::CODE_SELECTOR, entry::DESCRIPTORS[1]);
        let mut debug = [0; 8];
        (debug[6], debug[7]) = (entry::DR6, entry::DR7);
        Self {
            registers: entry::registers(ram),
            segments,
            ldtr: entry::LDTR,
            tr: entry::TR,
            gdt: entry::GDT,
            idt: entry::IDT,
            cr0: entry::CR0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            debug,
            shadow: Shadow::None,
            pending: None,
            interrupts: PendingInterrupts::NONE,
            fpu: None,
            msrs: Vec::new(),
            time_stamp: 0,
            instructions: Some(0),
        }
    }

    /// The privilege level: that of SS, as the processor has it (SDM volume 3, section 6.5).
    pub fn privilege_level(&self) -> u8 {
        (self.segments[usize::from(segment::SS)].rights >> 5) as u8 & 0b11
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_survive() {
        // Base 0x12345678, limit 0xabcde pages.
        for descriptor in [0x12ca_9a34_5678_bcde, entry::DESCRIPTORS[1], 0x0040_9210_0000_0fff, 0] {
            let register = SegmentRegister::of(8, descriptor);
            assert_eq!(register.descriptor(), descriptor, "{descriptor:#x}");
        }
        let code = SegmentRegister::of(8, 0x12ca_9a34_5678_bcde);
        assert_eq!((code.base, code.limit, code.rights), (0x1234_5678, 0xabcd_efff, 0xc09a));
    }
}
