//! Coverage as JSON. docs/what-did-it-do.md describes the format.

use jzon::{JsonValue, object};

use super::{Branch, Coverage, FileCoverage, Ratio};

/// The version of the format. It is increased when a program for the old format could misunderstand the new one.
const VERSION: u32 = 1;

impl Coverage {
    /// One object, in several lines.
    pub fn json(&self) -> String {
        let files = self.files.iter().map(|(name, file)| of_file(name, file)).collect();
        let value = object! {
            "version": VERSION,
            "lines": ratio(self.lines()),
            "functions": ratio(self.functions()),
            "branches": ratio(self.branches()),
            "files": JsonValue::Array(files),
        };
        value.pretty(2) + "\n"
    }
}

fn of_file(name: &str, file: &FileCoverage) -> JsonValue {
    let lines = file.lines.iter().map(|(line, count)| object! { "line": *line, "count": *count });
    let functions = file.functions.iter().map(|(line, function)| {
        object! { "line": *line, "name": function.name.as_str(), "calls": function.calls }
    });
    let branches = file.branches.iter().flat_map(|(line, branches)| {
        branches.iter().map(|Branch { taken, not_taken }| {
            object! { "line": *line, "taken": *taken, "not_taken": *not_taken }
        })
    });
    object! {
        "file": name,
        "path": file.path.to_string_lossy().as_ref(),
        "summary": {
            "lines": ratio(file.lines()),
            "functions": ratio(file.functions()),
            "branches": ratio(file.branches()),
        },
        "lines": JsonValue::Array(lines.collect()),
        "functions": JsonValue::Array(functions.collect()),
        "branches": JsonValue::Array(branches.collect()),
    }
}

fn ratio(ratio: Ratio) -> JsonValue {
    object! { "covered": ratio.covered, "all": ratio.all, "percent": ratio.percent() }
}
