//! Removes stale debug information of functions that the linker discarded.
//!
//! Linkers discard functions that are never called and leave their debug information, with an address that stands for
//! no address. Most linkers use 0, which is a valid address here: the first functions of a program would get the
//! names and lines of discarded ones. Guests are linked with [`at_zero::NOWHERE`], which debuggers do not know: gdb 13 sets
//! breakpoints in discarded functions, where they never hit. This module empties the ranges of discarded functions in
//! .debug_info, and their rows in .debug_line, in place. DWARF 4 and 5, sections 7.5 (units and forms), 6.2 (line
//! programs) and 2.17.3 (range lists).
//!
//! At most one function really begins at 0. Of the entries that begin at 0, the one whose length matches the symbol
//! table is kept. If several match, none is kept.

mod at_zero;
mod cursor;
mod info;
mod lines;

use std::ops::Range;

use crate::Elf;
use at_zero::AtZero;
pub use at_zero::NOWHERE;
use info::{Sections, discarded_ranges};
use lines::remove_rows;

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

/// Fills these ranges with zeros.
fn empty(bytes: &mut [u8], ranges: Vec<Range<usize>>) {
    for range in ranges {
        bytes[range].fill(0);
    }
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
