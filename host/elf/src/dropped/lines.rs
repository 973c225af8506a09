//! Rows of discarded functions in .debug_line.

use std::ops::Range;

use super::at_zero::{AtZero, NOWHERE};
use super::cursor::{Cursor, units};

/// A sequence of rows: the lines of contiguous code.
struct Sequence {
    /// The sequence's line program.
    program: Range<usize>,
    start: u32,
    end: u32,
}

/// Removes the rows of discarded functions.
pub fn remove_rows(lines: &mut [u8], at_zero: &AtZero) {
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
