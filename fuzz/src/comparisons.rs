//! What a run compares, as LibAFL's mutators take it: a mutator puts one operand into the input where it finds the other (input
//! to state, as in REDQUEEN).

use flatland::x86::{Comparison, Operands};
use libafl::observers::cmp::{CmpValues, CmplogBytes};

use crate::Result;
use crate::target::Target;

/// What this input makes the guest compare that is not the same.
pub fn of(target: &mut Target, input: &[u8]) -> Result<Vec<CmpValues>> {
    target.run(input)?;
    Ok(target.machine().take_comparisons().iter().filter_map(values).collect())
}

fn values(comparison: &Comparison) -> Option<CmpValues> {
    match comparison.operands {
        Operands::Numbers { width, first, second, is_constant } => {
            // LibAFL's constant is the first one.
            let (one, two) = if is_constant { (second, first) } else { (first, second) };
            match width {
                _ if one == two => None,
                1 => Some(CmpValues::U8((one as u8, two as u8, is_constant))),
                2 => Some(CmpValues::U16((one as u16, two as u16, is_constant))),
                _ => Some(CmpValues::U32((one, two, is_constant))),
            }
        }
        Operands::Bytes { len, first, second } => {
            let [one, two] = [first, second].map(|bytes| CmplogBytes::from_buf_and_len(bytes, len));
            (first != second).then_some(CmpValues::Bytes((one, two)))
        }
    }
}
