//! RAM, with a set of marks for each line: has decoded code, allows no stores, is unchanged since the snapshot, is watched,
//! has entries of page tables.
//!
//! Addresses are physical. Segments and page tables are applied before ([`segment`](super::segment), `cpu::access`).

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use flatland_contract::memory::PAGE_SIZE;

use super::int::{Bytes, Int};
use super::stop::Watch;
use super::tlb::Tlb;
use flatland_x86::{Access, MemoryMap, Page, Ram, RamCopy, WatchKind};

/// A line of RAM is 2^6 bytes. A store checks the marks of its lines.
pub const LINE_SHIFT: u32 = 6;
/// The lines of a page.
const PAGE_LINES: u32 = PAGE_SIZE >> LINE_SHIFT;

/// A decoded block has bytes in the line.
const HAS_CODE: u8 = 1 << 0;
/// The line is read-only, or in the guard.
const NO_STORES: u8 = 1 << 1;
/// The line is unchanged since the last snapshot.
const UNTOUCHED: u8 = 1 << 2;
/// Stores to a part of the line are watched.
const WATCHED: u8 = 1 << 3;
/// The translation cache has something from a page table's entry in the line.
const HAS_TABLE: u8 = 1 << 4;

/// RAM from address 0.
#[derive(Debug)]
pub struct Memory {
    ram: Ram,
    map: MemoryMap,
    /// The marks of each line, and of one more line for stores across the end.
    lines: Box<[u8]>,
    /// The stores to lines with code, to page tables and to watched memory, since [`Self::take_changes`]: first byte and
    /// number of bytes.
    changes: Vec<(u32, u32)>,
    /// The watchpoints. Stores are compared with them here; loads by the caller.
    pub watch: Watch,
    /// What is known of the page tables.
    pub tlb: Tlb,
    /// The snapshot that was taken or restored last, if there is one.
    base: Option<RamCopy>,
    /// The lines that have been written since: all whose mark [`UNTOUCHED`] is gone. Empty without a base.
    touched: Vec<u32>,
}

impl Memory {
    /// RAM with this map.
    pub fn new(map: MemoryMap, ram: Ram) -> Self {
        let size = map.ram().bytes();
        assert_eq!(ram.len(), size as usize, "the map is of this RAM");
        let guard = map.guard();
        let mut lines = vec![0; (size >> LINE_SHIFT) as usize + 1].into_boxed_slice();
        for range in map.read_only().iter().chain([&guard]) {
            lines[(range.start >> LINE_SHIFT) as usize..(range.end >> LINE_SHIFT) as usize].fill(NO_STORES);
        }
        Self {
            ram,
            map,
            lines,
            changes: Vec::new(),
            watch: Watch::default(),
            tlb: Tlb::default(),
            base: None,
            touched: Vec::new(),
        }
    }

    /// The first byte of RAM and the mark of its first line.
    #[cfg(all(feature = "translate", unix, target_arch = "x86_64"))]
    pub fn parts(&mut self) -> (*mut u8, *const u8) {
        (self.ram.as_mut_ptr(), self.lines.as_ptr())
    }

    /// The memory map.
    pub fn map(&self) -> &MemoryMap {
        &self.map
    }

    /// The size in bytes, which is also the first address outside.
    pub fn size(&self) -> u32 {
        self.ram.len() as u32
    }

    /// Reads a value, if all of it can be read.
    pub fn read<T: Bytes>(&self, address: u32) -> Option<T> {
        if self.map.refuses(Access::Read, address, T::BYTES).is_some() {
            return None;
        }
        self.read_ram(address)
    }

    /// Reads a value, if all of it is in RAM or its guard.
    #[inline(always)]
    pub fn read_ram<T: Bytes>(&self, address: u32) -> Option<T> {
        let start = address as usize;
        T::from_bytes(self.ram.get(start..start.wrapping_add(T::BYTES as usize))?)
    }

    /// Writes a value, if all of it can be written.
    #[inline(always)]
    pub fn write<T: Bytes>(&mut self, address: u32, value: T) -> Option<()> {
        let start = address as usize;
        let bytes = self.ram.get_mut(start..start.wrapping_add(T::BYTES as usize))?;
        let line = |address: u32| self.lines.get((address >> LINE_SHIFT) as usize).copied().unwrap_or(0);
        let marks = line(address) | line(address + (T::BYTES - 1));
        if marks != 0 {
            return self.write_marked(address, value, marks);
        }
        value.to_bytes(bytes);
        Some(())
    }

    /// Writes to lines with marks.
    #[cold]
    #[inline(never)]
    fn write_marked<T: Bytes>(&mut self, address: u32, value: T, marks: u8) -> Option<()> {
        if marks & NO_STORES != 0 {
            return None;
        }
        value.to_bytes(&mut self.ram[address as usize..][..T::BYTES as usize]);
        self.note_store(address, T::BYTES);
        Some(())
    }

    /// The bytes from `address` on that can be executed, at most `len`.
    pub fn code(&self, address: u32, len: u32) -> &[u8] {
        let end = self.map.end_of_run(Access::Execute, address);
        self.bytes(address, len.min(end - address))
    }

    /// The bytes from `address` on that are in RAM or its guard, at most `len`.
    pub fn bytes(&self, address: u32, len: u32) -> &[u8] {
        let start = (address as usize).min(self.ram.len());
        let end = start + (len as usize).min(self.ram.len() - start);
        &self.ram[start..end]
    }

    /// Stores bytes for the guest. All of them must be writable.
    pub fn store_bytes(&mut self, address: u32, bytes: &[u8]) {
        self.ram[address as usize..][..bytes.len()].copy_from_slice(bytes);
        self.note_store(address, bytes.len() as u32);
    }

    /// Copies as many of `bytes` to RAM as fit, for the host, and returns their number.
    pub fn write_bytes(&mut self, address: u32, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.size().saturating_sub(address) as usize);
        if len > 0 {
            self.ram[address as usize..][..len].copy_from_slice(&bytes[..len]);
            self.note_changes(address, len as u32);
        }
        len
    }

    /// Copies `len` bytes inside RAM, as `movsb` with DF = 0 does it: where the destination overlaps the source from
    /// above, what was just written is read again. Both ranges must be in memory, and the destination must be
    /// writable.
    pub fn copy_forward(&mut self, from: u32, to: u32, len: u32) {
        let (source, destination, size) = (from as usize, to as usize, len as usize);
        if destination <= source || destination >= source + size {
            self.ram.copy_within(source..source + size, destination);
        } else {
            for index in 0..size {
                self.ram[destination + index] = self.ram[source + index];
            }
        }
        self.note_store(to, len);
    }

    /// Fills `count` elements from `address` on with one value. All of them must be writable.
    pub fn fill<T: Int>(&mut self, address: u32, count: u32, value: T) {
        let len = count * T::BYTES;
        let range = &mut self.ram[address as usize..][..len as usize];
        if T::BYTES == 1 {
            range.fill(value.zero_extend() as u8);
        } else {
            range.chunks_exact_mut(T::BYTES as usize).for_each(|element| value.to_bytes(element));
        }
        self.note_store(address, len);
    }

    /// The guest has stored here. If that is watched, or changes a page table, the block ends after the instruction as if
    /// it had changed code.
    fn note_store(&mut self, address: u32, len: u32) {
        let marks = self.note_changes(address, len);
        let is_watched = marks & WATCHED != 0 && self.watch.access(address, len, Access::Write);
        if (is_watched || marks & HAS_TABLE != 0) && marks & HAS_CODE == 0 {
            self.changes.push((address, len));
        }
    }

    /// The translation cache has something from the page table's entry at this address.
    pub fn mark_table(&mut self, entry: u32) {
        self.lines[(entry >> LINE_SHIFT) as usize] |= HAS_TABLE;
    }

    /// Sets flags of a page table's entry that say how it was used. That changes no translation.
    pub fn set_table_entry(&mut self, entry: u32, value: u32) {
        let line = (entry >> LINE_SHIFT) as usize;
        let mark = self.lines[line] & HAS_TABLE;
        self.lines[line] &= !HAS_TABLE;
        self.write_bytes(entry, &value.to_le_bytes());
        self.lines[line] |= mark;
    }

    /// Returns the marks of all lines there.
    fn note_changes(&mut self, address: u32, len: u32) -> u8 {
        if len == 0 {
            return 0;
        }
        let mut all = 0;
        for line in lines(address, len) {
            let marks = &mut self.lines[line as usize];
            all |= *marks;
            if *marks & UNTOUCHED != 0 {
                *marks &= !UNTOUCHED;
                self.touched.push(line);
            }
        }
        if all & HAS_CODE != 0 {
            self.changes.push((address, len));
        }
        if all & HAS_TABLE != 0 {
            lines(address, len).for_each(|line| self.lines[line as usize] &= !HAS_TABLE);
            self.tlb.table_changed();
        }
        all
    }

    /// Sets the watchpoints. Those for stores cost nothing but at stores near them.
    pub fn set_watch(&mut self, watch: Watch) {
        for (points, is_watched) in [(self.watch.points(), false), (watch.points(), true)] {
            for point in points.iter().filter(|point| point.kind != WatchKind::Read && point.len > 0) {
                let lines = lines(point.address, point.len);
                let end = self.lines.len().min(*lines.end() as usize + 1);
                for marks in self.lines.get_mut(*lines.start() as usize..end).unwrap_or_default() {
                    *marks = *marks & !WATCHED | if is_watched { WATCHED } else { 0 };
                }
            }
        }
        self.watch = watch;
    }

    /// A copy of RAM. From now on, written lines are recorded. If there was a copy before, only pages with written
    /// lines are looked at, and the others are shared with it.
    pub fn save(&mut self) -> RamCopy {
        let copy = match &self.base {
            Some(base) => {
                let (pages, _) = self.ram.as_chunks();
                let lines = &mut self.lines;
                base.with_pages(core::mem::take(&mut self.touched).into_iter().filter_map(|line| {
                    // Another line of the page was here, and has set the marks of all.
                    if lines[line as usize] & UNTOUCHED != 0 {
                        return None;
                    }
                    let number = line / PAGE_LINES;
                    let of_page = &mut lines[(number * PAGE_LINES) as usize..][..PAGE_LINES as usize];
                    of_page.iter_mut().for_each(|marks| *marks |= UNTOUCHED);
                    Some((number, &pages[number as usize]))
                }))
            }
            None => {
                self.record_stores();
                RamCopy::of(&self.ram)
            }
        };
        self.base = Some(copy.clone());
        copy
    }

    /// Restores RAM. If there was a copy before, only written lines are looked at, and the pages that the two copies
    /// do not share.
    pub fn restore(&mut self, copy: &RamCopy) {
        self.tlb.flush();
        match self.base.take() {
            Some(base) => {
                let touched = core::mem::take(&mut self.touched);
                for lines in touched.chunk_by(|line, next| line / PAGE_LINES == next / PAGE_LINES) {
                    let page = copy.page(lines[0] / PAGE_LINES);
                    lines.iter().for_each(|&line| self.restore_line(line, page));
                }
                if !base.is(copy) {
                    base.not_shared_with(copy).for_each(|number| self.restore_page(number, copy));
                }
            }
            None => {
                // Most pages of a large RAM are zeros on both sides. Comparing them does not make the system allocate them.
                for number in 0..self.size() / PAGE_SIZE {
                    let start = (number * PAGE_SIZE) as usize;
                    if self.ram[start..][..PAGE_SIZE as usize] != *copy.page(number) {
                        self.restore_page(number, copy);
                    }
                }
                self.record_stores();
            }
        }
        self.base = Some(copy.clone());
    }

    /// Somebody else has written to RAM. The caller removes all decoded code.
    pub fn was_written(&mut self) {
        self.tlb.flush();
        self.base = None;
        self.touched.clear();
        self.lines.iter_mut().for_each(|marks| *marks &= !UNTOUCHED);
    }

    fn restore_page(&mut self, number: u32, copy: &RamCopy) {
        let page = copy.page(number);
        (number * PAGE_LINES..(number + 1) * PAGE_LINES).for_each(|line| self.restore_line(line, page));
    }

    /// Makes a line what it is in this copy of its page.
    fn restore_line(&mut self, line: u32, page: &Page) {
        const SIZE: usize = 1 << LINE_SHIFT;
        let start = line << LINE_SHIFT;
        let now = &mut self.ram[start as usize..][..SIZE];
        let before = &page[(start % PAGE_SIZE) as usize..][..SIZE];
        if now != before {
            now.copy_from_slice(before);
            if self.lines[line as usize] & HAS_CODE != 0 {
                self.changes.push((start, SIZE as u32));
            }
        }
        self.lines[line as usize] |= UNTOUCHED;
    }

    /// From now on, records which lines are written.
    fn record_stores(&mut self) {
        self.lines.iter_mut().for_each(|marks| *marks |= UNTOUCHED);
    }

    /// Whether decoded code may have changed since [`Self::take_changes`], or a watched store was made.
    #[inline(always)]
    pub fn code_changed(&self) -> bool {
        !self.changes.is_empty()
    }

    /// The stores that may have changed decoded code.
    pub fn take_changes(&mut self) -> Vec<(u32, u32)> {
        core::mem::take(&mut self.changes)
    }

    /// Marks a line: whether it has decoded code.
    pub fn set_line_has_code(&mut self, line: u32, has_code: bool) {
        if let Some(entry) = self.lines.get_mut(line as usize) {
            *entry = *entry & !HAS_CODE | if has_code { HAS_CODE } else { 0 };
        }
    }
}

/// The numbers of the lines that a range of at least one byte touches.
pub fn lines(address: u32, len: u32) -> core::ops::RangeInclusive<u32> {
    address >> LINE_SHIFT..=address.saturating_add(len - 1) >> LINE_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use flatland_x86::{MemorySize, Segment};

    /// RAM that is one block.
    fn flat(size: u32) -> Memory {
        Memory::new(MemorySize::from_bytes(size.into()).unwrap().into(), Ram::zeroed(size as usize))
    }

    #[test]
    fn what_is_protected_is_refused_to_the_last_byte() {
        let map = MemoryMap::from(MemorySize::from_bytes(0x8000).unwrap());
        let program = Segment { start: 0x1000, end: 0x1fff, writable: false };
        // 0x6000 to 0x6fff is the guard.
        let mut memory = Memory::new(map.protecting(&[program]).unwrap(), Ram::zeroed(0x8000));
        memory.set_line_has_code(0x1000 >> LINE_SHIFT, true);
        memory.set_line_has_code(0x1000 >> LINE_SHIFT, false);
        for (address, can_be_read, can_be_written) in [
            (0xffc, true, true),
            (0xffd, true, false),
            (0x1000, true, false),
            (0x1fff, true, false),
            (0x2000, true, true),
            (0x5ffc, true, true),
            (0x5ffd, false, false),
            (0x6000, false, false),
            (0x6fff, false, false),
            (0x7000, true, true),
            (0x7ffc, true, true),
            (0x7ffd, false, false),
        ] {
            assert_eq!(memory.read::<u32>(address).is_some(), can_be_read, "{address:#x}");
            assert_eq!(memory.write::<u32>(address, 0).is_some(), can_be_written, "{address:#x}");
        }
        assert_eq!(memory.read::<u8>(0x5fff), Some(0));
        assert_eq!((memory.write(0x6fff, 1_u8), memory.write(0x7000, 1_u8)), (None, Some(())));
        assert_eq!((memory.code(0x5ffe, 15).len(), memory.code(0x6000, 15).len()), (2, 0));
        // The host may write everywhere.
        assert_eq!((memory.write_bytes(0x6ffe, &[7; 4]), memory.bytes(0x6ffe, 4)), (4, &[7; 4][..]));
        assert_eq!(memory.write_bytes(0x1000, &[7]), 1);
        assert_eq!(memory.read::<u8>(0x1000), Some(7));
    }

    #[test]
    fn nothing_is_done_across_the_end() {
        let mut memory = flat(PAGE_SIZE);
        assert_eq!(memory.write::<u32>(0xffd, 0x1234_5678), None);
        assert_eq!(memory.read::<u8>(0xffd), Some(0));
        assert_eq!(memory.write::<u32>(0xffc, 0x1234_5678), Some(()));
        assert_eq!(memory.read::<u16>(0xffe), Some(0x1234));
        assert_eq!(memory.read::<u16>(0xfff), None);
        assert_eq!(memory.read::<u32>(u32::MAX), None);
        assert_eq!(memory.bytes(0xffe, 15), [0x34, 0x12]);
        assert!(memory.bytes(u32::MAX, 15).is_empty());
        assert_eq!(memory.write_bytes(0xfff, &[1, 2]), 1);
        assert_eq!(memory.write_bytes(0x1000, &[1, 2]), 0);
    }

    #[test]
    fn stores_to_lines_with_code_are_noted() {
        let mut memory = flat(PAGE_SIZE);
        memory.set_line_has_code(1, true);
        memory.write::<u32>(0x3c, 1);
        memory.write::<u8>(0x80, 1);
        assert!(!memory.code_changed());
        memory.write::<u32>(0x3d, 1);
        memory.fill::<u16>(0, 0x800, 7);
        memory.copy_forward(0x200, 0, 0x40);
        assert_eq!(memory.take_changes(), [(0x3d, 4), (0, 0x1000)]);
    }

    #[test]
    fn an_overlapping_copy_repeats_its_start() {
        let mut memory = flat(PAGE_SIZE);
        memory.write_bytes(0, b"ab");
        memory.copy_forward(0, 2, 6);
        assert_eq!(memory.bytes(0, 8), b"abababab");
        memory.copy_forward(1, 0, 4);
        assert_eq!(memory.bytes(0, 8), b"babaabab");
    }

    /// All of RAM.
    fn all(memory: &Memory) -> &[u8] {
        memory.bytes(0, memory.size())
    }

    #[test]
    fn copies_in_any_order_are_what_ram_was() {
        // More pages than a chunk of a copy has.
        const PAGES: u32 = 70;
        const SIZE: u32 = PAGES * PAGE_SIZE;
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |end: u32| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 32) as u32 % end
        };
        let mut memory = flat(SIZE);
        let mut copies = Vec::new();
        for _ in 0..2000 {
            match below(8) {
                0 => {
                    let base = memory.base.clone();
                    let copy = memory.save();
                    assert!(copy == RamCopy::of(all(&memory)));
                    if let Some(base) = base {
                        let is_other = |number: &u32| copy.page(*number) != base.page(*number);
                        let not_shared = copy.not_shared_with(&base).count();
                        assert_eq!(
                            not_shared,
                            (0..PAGES).filter(is_other).count(),
                            "pages that are the same are shared"
                        );
                    }
                    copies.push((copy, all(&memory).to_vec()));
                    if copies.len() > 20 {
                        copies.swap_remove(below(20) as usize);
                    }
                }
                1 | 2 if !copies.is_empty() => {
                    let (copy, bytes) = &copies[below(copies.len() as u32) as usize];
                    memory.restore(copy);
                    assert!(all(&memory) == bytes);
                }
                3 if below(10) == 0 => {
                    memory.ram[below(SIZE) as usize] ^= 0x55;
                    memory.was_written();
                }
                3 => memory.fill(below(PAGES) * PAGE_SIZE, PAGE_SIZE, 0_u8),
                4 => memory.copy_forward(below(SIZE / 2), SIZE / 2 + below(SIZE / 4), below(3 * PAGE_SIZE)),
                5 => assert!(memory.write_bytes(below(SIZE), &[below(256) as u8; 100]) > 0),
                // Also across lines and pages, and what is there already.
                6 => assert!(memory.write(below(SIZE - 4), below(2)).is_some()),
                _ => assert!(
                    memory.write(below(PAGES - 1) * PAGE_SIZE + PAGE_SIZE - 2, below(u32::MAX)).is_some()
                ),
            }
        }
        for (copy, bytes) in &copies {
            assert!(*copy == RamCopy::of(bytes), "later stores change no copy");
        }
    }

    #[test]
    fn only_what_was_written_and_what_differs_is_looked_at() {
        let mut memory = flat(8 * PAGE_SIZE);
        let first = memory.save();
        memory.write(PAGE_SIZE, 1_u8);
        let second = memory.save();
        // Nobody looks at this page, so this store stays unknown.
        let behind = 5 * PAGE_SIZE as usize;
        memory.ram[behind] = 7;
        memory.write(2 * PAGE_SIZE, 1_u8);
        let third = memory.save();
        assert_eq!(third.pages().map(|(number, _)| number).collect::<Vec<_>>(), [1, 2]);
        for copy in [&first, &third, &second, &first, &first] {
            memory.restore(copy);
            assert_eq!(memory.ram[behind], 7);
        }
        assert!(memory.save().is(&first), "nothing was written");
    }

    #[test]
    fn a_restore_of_another_copy_notes_the_code_that_it_changes() {
        let mut memory = flat(4 * PAGE_SIZE);
        let first = memory.save();
        memory.write(PAGE_SIZE + 0x40, 1_u8);
        let second = memory.save();
        memory.set_line_has_code((PAGE_SIZE + 0x40) >> LINE_SHIFT, true);
        memory.set_line_has_code((PAGE_SIZE + 0x80) >> LINE_SHIFT, true);
        for copy in [&first, &second] {
            memory.restore(copy);
            assert_eq!(memory.take_changes(), [(PAGE_SIZE + 0x40, 0x40)]);
        }
        memory.restore(&second);
        assert!(!memory.code_changed());
    }
}
