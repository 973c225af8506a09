//! A profile in some lines, for a terminal.

use std::fmt::Write;

use super::Profile;
use super::tree::{NameId, ROOT};
use crate::markup::shortened;

/// How many functions and lines are shown.
const SHOWN: usize = 10;
/// The most characters of a name.
const LONGEST_NAME: usize = 120;

/// A number with a comma between each three digits.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of a whole, such as `12.3%`.
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", part as f64 * 100.0 / whole.max(1) as f64)
}

/// A file's path, for a crate of cargo's registry from the crate's name on.
fn without_registry(path: &str) -> &str {
    let in_registry = path.split_once("/registry/src/").and_then(|(_, index)| index.split_once('/'));
    in_registry.map_or(path, |(_, path)| path)
}

/// What was counted in a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    own: u64,
    with_calls: u64,
}

impl Profile {
    /// The hottest functions and lines, as lines of text.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_summary(&mut text);
        text
    }

    fn write_summary(&self, text: &mut String) -> std::fmt::Result {
        let total = self.total();
        if total == 0 {
            return Ok(());
        }
        let functions = self.functions();
        writeln!(text, "  {:>24}  {:>24}  function", self.unit, "with its calls")?;
        for (name, counts) in functions.iter().take(SHOWN) {
            writeln!(
                text,
                "  {:>17} {:>6}  {:>17} {:>6}  {}",
                number(counts.own),
                percent(counts.own, total),
                number(counts.with_calls),
                percent(counts.with_calls, total),
                shortened(self.names.get(*name), LONGEST_NAME)
            )?;
        }
        if !self.lines.is_empty() {
            writeln!(text, "  {:>24}  line", self.unit)?;
        }
        for ((file, line), count) in self.lines.iter().take(SHOWN) {
            writeln!(
                text,
                "  {:>17} {:>6}  {}:{line}",
                number(*count),
                percent(*count, total),
                shortened(without_registry(self.names.get(*file)), LONGEST_NAME)
            )?;
        }
        Ok(())
    }

    /// All functions, the one that executed most itself first.
    fn functions(&self) -> Vec<(NameId, Counts)> {
        let mut counts = vec![Counts::default(); self.names.len()];
        let totals = self.tree.totals();
        // How often each function is on the call path. Recursion is counted once.
        let mut on_path = vec![0_u32; self.names.len()];
        let mut path: Vec<NameId> = Vec::new();
        for (node, callers) in self.tree.in_order(&self.names) {
            debug_assert_ne!(node, ROOT);
            for name in path.drain(callers..) {
                on_path[name as usize] -= 1;
            }
            let (name, own) = (self.tree.nodes()[node as usize].name, self.tree.nodes()[node as usize].own);
            let counts = &mut counts[name as usize];
            counts.own += own;
            if on_path[name as usize] == 0 {
                counts.with_calls += totals[node as usize];
            }
            on_path[name as usize] += 1;
            path.push(name);
        }
        let counts = counts.into_iter().enumerate().filter(|(_, counts)| counts.with_calls > 0);
        let mut functions: Vec<_> = counts.map(|(name, counts)| (name as NameId, counts)).collect();
        functions.sort_by(|(name, counts), (other_name, other)| {
            let by_count = (other.own, other.with_calls).cmp(&(counts.own, counts.with_calls));
            by_count.then_with(|| self.names.get(*name).cmp(self.names.get(*other_name)))
        });
        functions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(value), text);
        }
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(0, 0), "0.0%");
    }

    #[test]
    fn crates_of_the_registry_are_named_by_their_names() {
        for (path, shown) in [
            ("/home/me/.cargo/registry/src/index-1/sha2-0.11.1/src/lib.rs", "sha2-0.11.1/src/lib.rs"),
            ("src/registry/src/main.rs", "src/registry/src/main.rs"),
            ("src/main.rs", "src/main.rs"),
        ] {
            assert_eq!(without_registry(path), shown);
        }
    }
}
