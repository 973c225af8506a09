//! Removes stale debug information of functions that the linker discarded.
//!
//! Linkers discard functions that are never called and leave their debug information, with an address that stands for
//! no address. Most linkers use 0, which is a valid address here: the first functions of a program would get the
//! names and lines of discarded ones. Guests are linked with [`NOWHERE`], which debuggers do not know: gdb 13 sets
//! breakpoints in discarded functions, where they never hit. This module empties the ranges of discarded functions in
//! .debug_info, and their rows in .debug_line, in place. DWARF 4 and 5, sections 7.5 (units and forms), 6.2 (line
//! programs) and 2.17.3 (range lists).
//!
//! At most one function really begins at 0. Of the entries that begin at 0, the one whose length matches the symbol
//! table is kept. If several match, none is kept.

use std::ops::Range;

use crate::Elf;

/// The address that the linker gives to discarded functions: `dead-reloc-in-nonalloc` in i686-bare.json.
const NOWHERE: u32 = 0xf000_0000;

/// Removes discarded functions from the debug information of this file. Data in an unknown form is left unchanged.
pub fn remove_dropped(file: &mut [u8]) {
    let Ok(elf) = Elf::parse(&*file) else { return };
    let [info, abbreviations, lines, addresses, ranges] =
        [".debug_info", ".debug_abbrev", ".debug_line", ".debug_addr", ".debug_rnglists"].map(|name| {
            // The range of a section in the file.
            let bytes = elf.section(name).ok().flatten()?;
            let start = bytes.as_ptr().addr() - file.as_ptr().addr();
            Some(start..start + bytes.len())
        });
    let at_zero = AtZero::of(&elf);
    if let (Some(info), Some(abbreviations)) = (info, abbreviations) {
        let sections = Sections {
            abbreviations: &file[abbreviations],
            addresses: addresses.map(|range| &file[range]).unwrap_or_default(),
            ranges: ranges.clone().map(|range| &file[range]).unwrap_or_default(),
        };
        let dropped = discarded_ranges(&file[info.clone()], &sections, &at_zero);
        empty(&mut file[info], dropped.lengths);
        empty(&mut file[ranges.unwrap_or_default()], dropped.lists);
    }
    if let Some(lines) = lines {
        remove_rows(&mut file[lines], &at_zero);
    }
}

/// The symbol table's information about address 0, and about the code that may begin there.
#[derive(Default)]
struct AtZero {
    /// The length of the function at 0: several if it has several names, none if it is unknown.
    functions: Vec<u32>,
    /// The ends of functions and of code sections, in order.
    ends: Vec<u32>,
    /// The start of the first function of known size.
    first: Option<u32>,
}

impl AtZero {
    fn of<'data, R: object::ReadRef<'data>>(elf: &Elf<'data, R>) -> Self {
        let symbols = elf.symbols().unwrap_or_default();
        let functions = symbols.iter().filter(|symbol| symbol.is_code && symbol.size > 0);
        let sections = elf.sections().unwrap_or_default();
        let code = sections.iter().filter(|section| section.is_code);
        let mut ends: Vec<_> = code.map(|section| section.start.saturating_add(section.size)).collect();
        ends.extend(functions.clone().map(|symbol| symbol.start.saturating_add(symbol.size)));
        ends.sort_unstable();
        let first = functions.clone().next().map(|symbol| symbol.start);
        let at_zero = functions.take_while(|symbol| symbol.start == 0);
        Self { functions: at_zero.map(|symbol| symbol.size).collect(), ends, first }
    }

    fn is_function(&self, len: u32) -> bool {
        self.functions.contains(&len)
    }

    /// Whether code of this length ends where a function of known size ends, as the code of an object file does.
    fn is_end(&self, len: u32) -> bool {
        self.ends.binary_search(&len).is_ok()
    }

    /// Whether code of this length may be assembly, which often has no symbol sizes: it ends before the first sized symbol.
    fn may_be_assembly(&self, len: u32) -> bool {
        self.functions.is_empty() && self.first.is_none_or(|first| len <= first)
    }

    /// Which of the items that begin at 0, with their lengths, were discarded: all but the one that meets the first
    /// criterion that any item meets. If several meet it, all were discarded.
    fn dropped<T>(&self, things: Vec<(u32, T)>, criteria: &[fn(&Self, u32) -> bool]) -> Vec<T> {
        let meeting = |is_met: &fn(&Self, u32) -> bool| -> Vec<usize> {
            things
                .iter()
                .enumerate()
                .filter(|(_, (len, _))| is_met(self, *len))
                .map(|(index, _)| index)
                .collect()
        };
        let first = criteria.iter().map(meeting).find(|met| !met.is_empty());
        let kept = first.filter(|met| met.len() == 1).map(|met| met[0]);
        let all = things.into_iter().enumerate();
        all.filter(|(index, _)| Some(*index) != kept).map(|(_, (_, thing))| thing).collect()
    }
}

/// Fills these ranges with zeros.
fn empty(bytes: &mut [u8], ranges: Vec<Range<usize>>) {
    for range in ranges {
        bytes[range].fill(0);
    }
}

/// A position in a section.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    fn number<const SIZE: usize>(&mut self) -> Option<u32> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(SIZE)?)?;
        self.at += SIZE;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// An unsigned LEB128; a signed one has the same length.
    fn leb128(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.number::<1>()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<()> {
        while self.number::<1>()? != 0 {}
        Some(())
    }

    /// Advances past a value of this form (DWARF 5, section 7.5.6).
    fn skip_form(&mut self, form: u64) -> Option<()> {
        match form {
            // flag_present, implicit_const
            0x19 | 0x21 => Some(()),
            // data1, ref1, flag, strx1, addrx1
            0x0b | 0x11 | 0x0c | 0x25 | 0x29 => self.skip(1),
            // data2, ref2, strx2, addrx2
            0x05 | 0x12 | 0x26 | 0x2a => self.skip(2),
            // strx3, addrx3
            0x27 | 0x2b => self.skip(3),
            // addr, data4, strp, ref_addr, ref4, sec_offset, ref_sup4, strp_sup, line_strp, strx4, addrx4
            0x01 | 0x06 | 0x0e | 0x10 | 0x13 | 0x17 | 0x1c | 0x1d | 0x1f | 0x28 | 0x2c => self.skip(4),
            // data8, ref8, ref_sig8, ref_sup8
            0x07 | 0x14 | 0x20 | 0x24 => self.skip(8),
            // data16
            0x1e => self.skip(16),
            0x08 => self.text(),
            // sdata, udata, ref_udata, strx, addrx, loclistx, rnglistx
            0x0d | 0x0f | 0x15 | 0x1a | 0x1b | 0x22 | 0x23 => self.leb128().map(drop),
            // block1, block2, block4, block and exprloc
            0x0a => self.number::<1>().and_then(|len| self.skip(len as usize)),
            0x03 => self.number::<2>().and_then(|len| self.skip(len as usize)),
            0x04 => self.number::<4>().and_then(|len| self.skip(len as usize)),
            0x09 | 0x18 => self.leb128().and_then(|len| self.skip(usize::try_from(len).ok()?)),
            _ => None,
        }
    }

    /// A constant or an address, whose form has a fixed size.
    fn fixed(&mut self, form: u64) -> Option<u32> {
        match form {
            0x0b => self.number::<1>(),
            0x05 => self.number::<2>(),
            0x01 | 0x06 | 0x17 => self.number::<4>(),
            _ => None,
        }
    }
}

/// The attributes of one kind of entry.
struct Abbreviation {
    tag: u64,
    /// The attributes and their forms.
    attributes: Vec<(u64, u64)>,
}

/// The abbreviations of a unit, by code. Compilers number the codes from 1.
fn abbreviations(bytes: &[u8], at: u32) -> Option<Vec<Abbreviation>> {
    const IMPLICIT_CONST: u64 = 0x21;
    let mut cursor = Cursor { bytes, at: at as usize };
    let mut all = Vec::new();
    loop {
        match cursor.leb128()? {
            0 => return Some(all),
            code if code == all.len() as u64 + 1 => {}
            _ => return None,
        }
        let tag = cursor.leb128()?;
        // Whether there are children.
        cursor.skip(1)?;
        let mut attributes = Vec::new();
        loop {
            match (cursor.leb128()?, cursor.leb128()?) {
                (0, 0) => break,
                attribute => attributes.push(attribute),
            }
            if let Some((_, IMPLICIT_CONST)) = attributes.last() {
                cursor.leb128()?;
            }
        }
        all.push(Abbreviation { tag, attributes });
    }
}

/// For each unit of a section, the offset after its length field and the offset of its end.
fn units(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut units = Vec::new();
    let mut cursor = Cursor { bytes, at: 0 };
    while let Some(len) = cursor.number::<4>() {
        let start = cursor.at;
        if cursor.skip(len as usize).is_none() {
            break;
        }
        units.push((start, cursor.at));
    }
    units
}

/// The sections that .debug_info refers to.
struct Sections<'a> {
    abbreviations: &'a [u8],
    addresses: &'a [u8],
    ranges: &'a [u8],
}

/// The offsets of the ranges of functions.
#[derive(Default)]
struct Ranges {
    /// Length fields in .debug_info.
    lengths: Vec<Range<usize>>,
    /// Lists in .debug_rnglists, each as its first byte.
    lists: Vec<Range<usize>>,
}

/// Finds the ranges of discarded functions.
fn discarded_ranges(info: &[u8], sections: &Sections, at_zero: &AtZero) -> Ranges {
    let mut dropped = Ranges::default();
    let mut from_zero = Vec::new();
    for (start, end) in units(info) {
        // Ranges found before an unknown form are still valid.
        let _ = find_ranges(&info[..end], start, sections, at_zero, &mut dropped, &mut from_zero);
    }
    dropped.lengths.extend(at_zero.dropped(from_zero, &[AtZero::is_function]));
    dropped
}

/// Finds the ranges of discarded functions in a unit, and the lengths of functions that begin at 0.
fn find_ranges(
    info: &[u8],
    start: usize,
    sections: &Sections,
    at_zero: &AtZero,
    dropped: &mut Ranges,
    from_zero: &mut Vec<(u32, Range<usize>)>,
) -> Option<()> {
    const LOW_PC: u64 = 0x11;
    const HIGH_PC: u64 = 0x12;
    const RANGES: u64 = 0x55;
    const ADDR_BASE: u64 = 0x73;
    const SUBPROGRAM: u64 = 0x2e;
    const ADDR: u64 = 0x01;
    const ADDRX: u64 = 0x1b;
    const SEC_OFFSET: u64 = 0x17;
    let mut cursor = Cursor { bytes: info, at: start };
    let version = cursor.number::<2>()?;
    let (abbreviations_at, address_size) = match version {
        4 => (cursor.number::<4>()?, cursor.number::<1>()?),
        5 => {
            const COMPILE: u32 = 1;
            const PARTIAL: u32 = 3;
            let (COMPILE | PARTIAL) = cursor.number::<1>()? else { return None };
            let address_size = cursor.number::<1>()?;
            (cursor.number::<4>()?, address_size)
        }
        _ => return None,
    };
    if address_size != 4 {
        return None;
    }
    let abbreviations = abbreviations(sections.abbreviations, abbreviations_at)?;
    let mut addr_base: Option<u64> = None;
    while cursor.at < info.len() {
        let code = usize::try_from(cursor.leb128()?).ok()?;
        // 0 ends a list of child entries.
        let Some(index) = code.checked_sub(1) else { continue };
        let abbreviation = abbreviations.get(index)?;
        let is_function = abbreviation.tag == SUBPROGRAM;
        let mut low_pc = None;
        for (attribute, form) in &abbreviation.attributes {
            let mut value = cursor;
            cursor.skip_form(*form)?;
            match (*attribute, *form) {
                (LOW_PC, ADDR) => low_pc = value.number::<4>(),
                (LOW_PC, ADDRX) => {
                    let at = value.leb128().and_then(|index| addr_base?.checked_add(index.checked_mul(4)?));
                    low_pc = at.and_then(|at| {
                        Cursor { bytes: sections.addresses, at: usize::try_from(at).ok()? }.number::<4>()
                    });
                }
                (ADDR_BASE, SEC_OFFSET) => addr_base = value.number::<4>().map(u64::from),
                (HIGH_PC, form) => {
                    let place = value.at..cursor.at;
                    match (low_pc, value.fixed(form)) {
                        (Some(NOWHERE), Some(_)) => dropped.lengths.push(place),
                        (Some(0), Some(len)) if is_function => from_zero.push((len, place)),
                        _ => {}
                    }
                }
                (RANGES, SEC_OFFSET) if is_function && version == 5 => {
                    let at = value.number::<4>()? as usize;
                    let pieces =
                        lengths_from_zero_in_list(Cursor { bytes: sections.ranges, at }).unwrap_or_default();
                    if !pieces.is_empty() && !pieces.iter().any(|len| at_zero.is_function(*len)) {
                        dropped.lists.push(at..at + 1);
                    }
                }
                _ => {}
            }
        }
    }
    Some(())
}

/// The lengths of the ranges in a list that begin at 0 (DWARF 5, section 2.17.3).
fn lengths_from_zero_in_list(mut list: Cursor) -> Option<Vec<u32>> {
    /// Compilers write a few entries. A list in a broken file may have no end.
    const MOST_ENTRIES: usize = 1000;
    let mut lengths = Vec::new();
    for _ in 0..MOST_ENTRIES {
        match list.number::<1>()? {
            // end_of_list
            0 => return Some(lengths),
            // offset_pair
            4 => {
                list.leb128()?;
                list.leb128()?;
            }
            // base_address
            5 => list.skip(4)?,
            // start_end
            6 => list.skip(8)?,
            // start_length
            7 => {
                let start = list.number::<4>()?;
                let len = list.leb128()?;
                if start == 0 {
                    lengths.push(u32::try_from(len).ok()?);
                }
            }
            _ => return None,
        }
    }
    None
}

/// A sequence of rows: the lines of contiguous code.
struct Sequence {
    /// The sequence's line program.
    program: Range<usize>,
    start: u32,
    end: u32,
}

/// Removes the rows of discarded functions.
fn remove_rows(lines: &mut [u8], at_zero: &AtZero) {
    let mut sequences = Vec::new();
    for (start, end) in units(lines) {
        let _ = find_sequences(&lines[..end], start, &mut sequences);
    }
    let from_zero: Vec<_> = sequences
        .iter()
        .filter(|sequence| sequence.start == 0)
        .map(|sequence| (sequence.end, sequence.program.clone()))
        .collect();
    let mut dropped: Vec<_> = sequences
        .into_iter()
        .filter(|sequence| sequence.start == NOWHERE)
        .map(|sequence| sequence.program)
        .collect();
    // The function at 0 has its own sequence, or is the first one in the sequence of an object file.
    dropped
        .extend(at_zero.dropped(from_zero, &[AtZero::is_function, AtZero::is_end, AtZero::may_be_assembly]));
    for program in dropped {
        // An opcode without effect on addresses and lines.
        const SET_BASIC_BLOCK: u8 = 7;
        lines[program].fill(SET_BASIC_BLOCK);
    }
}

/// Finds the sequences of a unit (DWARF 5, section 6.2).
fn find_sequences(lines: &[u8], start: usize, sequences: &mut Vec<Sequence>) -> Option<()> {
    const ADVANCE_PC: u32 = 2;
    const CONST_ADD_PC: u32 = 8;
    const FIXED_ADVANCE_PC: u32 = 9;
    const END_SEQUENCE: u32 = 1;
    const SET_ADDRESS: u32 = 2;
    let mut cursor = Cursor { bytes: lines, at: start };
    match cursor.number::<2>()? {
        4 => {}
        // Sizes of an address and of a segment selector.
        5 => cursor.skip(2)?,
        _ => return None,
    }
    let header_len = cursor.number::<4>()? as usize;
    let program = cursor.at.checked_add(header_len)?;
    let minimum_instruction_length = cursor.number::<1>()?;
    // maximum_operations_per_instruction, default_is_stmt, line_base
    cursor.skip(3)?;
    let line_range = cursor.number::<1>()?;
    let opcode_base = cursor.number::<1>()?;
    let operands = lines.get(cursor.at..cursor.at.checked_add((opcode_base as usize).checked_sub(1)?)?)?;
    cursor.at = program;
    // The start of the sequence, the first address that was set, and the current address.
    let (mut begin, mut first, mut address) = (program, None, 0_u32);
    let advance = |address: &mut u32, by: u32| {
        *address = address.wrapping_add(by.wrapping_mul(minimum_instruction_length));
    };
    while cursor.at < lines.len() {
        match cursor.number::<1>()? {
            0 => {
                let len = usize::try_from(cursor.leb128()?).ok()?;
                let mut extended = cursor;
                cursor.skip(len)?;
                match extended.number::<1>()? {
                    SET_ADDRESS => {
                        address = extended.number::<4>()?;
                        first = first.or(Some(address));
                    }
                    END_SEQUENCE => {
                        if let Some(start) = first {
                            sequences.push(Sequence { program: begin..cursor.at, start, end: address });
                        }
                        (begin, first, address) = (cursor.at, None, 0);
                    }
                    _ => {}
                }
            }
            ADVANCE_PC if opcode_base > ADVANCE_PC => advance(&mut address, cursor.leb128()? as u32),
            CONST_ADD_PC if opcode_base > CONST_ADD_PC => {
                advance(&mut address, (255 - opcode_base).checked_div(line_range)?);
            }
            FIXED_ADVANCE_PC if opcode_base > FIXED_ADVANCE_PC => {
                address = address.wrapping_add(cursor.number::<2>()?);
            }
            standard if standard < opcode_base => {
                for _ in 0..operands[standard as usize - 1] {
                    cursor.leb128()?;
                }
            }
            special => advance(&mut address, (special - opcode_base).checked_div(line_range)?),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit, preceded by its length.
    fn unit(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_le_bytes(), body].concat()
    }

    /// Abbreviation 1: low_pc addr, high_pc data4; 2: low_pc addr, udata; 3: nothing but a block.
    #[rustfmt::skip]
    const ABBREVIATIONS: &[u8] = &[
        1, 0x2e, 1, 0x11, 0x01, 0x12, 0x06, 0, 0,
        2, 0x0a, 0, 0x11, 0x01, 0x58, 0x0f, 0, 0,
        3, 0x34, 0, 0x02, 0x18, 0, 0,
        0,
    ];

    /// A function of 9 bytes begins at 0, and another one ends at 0x29.
    fn at_zero() -> AtZero {
        AtZero { functions: vec![9], ends: vec![9, 0x29], first: Some(0) }
    }

    fn remove_ranges(info: &mut [u8], abbreviations: &[u8]) {
        let sections = Sections { abbreviations, addresses: &[0; 8], ranges: &[] };
        let dropped = discarded_ranges(info, &sections, &at_zero());
        empty(info, dropped.lengths);
    }

    fn info(entries: &[u8]) -> Vec<u8> {
        unit(&[&[4, 0, 0, 0, 0, 0, 4], entries].concat())
    }

    #[test]
    fn discarded_ranges_become_empty_and_nothing_else_changes() {
        #[rustfmt::skip]
        let entries = |dead: u8| [
            1, 0, 0, 0, 0xf0, dead, 0, 0, 0,
            2, 0, 0, 0, 0xf0, 0x87, 0x01,
            3, 5, 0, 0, 0, 0xf0, 9,
            1, 0x10, 0, 0, 0, 9, 0, 0, 0,
            0,
            1, 0, 0, 0, 0xf0, dead, 0, 0, 0,
            0,
        ];
        let mut both = [info(&entries(9)), info(&entries(7))].concat();
        remove_ranges(&mut both, ABBREVIATIONS);
        assert_eq!(both, [info(&entries(0)), info(&entries(0))].concat());
    }

    /// A line program with an opcode_base of 10.
    fn line_program(sequences: &[&[u8]]) -> Vec<u8> {
        let header = [&[1, 1, 1, 0xfb, 14, 10][..], &[0, 1, 1, 1, 1, 0, 0, 0, 1], &[0, 0]].concat();
        let len = (header.len() as u32).to_le_bytes();
        unit(&[&[4, 0][..], &len, &header, &sequences.concat()].concat())
    }

    #[test]
    fn discarded_rows_are_removed() {
        // copy, advance_pc, fixed_advance_pc, a special one
        let rows = [1, 2, 0x80, 0x01, 9, 0, 1, 0x20];
        let sequence =
            |address: u32| [&[5, 7][..], &[0, 5, 2], &address.to_le_bytes(), &rows, &[0, 1, 1]].concat();
        let (live, dead) = (sequence(0x1000), sequence(NOWHERE));
        let nothing = vec![7; dead.len()];
        let mut lines = [line_program(&[&live, &dead, &live]), line_program(&[&dead])].concat();
        remove_rows(&mut lines, &at_zero());
        assert_eq!(lines, [line_program(&[&live, &nothing, &live]), line_program(&[&nothing])].concat());
    }

    #[test]
    fn of_functions_at_0_the_one_in_the_symbol_table_stays() {
        let entries = |lens: [u8; 3]| {
            let function = |len| [1, 0, 0, 0, 0, len, 0, 0, 0];
            info(&[lens.map(function).concat(), vec![0]].concat())
        };
        for (before, after) in [([7, 9, 0x29], [0, 9, 0]), ([9, 9, 7], [0, 0, 0]), ([7, 7, 7], [0, 0, 0])] {
            let mut entries_before = entries(before);
            remove_ranges(&mut entries_before, ABBREVIATIONS);
            assert_eq!(entries_before, entries(after), "{before:?}");
        }
    }

    #[test]
    fn addresses_may_be_in_a_table() {
        // A unit with addr_base sec_offset; a function with low_pc addrx, high_pc data4.
        let abbreviations = &[1, 0x11, 1, 0x73, 0x17, 0, 0, 2, 0x2e, 0, 0x11, 0x1b, 0x12, 0x06, 0, 0, 0];
        let addresses = &[[0xff; 8], [0, 0, 0, 0, 0x10, 0, 0, 0]].concat();
        let entries = |lens: [u8; 3]| {
            let function = |index: u8, len: u8| [2, index, len, 0, 0, 0];
            let functions = [function(0, lens[0]), function(1, lens[1]), function(0, lens[2])].concat();
            unit(&[&[5, 0, 1, 4, 0, 0, 0, 0][..], &[1, 8, 0, 0, 0], &functions, &[0]].concat())
        };
        let sections = Sections { abbreviations, addresses, ranges: &[] };
        let mut info = entries([9, 7, 7]);
        let dropped = discarded_ranges(&info, &sections, &at_zero());
        empty(&mut info, dropped.lengths);
        assert_eq!(info, entries([9, 7, 0]));
    }

    #[test]
    fn of_rows_at_0_those_of_the_function_or_of_its_object_file_stay() {
        // set_address, advance_pc
        let sequence = |len: u8| [0, 5, 2, 0, 0, 0, 0, 2, len, 0, 1, 1];
        let check_at = |at_zero: &AtZero, lens: &[u8], kept: Option<u8>| {
            let all: Vec<_> = lens.iter().map(|len| sequence(*len)).collect();
            let all: Vec<&[u8]> = all.iter().map(|sequence| &sequence[..]).collect();
            let expected: Vec<_> =
                lens.iter().map(|len| if Some(*len) == kept { sequence(*len) } else { [7; 12] }).collect();
            let expected: Vec<&[u8]> = expected.iter().map(|sequence| &sequence[..]).collect();
            let mut lines = line_program(&all);
            remove_rows(&mut lines, at_zero);
            assert_eq!(lines, line_program(&expected), "{lens:?}");
        };
        let check = |lens: &[u8], kept| check_at(&at_zero(), lens, kept);
        check(&[7, 9, 0x29], Some(9));
        check(&[7, 0x29], Some(0x29));
        check(&[0x29], Some(0x29));
        check(&[7], None);
        check(&[9, 9, 0x29], None);
        check(&[0x29, 0x29], None);
        // The symbol table has no function at 0.
        let assembly = AtZero { functions: vec![], ends: vec![0x29], first: Some(0x10) };
        check_at(&assembly, &[0x11, 0xc, 0x28], Some(0xc));
        check_at(&assembly, &[0x10, 0xc], None);
        check_at(&assembly, &[0x29, 0xc], Some(0x29));
    }

    #[test]
    fn unknown_data_is_unchanged_and_does_not_panic() {
        let whole = info(&[1, 0, 0, 0, 0xf0, 9, 0, 0, 0, 0]);
        let lines = line_program(&[&[0, 5, 2, 0, 0, 0, 0xf0, 1, 0, 1, 1]]);
        for bytes in [&whole, &lines] {
            for len in 0..bytes.len() {
                let mut cut = bytes[..len].to_vec();
                remove_ranges(&mut cut, ABBREVIATIONS);
                remove_rows(&mut cut, &at_zero());
                assert_eq!(cut, bytes[..len]);
            }
            // With each byte corrupted: the result may differ, but nothing panics.
            for at in 0..bytes.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut corrupted = bytes.clone();
                    corrupted[at] = value;
                    remove_ranges(&mut corrupted, ABBREVIATIONS);
                    remove_rows(&mut corrupted, &at_zero());
                    assert_eq!(corrupted.len(), bytes.len());
                }
            }
        }
        for len in 0..ABBREVIATIONS.len() {
            remove_ranges(&mut whole.clone(), &ABBREVIATIONS[..len]);
        }
        remove_dropped(&mut []);
        remove_dropped(&mut [0x7f, b'E', b'L', b'F']);
    }
}
