//! What blocks are found by.

use crate::cpu::Cpu;
use crate::segment::number::CS;

/// What a block was decoded for: the address of its first instruction in the code segment, whether it has only that one,
/// and with paging on the physical page of its first byte. A change of anything else that decoding depends on ([`Mode`])
/// empties the cache; another table of pages does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    const SINGLE: u64 = 1 << 32;
    /// The instruction continues on the next page, and is the only one of its block.
    const CROSSES: u64 = 1 << 33;
    /// No page can be executed there.
    const NO_PAGE: u64 = 1 << 34;
    const PAGE_SHIFT: u32 = 35;
    /// The key of a block that was removed: none.
    pub const REMOVED: Self = Self(u64::MAX);

    /// The key of a block at an address.
    #[inline(always)]
    pub fn new(eip: u32, single: bool) -> Self {
        Self(u64::from(eip) | if single { Self::SINGLE } else { 0 })
    }

    /// With the physical page that it lies on.
    #[inline(always)]
    pub fn on_page(self, number: Option<u32>) -> Self {
        Self(self.0 | number.map_or(Self::NO_PAGE, |number| u64::from(number) << Self::PAGE_SHIFT))
    }

    /// With its only instruction on two pages.
    pub fn crossing(self) -> Self {
        Self(self.0 | Self::CROSSES)
    }

    /// The address.
    pub fn eip(self) -> u32 {
        self.0 as u32
    }

    /// Whether the block has only one instruction.
    pub fn is_single(self) -> bool {
        self.0 & Self::SINGLE != 0
    }

    /// The physical page's number, with paging on.
    pub fn page(self) -> Option<u32> {
        (self.0 & Self::NO_PAGE == 0).then_some((self.0 >> Self::PAGE_SHIFT) as u32)
    }
}

/// What decoding depends on besides the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    code_base: u32,
    code_limit: u32,
    code_is_32_bit: bool,
    /// Whether paging is on.
    pub is_paged: bool,
}

impl Mode {
    /// What it is now.
    pub fn of(cpu: &Cpu) -> Self {
        let code = cpu.segment(CS);
        Self {
            code_base: code.base,
            code_limit: code.limit,
            code_is_32_bit: code.is_32_bit(),
            is_paged: cpu.is_paged(),
        }
    }
}
