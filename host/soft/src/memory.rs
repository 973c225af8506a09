//! RAM, with a set of marks for each line: has decoded code, allows no stores, is unchanged since the snapshot.
//!
//! Addresses are linear. They are also physical, since there is no paging. Segments are applied before
//! ([`segment`](super::segment)).

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use flatland_contract::memory::PAGE_SIZE;

use super::int::Int;
use flatland_x86::{Access, MemoryMap, Ram, RamCopy};

/// A line of RAM is 2^6 bytes. A store checks the marks of its lines.
const LINE_SHIFT: u32 = 6;

/// A decoded block has bytes in the line.
const HAS_CODE: u8 = 1 << 0;
/// The line is read-only, or in the guard.
const NO_STORES: u8 = 1 << 1;
/// The line is unchanged since the last snapshot.
const UNTOUCHED: u8 = 1 << 2;

/// RAM from address 0.
#[derive(Debug)]
pub struct Memory {
    ram: Ram,
    map: MemoryMap,
    /// The marks of each line, and of one more line for stores across the end.
    lines: Box<[u8]>,
    /// The stores to lines with code since [`Self::take_changes`]: first byte and number of bytes.
    changes: Vec<(u32, u32)>,
    /// The snapshot that was taken or restored last, if there is one.
    base: Option<RamCopy>,
    /// The lines that have been written since.
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
        Self { ram, map, lines, changes: Vec::new(), base: None, touched: Vec::new() }
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
    pub fn read<T: Int>(&self, address: u32) -> Option<T> {
        if self.map.refuses(Access::Read, address, T::BYTES).is_some() {
            return None;
        }
        self.read_ram(address)
    }

    /// Reads a value, if all of it is in RAM or its guard.
    #[inline(always)]
    pub fn read_ram<T: Int>(&self, address: u32) -> Option<T> {
        let start = address as usize;
        T::from_bytes(self.ram.get(start..start.wrapping_add(T::BYTES as usize))?)
    }

    /// Writes a value, if all of it can be written.
    #[inline(always)]
    pub fn write<T: Int>(&mut self, address: u32, value: T) -> Option<()> {
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
    fn write_marked<T: Int>(&mut self, address: u32, value: T, marks: u8) -> Option<()> {
        if marks & NO_STORES != 0 {
            return None;
        }
        value.to_bytes(&mut self.ram[address as usize..][..T::BYTES as usize]);
        self.note_changes(address, T::BYTES);
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
        self.note_changes(to, len);
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
        self.note_changes(address, len);
    }

    fn note_changes(&mut self, address: u32, len: u32) {
        if len == 0 {
            return;
        }
        let mut has_code = false;
        for line in lines(address, len) {
            let marks = &mut self.lines[line as usize];
            has_code |= *marks & HAS_CODE != 0;
            if *marks & UNTOUCHED != 0 {
                *marks &= !UNTOUCHED;
                self.touched.push(line);
            }
        }
        if has_code {
            self.changes.push((address, len));
        }
    }

    /// A copy of RAM. From now on, written lines are recorded.
    pub fn save(&mut self) -> RamCopy {
        let copy = RamCopy::of(&self.ram);
        self.compare_with(&copy);
        copy
    }

    /// Restores RAM. If this copy was the last to be made or restored, only written lines are copied.
    pub fn restore(&mut self, copy: &RamCopy) {
        match &self.base {
            Some(base) if base.is(copy) => {
                for line in core::mem::take(&mut self.touched) {
                    self.restore_line(line, copy);
                }
            }
            _ => {
                // Most pages of a large RAM are zeros on both sides. Comparing them does not make the system allocate them.
                const LINES: u32 = PAGE_SIZE >> LINE_SHIFT;
                for number in 0..self.size() / PAGE_SIZE {
                    let start = (number * PAGE_SIZE) as usize;
                    if self.ram[start..][..PAGE_SIZE as usize] != *copy.page(number) {
                        (number * LINES..(number + 1) * LINES).for_each(|line| self.restore_line(line, copy));
                    }
                }
                self.compare_with(copy);
            }
        }
    }

    /// Somebody else has written to RAM. The caller removes all decoded code.
    pub fn was_written(&mut self) {
        self.base = None;
        self.touched.clear();
        self.lines.iter_mut().for_each(|marks| *marks &= !UNTOUCHED);
    }

    fn restore_line(&mut self, line: u32, copy: &RamCopy) {
        const SIZE: usize = 1 << LINE_SHIFT;
        let start = line << LINE_SHIFT;
        let now = &mut self.ram[start as usize..][..SIZE];
        let before = &copy.page(start / PAGE_SIZE)[(start % PAGE_SIZE) as usize..][..SIZE];
        if now != before {
            now.copy_from_slice(before);
            if self.lines[line as usize] & HAS_CODE != 0 {
                self.changes.push((start, SIZE as u32));
            }
        }
        self.lines[line as usize] |= UNTOUCHED;
    }

    fn compare_with(&mut self, copy: &RamCopy) {
        self.base = Some(copy.clone());
        self.touched.clear();
        self.lines.iter_mut().for_each(|marks| *marks |= UNTOUCHED);
    }

    /// Whether decoded code may have changed since [`Self::take_changes`].
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
}
