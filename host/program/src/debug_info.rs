//! The debug information of an ELF file, refused where it would take memory out of proportion to the file.
//!
//! Units may share tables: of abbreviations, of lines, of ranges. gimli and addr2line keep what they read of a table once
//! for each reference to it. So a crafted file of 64 KiB could take gigabytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use flatland_elf::{Elf, ElfError};
use gimli::{
    AbbreviationsCacheStrategy, Dwarf, EndianArcSlice, LittleEndian, Reader as _, Section as _, Unit,
    constants,
};

/// A section, or a part of it.
pub(crate) type Bytes = EndianArcSlice<LittleEndian>;

/// Reads the sections of debug information.
pub(crate) fn load<'a>(elf: &Elf<'a, &'a [u8]>) -> Result<Dwarf<Bytes>, ElfError> {
    let mut dwarf = Dwarf::load(|section| {
        let bytes = elf.section(section.name())?.unwrap_or_default();
        Ok::<_, ElfError>(EndianArcSlice::new(Arc::from(bytes), LittleEndian))
    })?;
    let refuse = |Shared(section)| ElfError::Broken(format!("{section} is read too many times over"));
    check_abbreviations(&dwarf).map_err(refuse)?;
    // Each is read once, however many units have it.
    dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::All);
    check_units(&dwarf).map_err(refuse)?;
    Ok(dwarf)
}

/// The section of a table that so many refer to that reading it each time takes too much memory.
#[derive(Debug, PartialEq, Eq)]
struct Shared(&'static str);

/// How many bytes of a section may be read in all, counted each time they are read.
struct Budget {
    section: &'static str,
    left: u64,
}

impl Budget {
    /// `dwz` lets some units share a table. A compiler gives each its own.
    const MOST_TIMES: u64 = 4;
    /// So much may be read of any section, in bytes.
    const LEAST: u64 = 4 << 20;

    fn new(section: &'static str, len: usize) -> Self {
        Self { section, left: (len as u64).saturating_mul(Self::MOST_TIMES).max(Self::LEAST) }
    }

    fn spend(&mut self, bytes: u64) -> Result<(), Shared> {
        self.left = self.left.checked_sub(bytes).ok_or(Shared(self.section))?;
        Ok(())
    }
}

/// Tables of abbreviations may overlap: each then is read from its own beginning to the common end.
fn check_abbreviations(dwarf: &Dwarf<Bytes>) -> Result<(), Shared> {
    let section = dwarf.debug_abbrev.reader();
    let mut budget = Budget::new(".debug_abbrev", section.len());
    let mut offsets = BTreeSet::new();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        offsets.insert(header.debug_abbrev_offset().0);
    }
    for offset in offsets {
        let mut rest = section.clone();
        if rest.skip(offset).is_ok() {
            let before = rest.len();
            // A table that breaks off is read up to there.
            let _ = skip_abbreviations(&mut rest);
            budget.spend((before - rest.len()) as u64)?;
        }
    }
    Ok(())
}

/// Goes to the end of a table of abbreviations (DWARF 5, section 7.5.3).
fn skip_abbreviations(table: &mut Bytes) -> gimli::Result<()> {
    while table.read_uleb128()? != 0 {
        let _tag = table.read_uleb128()?;
        let _has_children = table.read_u8()?;
        loop {
            let (name, form) = (table.read_uleb128()?, table.read_uleb128()?);
            if form == u64::from(constants::DW_FORM_implicit_const.0) {
                table.skip_leb128()?;
            }
            if (name, form) == (0, 0) {
                break;
            }
        }
    }
    Ok(())
}

fn check_units(dwarf: &Dwarf<Bytes>) -> Result<(), Shared> {
    /// What a file's or a directory's entry takes in memory is that of so many bytes of its table.
    const BYTES_OF_ENTRY: u64 = 16;
    let mut lines = Budget::new(".debug_line", dwarf.debug_line.reader().len());
    let ranges = dwarf.ranges.debug_ranges().reader().len() + dwarf.ranges.debug_rnglists().reader().len();
    let mut ranges = Budget::new("a list of ranges", ranges);
    let mut headers = dwarf.units();
    while let Ok(Some(header)) = headers.next() {
        let Ok(unit) = dwarf.unit(header) else { continue };
        if let Some(program) = &unit.line_program {
            let header = program.header();
            let entries = header.file_names().len() + header.include_directories().len();
            lines.spend(header.unit_length() as u64 + entries as u64 * BYTES_OF_ENTRY)?;
        }
        check_ranges(dwarf, &unit, &mut ranges)?;
    }
    Ok(())
}

/// Counts the lists of ranges that functions, and copies of them in others, refer to.
fn check_ranges(dwarf: &Dwarf<Bytes>, unit: &Unit<Bytes>, budget: &mut Budget) -> Result<(), Shared> {
    /// Two addresses.
    const BYTES_OF_RANGE: u64 = 8;
    let Ok(mut entries) = unit.header.entries_raw(&unit.abbreviations, None) else { return Ok(()) };
    while !entries.is_empty() {
        // What is broken is not read behind here by anybody.
        let Ok(abbreviation) = entries.read_abbreviation() else { return Ok(()) };
        let Some(abbreviation) = abbreviation else { continue };
        let has_ranges =
            matches!(
                abbreviation.tag(),
                constants::DW_TAG_compile_unit
                    | constants::DW_TAG_subprogram
                    | constants::DW_TAG_inlined_subroutine
            ) && abbreviation.attributes().iter().any(|one| one.name() == constants::DW_AT_ranges);
        if !has_ranges {
            if entries.skip_attributes(abbreviation.attributes()).is_err() {
                return Ok(());
            }
            continue;
        }
        for &attribute in abbreviation.attributes() {
            let Ok(attribute) = entries.read_attribute(attribute) else { return Ok(()) };
            if attribute.name() == constants::DW_AT_ranges
                && let Ok(Some(offset)) = dwarf.attr_ranges_offset(unit, attribute.value())
                && let Ok(mut list) = dwarf.raw_ranges(unit, offset)
            {
                while let Ok(Some(_)) = list.next() {
                    budget.spend(BYTES_OF_RANGE)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gimli::{DwarfSections, SectionId};

    use super::*;

    /// Debug information whose units all are the same but for their numbers.
    #[derive(Default)]
    struct Crafted {
        abbrev: Vec<u8>,
        info: Vec<u8>,
        line: Vec<u8>,
        ranges: Vec<u8>,
    }

    impl Crafted {
        /// Adds a unit with this table of abbreviations, and its entries.
        fn unit(&mut self, abbreviations: u32, entries: &[u8]) {
            // DWARF 4, section 7.5.1.1: version, table of abbreviations, bytes of an address.
            let header = [&4_u16.to_le_bytes()[..], &abbreviations.to_le_bytes(), &[4]].concat();
            self.info.extend(((header.len() + entries.len()) as u32).to_le_bytes());
            self.info.extend(header);
            self.info.extend(entries);
        }

        fn check(&self) -> Result<(), Shared> {
            let dwarf = DwarfSections::load(|section| {
                let bytes = match section {
                    SectionId::DebugAbbrev => &self.abbrev,
                    SectionId::DebugInfo => &self.info,
                    SectionId::DebugLine => &self.line,
                    SectionId::DebugRanges => &self.ranges,
                    _ => const { &Vec::new() },
                };
                Ok::<_, gimli::Error>(bytes.clone())
            });
            let dwarf = dwarf
                .expect("loading copies")
                .borrow(|bytes| EndianArcSlice::new(Arc::from(&**bytes), LittleEndian));
            check_abbreviations(&dwarf)?;
            check_units(&dwarf)
        }
    }

    /// An abbreviation of one attribute: its code, tag, children, attribute and form.
    fn abbreviation(tag: constants::DwTag, attribute: constants::DwAt) -> [u8; 7] {
        let form = constants::DW_FORM_sec_offset.0 as u8;
        [1, tag.0 as u8, 0, attribute.0 as u8, form, 0, 0]
    }

    /// A program of lines with so many files (DWARF 4, section 6.2.4).
    fn line_program(files: usize) -> Vec<u8> {
        let mut header = vec![1, 1, 1, 0, 1, 1, 0];
        for _ in 0..files {
            header.extend(*b"a\0\0\0\0");
        }
        header.push(0);
        let mut program = ((2 + 4 + header.len()) as u32).to_le_bytes().to_vec();
        program.extend(4_u16.to_le_bytes());
        program.extend((header.len() as u32).to_le_bytes());
        program.extend(header);
        program
    }

    #[test]
    fn units_that_share_lines_are_counted() {
        let mut crafted = Crafted { line: line_program(12_000), ..Default::default() };
        crafted.abbrev.extend(abbreviation(constants::DW_TAG_compile_unit, constants::DW_AT_stmt_list));
        crafted.abbrev.push(0);
        for _ in 0..10 {
            crafted.unit(0, &[1, 0, 0, 0, 0]);
        }
        assert_eq!(crafted.check(), Ok(()), "so many a tool may make");
        for _ in 10..1_500 {
            crafted.unit(0, &[1, 0, 0, 0, 0]);
        }
        assert_eq!(crafted.check(), Err(Shared(".debug_line")));
    }

    #[test]
    fn tables_of_abbreviations_that_overlap_are_counted() {
        let mut crafted = Crafted::default();
        for _ in 0..10_000 {
            crafted.abbrev.extend(abbreviation(constants::DW_TAG_compile_unit, constants::DW_AT_stmt_list));
        }
        crafted.abbrev.push(0);
        for number in 0..10 {
            crafted.unit(number * 7, &[1, 0, 0, 0, 0]);
        }
        assert_eq!(crafted.check(), Ok(()));
        for number in 10..1_000 {
            crafted.unit(number * 7, &[1, 0, 0, 0, 0]);
        }
        assert_eq!(crafted.check(), Err(Shared(".debug_abbrev")));
    }

    #[test]
    fn functions_that_share_ranges_are_counted() {
        let mut crafted = Crafted::default();
        crafted.abbrev.extend(abbreviation(constants::DW_TAG_subprogram, constants::DW_AT_ranges));
        crafted.abbrev.push(0);
        for number in 0..4_000_u32 {
            crafted.ranges.extend([number * 2 + 1, number * 2 + 2].map(u32::to_le_bytes).concat());
        }
        crafted.ranges.extend([0; 8]);
        crafted.unit(0, &[1, 0, 0, 0, 0].repeat(100));
        assert_eq!(crafted.check(), Ok(()));
        crafted.unit(0, &[1, 0, 0, 0, 0].repeat(1_000));
        assert_eq!(crafted.check(), Err(Shared("a list of ranges")));
    }
}
