//! The sizes of a program's sections, crates and functions.

use std::collections::HashMap;
use std::fmt::Write;

use flatland_program::{Program, Section, Symbol, without_types};

use super::{ListingError, names};

/// Symbols smaller than the total divided by this are listed as one row.
const SMALL_DIVISOR: u64 = 200;

/// What has no name.
pub const UNNAMED: &str = "(constants and gaps without a name)";

/// How much of a program has names.
pub struct Parts {
    /// All of it, in bytes.
    pub ram: u64,
    /// What has none.
    pub unnamed: u64,
}

/// How much of a program has names: of these.
pub fn parts(program: &Program, symbols: &[Symbol]) -> Parts {
    let ram = program.sections().iter().map(|section| u64::from(section.size)).sum::<u64>();
    let named: u64 = symbols.iter().map(|symbol| u64::from(symbol.size)).sum();
    Parts { ram, unnamed: ram.saturating_sub(named) }
}

/// Tables of the RAM that the program takes, in bytes.
pub fn sizes(program: &Program) -> Result<String, ListingError> {
    let (_, symbols) = names(program)?;
    let sections = program.sections();
    let mut text = String::new();
    let total = |sections: &mut dyn Iterator<Item = &Section>| -> u64 {
        sections.map(|section| u64::from(section.size)).sum()
    };
    let image = total(&mut sections.iter().filter(|section| !section.is_zeros));
    let ram = total(&mut sections.iter());
    for section in sections {
        let _ = writeln!(text, "{:>8}  {}", section.size, section.name);
    }
    let _ = writeln!(text, "{ram:>8}  bytes of RAM, of which {image} are in the image\n");

    let mut crates: HashMap<&str, u64> = HashMap::new();
    for symbol in &symbols {
        *crates.entry(crate_of(&symbol.name)).or_default() += u64::from(symbol.size);
    }
    let unnamed = parts(program, &symbols).unnamed;
    if unnamed > 0 {
        *crates.entry(UNNAMED).or_default() += unnamed;
    }
    table(
        &mut text,
        "by crate",
        crates.into_iter().map(|(name, size)| (name.to_owned(), size)).collect(),
        ram,
        0,
    );
    let copies = copies(&symbols);
    if !copies.is_empty() {
        text.push('\n');
        table(
            &mut text,
            "generic functions with several copies, all copies of each together",
            copies,
            ram,
            0,
        );
    }
    let symbols = symbols.iter().map(|symbol| (symbol.name.clone(), symbol.size.into())).collect();
    text.push('\n');
    table(&mut text, "by function and variable", symbols, ram, ram / SMALL_DIVISOR);
    Ok(text)
}

/// The generic functions that are there for more than one type, with the number of copies and the size of all.
fn copies(symbols: &[Symbol]) -> Vec<(String, u64)> {
    let mut all: HashMap<&str, (u32, u64)> = HashMap::new();
    for symbol in symbols.iter().filter(|symbol| symbol.is_code) {
        let name = without_types(&symbol.name);
        if name.len() < symbol.name.len() {
            let (count, size) = all.entry(name).or_default();
            *count += 1;
            *size += u64::from(symbol.size);
        }
    }
    let several = all.into_iter().filter(|(_, (count, _))| *count > 1);
    several.map(|(name, (count, size))| (format!("{name} ({count} copies)"), size)).collect()
}

/// Appends a table, the largest row first. Rows below `least` bytes become one row.
fn table(text: &mut String, title: &str, mut rows: Vec<(String, u64)>, all: u64, least: u64) {
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut row = |size: u64, name: &str| {
        let percent = size as f64 * 100.0 / all.max(1) as f64;
        let _ = writeln!(text, "{size:>8} {percent:>5.1}%  {name}");
    };
    let small = rows.iter().position(|(_, size)| *size < least).unwrap_or(rows.len());
    row(rows.iter().map(|(_, size)| size).sum(), title);
    for (name, size) in &rows[..small] {
        row(*size, name);
    }
    let rest = &rows[small..];
    if !rest.is_empty() {
        row(rest.iter().map(|(_, size)| size).sum(), &format!("({} smaller ones)", rest.len()));
    }
}

/// The crate of a name: the first part of its path, in `<T as Trait>::f` that of `T`, or of the trait if `T` is the
/// language's own.
pub fn crate_of(name: &str) -> &str {
    if is_constant(name) {
        return UNNAMED;
    }
    let first = |name: &str| {
        let start = name.trim_start_matches(['<', '&', '*', '[', '(']).trim_start_matches("mut ");
        let first = &start[..start.find("::")?];
        let is_path = !first.is_empty() && first.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_path.then_some(start.len()).map(|len| (name.len() - len, first.len()))
    };
    let of_trait = || {
        let at = name.find(" as ")? + " as ".len();
        first(&name[at..]).map(|(start, len)| (at + start, len))
    };
    match first(name).or_else(of_trait) {
        Some((start, len)) => &name[start..start + len],
        None => "(assembly, C and the compiler)",
    }
}

/// Whether the compiler has made this name, for a constant that has none in the source.
pub fn is_constant(name: &str) -> bool {
    name.starts_with("anon.") || name.starts_with("alloc_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_crates() {
        for (name, of) in [
            ("core::fmt::write", "core"),
            ("<answer::A as core::fmt::Display>::fmt", "answer"),
            ("<&mut alloc::string::String as core::fmt::Write>::write_str", "alloc"),
            ("<() as flatland_guest::process::Termination>::report", "flatland_guest"),
            ("<u32 as core::fmt::Display>::fmt", "core"),
            ("anon.14338d2a61.50.llvm.888098", UNNAMED),
            ("memcpy", "(assembly, C and the compiler)"),
        ] {
            assert_eq!(crate_of(name), of, "{name}");
        }
    }

    #[test]
    fn the_largest_come_first_and_the_small_ones_together() {
        let mut text = String::new();
        let rows = [("b", 10), ("a", 10), ("c", 79), ("d", 1)].map(|(name, size)| (name.to_owned(), size));
        table(&mut text, "all", rows.into(), 100, 5);
        let expected = "     100 100.0%  all\n      79  79.0%  c\n      10  10.0%  a\n      10  10.0%  b\n       1   1.0%  \
                        (1 smaller ones)\n";
        assert_eq!(text, expected);
    }
}
