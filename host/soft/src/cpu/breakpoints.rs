//! The guest's own breakpoints: the debug registers, and what they match (SDM volume 3, section 19.2).
//!
//! While DR7 enables none, nothing looks at them. While it enables any, instructions are executed one by one, and while one of
//! them is for data, no segment has fast accesses.

use flatland_x86::{Access, Shadow};

use super::Cpu;
use crate::flags::RF;
use crate::segment::number;

/// The fields of DR6 and DR7 (SDM volume 3, sections 19.2.3 and 19.2.4).
pub mod bits {
    /// DR6: which breakpoints were met.
    pub const DR6_BREAKPOINTS: u32 = 0xf;
    /// DR6: an access to a debug register was found by [`DR7_DETECT`].
    pub const DR6_ACCESS: u32 = 1 << 13;
    /// DR6: TF caused the debug exception.
    pub const DR6_SINGLE_STEP: u32 = 1 << 14;
    /// DR7: the bits that enable breakpoints, two for each: local and global.
    pub const DR7_ENABLE: u32 = 0xff;
    /// DR7: an access to a debug register is a debug exception.
    pub const DR7_DETECT: u32 = 1 << 13;
}

use bits::*;

/// The vector of #DB.
pub const DEBUG_EXCEPTION: u8 = 1;

/// What a breakpoint is for: its field R/W.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Execute,
    Write,
    /// Only with CR4.DE. Without it, the manual leaves it undefined; here it is none.
    Port,
    ReadOrWrite,
}

/// An enabled breakpoint.
#[derive(Clone, Copy, Debug)]
struct Breakpoint {
    number: u32,
    kind: Kind,
    /// The first byte.
    address: u32,
    /// 1, 2, 4 or 8 bytes.
    len: u32,
}

impl Breakpoint {
    /// Whether an access to `len` bytes touches it.
    fn touches(&self, address: u32, len: u32) -> bool {
        address.wrapping_sub(self.address) < self.len || self.address.wrapping_sub(address) < len
    }
}

impl Cpu {
    /// Whether DR7 enables breakpoints.
    #[inline(always)]
    pub fn has_breakpoints(&self) -> bool {
        self.debug[7] & DR7_ENABLE != 0
    }

    fn breakpoints(&self) -> impl Iterator<Item = Breakpoint> + '_ {
        let [.., control] = self.debug;
        (0..4_u32).filter(move |number| control >> (number * 2) & 0b11 != 0).map(move |number| {
            let field = control >> (16 + number * 4);
            let kind = match field & 0b11 {
                0 => Kind::Execute,
                1 => Kind::Write,
                2 => Kind::Port,
                _ => Kind::ReadOrWrite,
            };
            // Processors with 64 bits have given a length to the field that was undefined.
            let len = [1, 2, 8, 4][(field >> 2 & 0b11) as usize];
            Breakpoint { number, kind, address: self.debug[number as usize] & !(len - 1), len }
        })
    }

    /// The bits of DR6 of the breakpoints that fulfil a condition.
    fn matching(&self, condition: impl Fn(&Breakpoint) -> bool) -> u32 {
        self.breakpoints().filter(condition).map(|breakpoint| 1 << breakpoint.number).sum()
    }

    /// Whether there are breakpoints for data.
    pub fn watches_data(&self) -> bool {
        self.has_breakpoints() && self.matching(|it| matches!(it.kind, Kind::Write | Kind::ReadOrWrite)) != 0
    }

    /// The breakpoints at the next instruction, as bits of DR6. There are none with RF, and none after an instruction that has
    /// loaded SS (SDM volume 3, sections 19.3.1.1 and 7.8.3).
    pub fn breakpoints_here(&self) -> u32 {
        if !self.has_breakpoints() || self.control_flags & RF != 0 || self.shadow() == Shadow::MovSs {
            return 0;
        }
        let at = self.segment(number::CS).base.wrapping_add(self.eip);
        self.matching(|it| it.kind == Kind::Execute && self.debug[it.number as usize] == at)
    }

    /// An instruction has accessed `len` bytes of a segment.
    pub(super) fn note_access(&mut self, segment: u8, offset: u32, len: u32, access: Access) {
        if !self.has_breakpoints() {
            return;
        }
        let at = self.segment(segment).base.wrapping_add(offset);
        self.met |= self.matching(|it| match it.kind {
            Kind::Write => access == Access::Write && it.touches(at, len),
            Kind::ReadOrWrite => it.touches(at, len),
            Kind::Execute | Kind::Port => false,
        });
    }

    /// An instruction makes a transfer at a port.
    pub fn note_transfer(&mut self, port: u16, width: u32) {
        if self.has_breakpoints() && self.cr4 & flatland_x86::cr4::DE != 0 {
            self.met |= self.matching(|it| it.kind == Kind::Port && it.touches(port.into(), width));
        }
    }

    /// What causes a debug exception after an instruction, as bits of DR6: the breakpoints that it has met, and the trap of TF.
    /// An instruction that loads SS puts off the breakpoints, and has no trap (SDM volume 3, section 7.8.3).
    pub fn causes_of_trap(&mut self, trap: bool) -> u32 {
        if self.shadow() == Shadow::MovSs {
            return 0;
        }
        core::mem::take(&mut self.met) | if trap { DR6_SINGLE_STEP } else { 0 }
    }

    /// Sets DR6 for a debug exception. Only the bits of breakpoints are ever cleared by the processor.
    pub fn note_debug_exception(&mut self, causes: u32) {
        self.debug[6] = self.debug[6] & !DR6_BREAKPOINTS | causes;
    }
}
