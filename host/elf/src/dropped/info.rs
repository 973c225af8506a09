//! Ranges of discarded functions in .debug_info and .debug_rnglists.

use std::ops::Range;

use super::at_zero::{AtZero, NOWHERE};
use super::cursor::{Cursor, units};

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

/// The sections that .debug_info refers to.
pub struct Sections<'a> {
    pub abbreviations: &'a [u8],
    pub addresses: &'a [u8],
    pub ranges: &'a [u8],
}

/// The offsets of the ranges of functions.
#[derive(Default)]
pub struct Ranges {
    /// Length fields in .debug_info.
    pub lengths: Vec<Range<usize>>,
    /// Lists in .debug_rnglists, each as its first byte.
    pub lists: Vec<Range<usize>>,
}

/// Finds the ranges of discarded functions.
pub fn discarded_ranges(info: &[u8], sections: &Sections, at_zero: &AtZero) -> Ranges {
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
