//! The memory map: stack, read-only pages, and the guard below the stack.
//!
//! A machine's map is made before its engine. Both engines use it to decide which accesses are refused and with which
//! fault, so they always agree.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use flatland_contract::memory::{Layout, PAGE_SIZE, default_stack_size};

use crate::{Access, FaultKind, MemorySize};

/// The most bytes that one instruction pushes: `pusha`, eight registers of 4 bytes. At a push that does not fit, ESP
/// is at most this far above the stack's end.
const MOST_PUSHED: u32 = 32;

/// The layout of RAM: its size, where the stack begins, which pages are read-only, and the guard below the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryMap {
    ram: MemorySize,
    layout: Layout,
    /// Ranges of whole pages below the guard, sorted and not adjacent.
    read_only: Vec<Range<u32>>,
    has_guard: bool,
}

/// A part of RAM that a program occupies: a segment of its ELF file, with its zero-initialized data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The address of the first byte.
    pub start: u32,
    /// The address past the last byte.
    pub end: u64,
    /// Whether the program may write there.
    pub writable: bool,
}

/// A part of RAM that the guest can access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its addresses, whole pages.
    pub range: Range<u32>,
    /// Whether it can be written.
    pub writable: bool,
}

/// Why a memory map is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryMapError {
    /// The stack leaves no room for anything else.
    StackTooLarge {
        /// The stack.
        stack: MemorySize,
        /// All of RAM.
        ram: MemorySize,
    },
    /// The program reaches into the guard or the stack.
    ProgramTooLarge {
        /// Where the program ends, with its zero-initialized data.
        end: u64,
        /// Where the guard begins.
        room: u32,
        /// All of RAM.
        ram: MemorySize,
    },
}

impl fmt::Display for MemoryMapError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::StackTooLarge { stack, ram } => write!(
                f,
                "a stack of {stack} and the guard below it leave nothing of the machine's {ram} of RAM: give it a \
                 smaller stack or more RAM"
            ),
            Self::ProgramTooLarge { end, room, ram } => write!(
                f,
                "the program takes {} KiB of RAM, and below its stack there are {} KiB of the machine's {ram}: give \
                 it more RAM or a smaller stack",
                end.div_ceil(1024),
                room / 1024
            ),
        }
    }
}

impl core::error::Error for MemoryMapError {}

/// Without protection, and with the default stack.
impl From<MemorySize> for MemoryMap {
    fn from(ram: MemorySize) -> Self {
        let layout = Layout::new(ram.bytes(), default_stack_size(ram.bytes()));
        Self { ram, layout, read_only: Vec::new(), has_guard: false }
    }
}

impl MemoryMap {
    /// RAM with a stack of this size, without protection.
    pub fn with_stack(ram: MemorySize, stack: MemorySize) -> Result<Self, MemoryMapError> {
        let layout = Layout::new(ram.bytes(), stack.bytes());
        if layout.heap_end == 0 {
            return Err(MemoryMapError::StackTooLarge { stack, ram });
        }
        Ok(Self { layout, ..Self::from(ram) })
    }

    /// Adds protection: a guard below the stack, and read-only pages. A page is read-only if it holds a part of the
    /// program and no part that the program may write.
    pub fn protecting(self, segments: &[Segment]) -> Result<Self, MemoryMapError> {
        let (ram, room) = (self.ram, self.layout.heap_end);
        let end = segments.iter().map(|segment| segment.end).max().unwrap_or(0);
        if end > room.into() {
            return Err(MemoryMapError::ProgramTooLarge { end, room, ram });
        }
        let pages = |writable: bool| {
            let of_kind = segments.iter().filter(move |segment| {
                segment.writable == writable && u64::from(segment.start) < segment.end
            });
            // `end` is at most `room`, which is whole pages, so this fits.
            of_kind.map(|segment| {
                segment.start / PAGE_SIZE * PAGE_SIZE..(segment.end as u32).next_multiple_of(PAGE_SIZE)
            })
        };
        let mut read_only: Vec<Range<u32>> = Vec::new();
        for range in pages(false) {
            let mut rest = vec![range];
            for taken in pages(true) {
                rest = rest.into_iter().flat_map(|range| without(range, &taken)).collect();
            }
            read_only.extend(rest);
        }
        read_only.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u32>> = Vec::new();
        for range in read_only {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Ok(Self { read_only: merged, has_guard: true, ..self })
    }

    /// A map with these fields, as [`Self::layout`], [`Self::read_only`] and [`Self::has_guard`] return them. `None` if
    /// no map can have them. For maps that were stored.
    pub fn from_fields(
        ram: MemorySize,
        stack_start: u32,
        read_only: Vec<Range<u32>>,
        has_guard: bool,
    ) -> Option<Self> {
        let is_page = |address: u32| address.is_multiple_of(PAGE_SIZE);
        let stack_size = ram.bytes().checked_sub(stack_start).filter(|size| *size > 0)?;
        let layout = Layout::new(ram.bytes(), stack_size);
        let are_pages = read_only.iter().all(|range| is_page(range.start) && is_page(range.end));
        let are_ranges = read_only.iter().all(|range| range.start < range.end);
        let are_apart = read_only.is_sorted_by(|one, next| one.end < next.start);
        let are_below_guard = read_only.last().is_none_or(|last| last.end <= layout.heap_end);
        // Only `protecting` makes pages read-only, and it always adds the guard.
        let is_protected = has_guard || read_only.is_empty();
        (is_page(stack_start) && are_pages && are_ranges && are_apart && are_below_guard && is_protected)
            .then_some(Self { ram, layout, read_only, has_guard })
    }

    /// The size of RAM, with the guard.
    pub fn ram(&self) -> MemorySize {
        self.ram
    }

    /// Whether there is protection: a guard, and perhaps read-only pages.
    pub fn has_guard(&self) -> bool {
        self.has_guard
    }

    /// The layout that the guest can ask for.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The pages that cannot be written, in order.
    pub fn read_only(&self) -> &[Range<u32>] {
        &self.read_only
    }

    /// The guard: every access there is refused. Empty without protection.
    pub fn guard(&self) -> Range<u32> {
        if self.has_guard { self.layout.heap_end..self.layout.stack_start } else { 0..0 }
    }

    /// RAM without the guard, in order.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut at = 0;
        let guard = self.guard();
        let refused = self.read_only.iter().map(|range| (range, true)).chain([(&guard, false)]);
        for (range, can_be_read) in refused.filter(|(range, _)| !range.is_empty()) {
            parts.push(Part { range: at..range.start, writable: true });
            if can_be_read {
                parts.push(Part { range: range.clone(), writable: false });
            }
            at = range.end;
        }
        parts.push(Part { range: at..self.ram.bytes(), writable: true });
        parts.retain(|part| !part.range.is_empty());
        parts
    }

    /// The first address at or after this one where such an access is refused.
    pub fn end_of_run(&self, access: Access, address: u32) -> u32 {
        let mut end = self.ram.bytes().max(address);
        let read_only = if access == Access::Write { &self.read_only[..] } else { &[] };
        for range in read_only.iter().chain([&self.guard()]).filter(|range| address < range.end) {
            end = end.min(range.start.max(address));
        }
        end
    }

    /// The first of these bytes where such an access is refused, if there is one.
    pub fn refuses(&self, access: Access, address: u32, len: u32) -> Option<u32> {
        let end = self.end_of_run(access, address);
        (u64::from(address) + u64::from(len) > end.into()).then_some(end)
    }

    /// The fault of an access that was refused at this address, with this stack pointer.
    pub fn fault(&self, access: Access, address: u32, esp: u32) -> FaultKind {
        if address >= self.ram.bytes() {
            FaultKind::OutsideRam { access, address, ram_size: self.ram.bytes() }
        } else if !self.guard().contains(&address) {
            FaultKind::ReadOnly { address }
        } else if access != Access::Execute && self.stack_is_full(esp) {
            self.stack_overflow()
        } else {
            let Layout { heap_end, stack_start, .. } = self.layout;
            FaultKind::Guard { access, address, start: heap_end, end: stack_start }
        }
    }

    /// The fault of an exception whose frame of this many bytes does not fit below ESP. `None` if it fits.
    pub fn frame_fault(&self, esp: u32, frame: u32) -> Option<FaultKind> {
        let bottom = esp.wrapping_sub(frame);
        self.refuses(Access::Write, bottom, frame)?;
        let guard = self.guard();
        let is_in_guard = guard.contains(&bottom) || guard.contains(&esp.wrapping_sub(1));
        Some(if is_in_guard { self.stack_overflow() } else { FaultKind::TripleFault })
    }

    /// Whether ESP is in the guard, or so close above it that a push may not fit.
    fn stack_is_full(&self, esp: u32) -> bool {
        let guard = self.guard();
        (guard.start..guard.end.saturating_add(MOST_PUSHED)).contains(&esp)
    }

    fn stack_overflow(&self) -> FaultKind {
        FaultKind::StackOverflow { stack_size: self.ram.bytes() - self.layout.stack_start }
    }
}

/// What is left of a range without another one.
fn without(range: Range<u32>, taken: &Range<u32>) -> impl Iterator<Item = Range<u32>> + use<> {
    let before = range.start..range.end.min(taken.start);
    let after = range.start.max(taken.end)..range.end;
    [before, after].into_iter().filter(|range| !range.is_empty())
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    const RAM: u32 = 1 << 20;
    /// By default the stack has an eighth of RAM, and the guard one page.
    const STACK_START: u32 = 0xe_0000;
    const HEAP_END: u32 = 0xd_f000;

    fn size(bytes: u32) -> MemorySize {
        MemorySize::from_bytes(bytes.into()).unwrap()
    }

    fn segment(start: u32, end: u64, writable: bool) -> Segment {
        Segment { start, end, writable }
    }

    fn protecting(segments: &[Segment]) -> MemoryMap {
        MemoryMap::from(size(RAM)).protecting(segments).unwrap()
    }

    #[test]
    fn without_a_program_all_of_ram_is_one_block() {
        let map = MemoryMap::from(size(RAM));
        assert_eq!(map.parts(), [Part { range: 0..RAM, writable: true }]);
        assert_eq!(map.layout(), Layout { heap_end: HEAP_END, stack_start: STACK_START, ram_end: RAM });
        assert_eq!(map.refuses(Access::Write, 0, RAM), None);
        assert_eq!(map.refuses(Access::Read, 0, RAM + 1), Some(RAM));
        assert_eq!(map.refuses(Access::Read, u32::MAX, 4), Some(u32::MAX));
        // The smallest machines.
        for pages in 1..4 {
            let map = MemoryMap::from(size(pages * PAGE_SIZE));
            assert_eq!(map.parts().len(), 1);
            assert_eq!(map.layout().heap_end, pages.saturating_sub(2) * PAGE_SIZE);
        }
    }

    #[test]
    fn a_program_and_the_guard_divide_ram() {
        let map = protecting(&[
            segment(0, 0x1801, false),
            segment(0x1804, 0x2100, false),
            segment(0x3000, 0x3004, true),
            segment(0x5000, 0x5001, false),
        ]);
        let part = |range, writable| Part { range, writable };
        assert_eq!(
            map.parts(),
            [
                part(0..0x3000, false),
                part(0x3000..0x5000, true),
                part(0x5000..0x6000, false),
                part(0x6000..HEAP_END, true),
                part(STACK_START..RAM, true),
            ]
        );
        assert_eq!(map.end_of_run(Access::Write, 0x2fff), 0x2fff);
        assert_eq!(map.end_of_run(Access::Write, 0x3000), 0x5000);
        assert_eq!(map.end_of_run(Access::Write, 0x6000), HEAP_END);
        assert_eq!(map.end_of_run(Access::Write, STACK_START), RAM);
        assert_eq!(map.end_of_run(Access::Read, 0), HEAP_END);
        assert_eq!(map.end_of_run(Access::Execute, STACK_START - 1), STACK_START - 1);
        assert_eq!(map.refuses(Access::Write, 0x4ffe, 2), None);
        assert_eq!(map.refuses(Access::Write, 0x4ffe, 4), Some(0x5000));
    }

    #[test]
    fn a_page_with_something_to_write_in_it_can_be_written() {
        let map = protecting(&[
            segment(0, 0x4010, false),
            segment(0x3010, 0x3010, true),
            segment(0x1010, 0x2010, true),
            segment(0x4010, 0x4020, true),
        ]);
        assert_eq!(map.read_only, [0..0x1000, 0x3000..0x4000]);
    }

    #[test]
    fn a_map_can_be_made_again_from_its_fields() {
        let segments =
            [segment(0, 0x1801, false), segment(0x3000, 0x3004, true), segment(0x5000, 0x5001, false)];
        let tiny = |pages| MemoryMap::from(size(pages * PAGE_SIZE));
        for map in [protecting(&segments), protecting(&[]), tiny(1), tiny(2), MemoryMap::from(size(RAM))] {
            let MemoryMap { ram, layout, read_only, has_guard } = map.clone();
            assert_eq!(MemoryMap::from_fields(ram, layout.stack_start, read_only, has_guard), Some(map));
        }
        let made = |stack_start, read_only: &[Range<u32>], has_guard| {
            MemoryMap::from_fields(size(RAM), stack_start, read_only.to_vec(), has_guard).is_some()
        };
        let below_guard = HEAP_END - PAGE_SIZE..HEAP_END;
        assert!(made(STACK_START, &[0..0x1000, below_guard], true));
        for stack_start in [RAM, RAM + PAGE_SIZE, STACK_START + 1, u32::MAX] {
            assert!(!made(stack_start, &[], true), "{stack_start:#x}");
        }
        let page = 0..0x1000;
        for read_only in [
            &[0..0xfff, 0x2000..0x3000][..],
            &[Range { start: 1, end: 0x1000 }],
            &[Range { start: 0x1000, end: 0x1000 }],
            &[Range { start: 0x2000, end: 0x1000 }],
            &[page.clone(), 0x1000..0x2000],
            &[0x2000..0x3000, page.clone()],
            &[0..0x3000, 0x1000..0x4000],
            &[Range { start: HEAP_END - PAGE_SIZE, end: STACK_START }],
        ] {
            assert!(!made(STACK_START, read_only, true), "{read_only:x?}");
        }
        assert!(!made(STACK_START, &[page], false));
    }

    #[test]
    fn accesses_that_are_refused_have_names() {
        let map = protecting(&[segment(0, 0x10, false)]);
        let overflow = FaultKind::StackOverflow { stack_size: RAM - STACK_START };
        let guard = |access, address| FaultKind::Guard { access, address, start: HEAP_END, end: STACK_START };
        let outside = FaultKind::OutsideRam { access: Access::Write, address: RAM, ram_size: RAM };
        let (in_guard, on_stack) = (STACK_START - 4, STACK_START + MOST_PUSHED);
        assert_eq!(map.fault(Access::Write, RAM, in_guard), outside);
        assert_eq!(map.fault(Access::Write, 0xc, in_guard), FaultKind::ReadOnly { address: 0xc });
        for esp in [STACK_START, in_guard, HEAP_END, on_stack - 1] {
            assert_eq!(map.fault(Access::Write, in_guard, esp), overflow, "{esp:#x}");
            assert_eq!(map.fault(Access::Read, in_guard, esp), overflow, "{esp:#x}");
            assert_eq!(map.fault(Access::Execute, in_guard, esp), guard(Access::Execute, in_guard));
        }
        for esp in [HEAP_END - 1, on_stack] {
            assert_eq!(map.fault(Access::Write, in_guard, esp), guard(Access::Write, in_guard), "{esp:#x}");
        }
        assert_eq!(map.frame_fault(STACK_START + 16, 16), None);
        assert_eq!(map.frame_fault(STACK_START + 12, 16), Some(overflow));
        assert_eq!(map.frame_fault(HEAP_END + 1, 16), Some(overflow));
        assert_eq!(map.frame_fault(HEAP_END, 16), None);
        for esp in [0, 15, 0x100, RAM + 1, u32::MAX] {
            assert_eq!(map.frame_fault(esp, 16), Some(FaultKind::TripleFault), "{esp:#x}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_advice() {
        let stack = |stack| MemoryMap::with_stack(size(RAM), size(stack));
        // One page for the guard, one for the program.
        assert_eq!(stack(RAM - 2 * PAGE_SIZE).unwrap().layout().heap_end, PAGE_SIZE);
        for bytes in [RAM - PAGE_SIZE, RAM, 2 * RAM] {
            assert!(matches!(stack(bytes), Err(MemoryMapError::StackTooLarge { .. })), "{bytes:#x}");
        }
        assert_eq!(
            stack(RAM).unwrap_err().to_string(),
            "a stack of 1M and the guard below it leave nothing of the machine's 1M of RAM: give it a \
             smaller stack or more RAM"
        );
        let map = MemoryMap::from(size(RAM));
        assert!(map.clone().protecting(&[segment(0, HEAP_END.into(), true)]).is_ok());
        assert_eq!(
            map.protecting(&[segment(0, u64::from(HEAP_END) + 1, true)]).unwrap_err().to_string(),
            "the program takes 893 KiB of RAM, and below its stack there are 892 KiB of the machine's 1M: give it \
             more RAM or a smaller stack"
        );
    }
}
