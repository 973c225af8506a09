//! The difference of two builds of a program, in bytes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use flatland_program::{Program, command_of};

use super::sizes::{is_constant, parts};
use super::{ListingError, names};

/// What is larger or smaller in a program than in another one: the largest difference first. Copies of a generic
/// function for the same types are one row.
pub fn difference(program: &Program, before: &Program) -> Result<String, ListingError> {
    let (_, symbols) = names(program)?;
    let (_, symbols_before) = names(before)?;
    let mut rows: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for symbol in &symbols_before {
        rows.entry(without_number(&symbol.name)).or_default().0 += u64::from(symbol.size);
    }
    for symbol in &symbols {
        rows.entry(without_number(&symbol.name)).or_default().1 += u64::from(symbol.size);
    }
    let (all, all_before) = (parts(program, &symbols), parts(before, &symbols_before));
    rows.insert("gaps and what has no symbol", (all_before.unnamed, all.unnamed));
    let mut changed: Vec<_> = rows.into_iter().collect();
    changed.retain(|(_, (before, now))| before != now);
    changed.sort_by_key(|(name, (before, now))| (std::cmp::Reverse(before.abs_diff(*now)), *name));
    let mut text = format!(
        "{:>+8}  bytes: {} now, {} before\n",
        signed(all_before.ram, all.ram),
        all.ram,
        all_before.ram
    );
    for (name, (before, now)) in changed {
        let what = match (before, now) {
            (0, _) => "new".to_owned(),
            (_, 0) => "gone".to_owned(),
            _ => format!("{before} before"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:>+8}  {name} ({what})", signed(before, now));
    }
    Ok(text)
}

/// That the two were built by different commands of `cargo xtask`, in a sentence, if they were: then not all of the
/// difference is the source's.
pub fn other_build(program: &Program, before: &Program) -> Option<String> {
    let command = |program: &Program| {
        let elf = fs::read(program.elf()?).ok()?;
        command_of(&elf).map(str::to_owned)
    };
    let (now, then) = (command(program)?, command(before)?);
    (now != then).then(|| {
        format!(
            "not all of the difference is the source's, because `{then}` built one and `{now}` the other: build both by the \
             same command"
        )
    })
}

/// The compiler numbers constants without a name, and another build has other numbers.
fn without_number(name: &str) -> &str {
    if is_constant(name) { "constants without a name" } else { name }
}

fn signed(before: u64, now: u64) -> i64 {
    i64::try_from(now).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX)
}
