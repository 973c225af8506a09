//! What a page says of a program: its functions, lines and sources, as JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::program::source_map::{Owner, SourceMap, source_files};
use crate::program::{Program, demangle};

/// The largest source file, and the most of all, in bytes.
const LARGEST: u64 = 1 << 20;
const MOST: u64 = 8 << 20;

/// The names of the program with this ELF file. Without one there are none. Sources are those of the program's own crate:
/// files of source code that are there, because whoever made the program chose their paths.
pub fn json(title: &str, elf: Option<&Path>, has_sources: bool) -> Result<String, String> {
    let mut text = format!("{{\"title\":{},\"files\":[", string(title));
    let mut rows = String::new();
    let mut functions = String::new();
    if let Some(elf) = elf {
        let failed = |error: &dyn std::fmt::Display| format!("cannot read `{}`: {error}", elf.display());
        let map = SourceMap::open(elf).map_err(|error| failed(&error))?;
        let program = Program::open(elf).map_err(|error| failed(&error))?;
        let readable: BTreeSet<PathBuf> =
            if has_sources { source_files(elf) } else { Vec::new() }.into_iter().collect();
        let mut room = MOST;
        for (number, file) in map.files.iter().enumerate() {
            let is_own = matches!(file.owner, Owner::Program | Owner::Tests);
            let source =
                (is_own && readable.contains(&file.path)).then(|| read(&file.path, &mut room)).flatten();
            let source = source.map_or_else(|| "null".into(), |source| string(&source));
            let comma = if number > 0 { "," } else { "" };
            let _ = write!(text, "{comma}\n[{},{source}]", string(&file.shown));
        }
        for row in map.rows.iter().filter(|row| row.line > 0) {
            let _ = write!(rows, "{},{},{},{},", row.start, row.end, row.file, row.line);
        }
        let symbols = program.symbols().map_err(|error| failed(&error))?;
        let symbols = symbols.as_ref().map(|symbols| symbols.table()).unwrap_or_default();
        for symbol in symbols.iter().filter(|symbol| symbol.size > 0) {
            let (name, is_code) = (string(&demangle(&symbol.name)), u8::from(symbol.is_code));
            let _ = writeln!(functions, "[{},{},{is_code},{name}],", symbol.start, symbol.size);
        }
    }
    let (rows, functions) = (rows.trim_end_matches(','), functions.trim_end_matches(",\n"));
    let _ = write!(text, "],\n\"rows\":[{rows}],\n\"symbols\":[{functions}]}}");
    Ok(text)
}

/// A source file, if there is room for it.
fn read(path: &Path, room: &mut u64) -> Option<String> {
    let len = fs::metadata(path).ok()?.len();
    if len > LARGEST || len > *room {
        return None;
    }
    *room -= len;
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}

/// A string of JSON.
fn string(text: &str) -> String {
    jzon::stringify(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_an_elf_file_are_json_too() {
        let text = json("a\"b\\c\n\u{85}", None, true).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["title"], "a\"b\\c\n\u{85}");
        assert_eq!(value["rows"], serde_json::json!([]));
    }
}
