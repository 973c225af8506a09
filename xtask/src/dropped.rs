//! What the debug information still says of functions that the linker has dropped.
//!
//! Whoever links at address 0 has this problem: linkers drop functions that nobody calls and leave their descriptions,
//! at an address that stands for nowhere. What debuggers take for nowhere is 0, which is a place here, or -1, which
//! gdb 13 does not recognize where addresses are 32 bits wide. So it sets breakpoints on the dropped copy of an inlined
//! function, and nobody ever comes there. This takes the ranges of dropped functions out of .debug_info, and their rows
//! out of .debug_line, in place. DWARF 4, section 7.5.4 (forms) and 6.2 (line programs).

use object::elf::FileHeader32;
use object::read::elf::{FileHeader, SectionHeader};
use object::{LittleEndian, pod};

/// Where the linker says that dropped functions are: `dead-reloc-in-nonalloc` in i686-bare.json.
const NOWHERE: u32 = 0xf000_0000;

/// Takes dropped functions out of the debug information of this file. What is not understood stays as it is: then
/// there is more in it than there is in the program, as with every linker.
pub fn remove(elf: &mut [u8]) {
    let [info, abbreviations, lines] =
        [".debug_info", ".debug_abbrev", ".debug_line"].map(|name| section(elf, name));
    if let (Some((info, len)), Some((at, size))) = (info, abbreviations) {
        let abbreviations = elf[at..at + size].to_vec();
        remove_ranges(&mut elf[info..info + len], &abbreviations);
    }
    if let Some((at, size)) = lines {
        remove_rows(&mut elf[at..at + size]);
    }
}

/// Offset and size of a section.
fn section(elf: &[u8], name: &str) -> Option<(usize, usize)> {
    let (header, _) = pod::from_bytes::<FileHeader32<LittleEndian>>(elf).ok()?;
    let sections = header.sections(LittleEndian, elf).ok()?;
    let (_, section) = sections.section_by_name(LittleEndian, name.as_bytes())?;
    let (at, size) = section.file_range(LittleEndian)?;
    let range = (usize::try_from(at).ok()?, usize::try_from(size).ok()?);
    elf.get(range.0..range.0.checked_add(range.1)?).map(|_| range)
}

/// A place in a section.
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

    /// Behind a value of this form (DWARF 4, section 7.5.4).
    fn skip_form(&mut self, form: u64) -> Option<()> {
        match form {
            // flag_present
            0x19 => Some(()),
            // data1, ref1, flag
            0x0b | 0x11 | 0x0c => self.skip(1),
            // data2, ref2
            0x05 | 0x12 => self.skip(2),
            // addr, data4, strp, ref_addr, ref4, sec_offset
            0x01 | 0x06 | 0x0e | 0x10 | 0x13 | 0x17 => self.skip(4),
            // data8, ref8, ref_sig8
            0x07 | 0x14 | 0x20 => self.skip(8),
            0x08 => self.text(),
            // sdata, udata, ref_udata
            0x0d | 0x0f | 0x15 => self.leb128().map(drop),
            // block1, block2, block4, block and exprloc
            0x0a => self.number::<1>().and_then(|len| self.skip(len as usize)),
            0x03 => self.number::<2>().and_then(|len| self.skip(len as usize)),
            0x04 => self.number::<4>().and_then(|len| self.skip(len as usize)),
            0x09 | 0x18 => self.leb128().and_then(|len| self.skip(usize::try_from(len).ok()?)),
            _ => None,
        }
    }
}

/// The attributes and forms of an abbreviation.
type Attributes = Vec<(u64, u64)>;

/// The abbreviations of a unit, by code: LLVM numbers them from 1 on.
fn abbreviations(bytes: &[u8], at: u32) -> Option<Vec<Attributes>> {
    let mut cursor = Cursor { bytes, at: at as usize };
    let mut all = Vec::new();
    loop {
        match cursor.leb128()? {
            0 => return Some(all),
            code if code == all.len() as u64 + 1 => {}
            _ => return None,
        }
        // Its tag, and whether there are children.
        cursor.leb128()?;
        cursor.skip(1)?;
        let mut attributes = Vec::new();
        loop {
            match (cursor.leb128()?, cursor.leb128()?) {
                (0, 0) => break,
                attribute => attributes.push(attribute),
            }
        }
        all.push(attributes);
    }
}

/// Where a unit of a section begins behind its length, and where it ends.
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

/// Makes the ranges of all that begins nowhere empty.
fn remove_ranges(info: &mut [u8], all_abbreviations: &[u8]) {
    let mut lengths = Vec::new();
    for (start, end) in units(info) {
        // What was found before something was not understood is right all the same.
        let _ = find_ranges(&info[..end], start, all_abbreviations, &mut lengths);
    }
    for at in lengths {
        info[at..at + 4].fill(0);
    }
}

/// Finds where the lengths of such ranges stand.
fn find_ranges(info: &[u8], start: usize, all_abbreviations: &[u8], lengths: &mut Vec<usize>) -> Option<()> {
    const LOW_PC: u64 = 0x11;
    const HIGH_PC: u64 = 0x12;
    const DATA4: u64 = 0x06;
    let mut cursor = Cursor { bytes: info, at: start };
    let version = cursor.number::<2>()?;
    let abbreviations = abbreviations(all_abbreviations, cursor.number::<4>()?)?;
    let address_size = cursor.number::<1>()?;
    if (version, address_size) != (4, 4) {
        return None;
    }
    while cursor.at < info.len() {
        let code = usize::try_from(cursor.leb128()?).ok()?;
        // 0 ends the children of an entry.
        let Some(index) = code.checked_sub(1) else { continue };
        let mut is_nowhere = false;
        for (attribute, form) in abbreviations.get(index)? {
            let at = cursor.at;
            cursor.skip_form(*form)?;
            match (*attribute, *form) {
                (LOW_PC, _) => is_nowhere = Cursor { bytes: info, at }.number::<4>()? == NOWHERE,
                (HIGH_PC, DATA4) if is_nowhere => lengths.push(at),
                _ => {}
            }
        }
    }
    Some(())
}

/// Takes out the rows of all sequences that begin nowhere.
fn remove_rows(lines: &mut [u8]) {
    let mut sequences = Vec::new();
    for (start, end) in units(lines) {
        let _ = find_sequences(&lines[..end], start, &mut sequences);
    }
    for (start, end) in sequences {
        // An operation that does nothing.
        const SET_BASIC_BLOCK: u8 = 7;
        lines[start..end].fill(SET_BASIC_BLOCK);
    }
}

/// Finds where the programs of such sequences begin and end.
fn find_sequences(lines: &[u8], start: usize, sequences: &mut Vec<(usize, usize)>) -> Option<()> {
    const FIXED_ADVANCE_PC: u32 = 9;
    const END_SEQUENCE: u32 = 1;
    const SET_ADDRESS: u32 = 2;
    let mut cursor = Cursor { bytes: lines, at: start };
    if cursor.number::<2>()? != 4 {
        return None;
    }
    let header_len = cursor.number::<4>()? as usize;
    let program = cursor.at.checked_add(header_len)?;
    // minimum_instruction_length, maximum_operations_per_instruction, default_is_stmt, line_base, line_range
    cursor.skip(5)?;
    let opcode_base = cursor.number::<1>()?;
    let operands = lines.get(cursor.at..cursor.at.checked_add((opcode_base as usize).checked_sub(1)?)?)?;
    cursor.at = program;
    let mut sequence = (program, false);
    while cursor.at < lines.len() {
        match cursor.number::<1>()? {
            0 => {
                let len = usize::try_from(cursor.leb128()?).ok()?;
                let mut extended = cursor;
                cursor.skip(len)?;
                match extended.number::<1>()? {
                    SET_ADDRESS => sequence.1 |= extended.number::<4>()? == NOWHERE,
                    END_SEQUENCE => {
                        if sequence.1 {
                            sequences.push((sequence.0, cursor.at));
                        }
                        sequence = (cursor.at, false);
                    }
                    _ => {}
                }
            }
            FIXED_ADVANCE_PC => cursor.skip(2)?,
            standard if standard < opcode_base => {
                for _ in 0..operands[standard as usize - 1] {
                    cursor.leb128()?;
                }
            }
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit with its length before it.
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

    fn info(entries: &[u8]) -> Vec<u8> {
        unit(&[&[4, 0, 0, 0, 0, 0, 4], entries].concat())
    }

    #[test]
    fn ranges_that_begin_nowhere_become_empty_and_nothing_else_changes() {
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
    fn rows_that_begin_nowhere_become_nothing() {
        // copy, advance_pc, fixed_advance_pc, a special one
        let rows = [1, 2, 0x80, 0x01, 9, 0, 1, 0x20];
        let sequence =
            |address: u32| [&[5, 7][..], &[0, 5, 2], &address.to_le_bytes(), &rows, &[0, 1, 1]].concat();
        let (live, dead) = (sequence(0x1000), sequence(NOWHERE));
        let nothing = vec![7; dead.len()];
        let mut lines = [line_program(&[&live, &dead, &live]), line_program(&[&dead])].concat();
        remove_rows(&mut lines);
        assert_eq!(lines, [line_program(&[&live, &nothing, &live]), line_program(&[&nothing])].concat());
    }

    #[test]
    fn what_is_not_understood_stays_as_it_is_and_is_no_panic() {
        let whole = info(&[1, 0, 0, 0, 0xf0, 9, 0, 0, 0, 0]);
        let lines = line_program(&[&[0, 5, 2, 0, 0, 0, 0xf0, 1, 0, 1, 1]]);
        for bytes in [&whole, &lines] {
            for len in 0..bytes.len() {
                let mut cut = bytes[..len].to_vec();
                remove_ranges(&mut cut, ABBREVIATIONS);
                remove_rows(&mut cut);
                assert_eq!(cut, bytes[..len]);
            }
            // Each byte spoiled: some change something, none panics.
            for at in 0..bytes.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut spoiled = bytes.clone();
                    spoiled[at] = value;
                    remove_ranges(&mut spoiled, ABBREVIATIONS);
                    remove_rows(&mut spoiled);
                    assert_eq!(spoiled.len(), bytes.len());
                }
            }
        }
        for len in 0..ABBREVIATIONS.len() {
            remove_ranges(&mut whole.clone(), &ABBREVIATIONS[..len]);
        }
        remove(&mut []);
        remove(&mut [0x7f, b'E', b'L', b'F']);
    }
}
