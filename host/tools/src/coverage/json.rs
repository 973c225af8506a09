//! Coverage as JSON. docs/what-did-it-do.md describes the format.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;

use jzon::{JsonValue, object};

use super::scanner::{self, Scanner, Unexpected};
use super::{Branch, Coverage, FileCoverage, Ratio, add};
use crate::words::visible;

/// The version of the format. It is increased when a program for the old format could misunderstand the new one.
const VERSION: u32 = 1;

/// The text is no coverage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoCoverage {
    /// It has another version of the format.
    Version(u64),
    /// It is something else, or damaged: what is missing where.
    Damaged(String),
}

impl fmt::Display for NoCoverage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "its format has version {version}, and this flatland reads {VERSION}")
            }
            Self::Damaged(what) => write!(f, "it is no coverage as JSON: {what}"),
        }
    }
}

impl Error for NoCoverage {}

impl From<Unexpected> for NoCoverage {
    fn from(unexpected: Unexpected) -> Self {
        Self::Damaged(unexpected.to_string())
    }
}

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

    /// What [`Self::json`] has made. Entries for the same file, line or function are added.
    pub fn from_json(text: &str) -> Result<Self, NoCoverage> {
        let mut scanner = Scanner::new(text);
        let mut version = None;
        let (mut coverage, mut names) = (Self::default(), HashMap::new());
        scanner.object(|scanner, name| {
            match name {
                "version" => match scanner.number()? {
                    number if number == u64::from(VERSION) => version = Some(number),
                    other => return Err(NoCoverage::Version(other)),
                },
                "files" => scanner.array(|scanner| {
                    let (name, file) = file(scanner)?;
                    coverage.merge_by_path(&mut names, &name, file);
                    Ok(())
                })?,
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        scanner.end()?;
        version.ok_or_else(|| scanner.missing("`version`"))?;
        Ok(coverage)
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

/// A file with its name.
fn file(scanner: &mut Scanner) -> scanner::Result<(String, FileCoverage)> {
    let (mut name, mut path) = (None, None);
    let mut file = FileCoverage::default();
    scanner.object(|scanner, member| match member {
        "file" => shown(scanner).map(|string| name = Some(string)),
        "path" => shown(scanner).map(|string| path = Some(string)),
        "lines" => scanner.array(|scanner| {
            let (line, [count], _) = row(scanner, ["count"])?;
            add(file.lines.entry(line).or_default(), count);
            Ok(())
        }),
        "functions" => scanner.array(|scanner| {
            let (line, [calls], name) = row(scanner, ["calls"])?;
            let function = file.functions.entry(line).or_default();
            function.name = name;
            add(&mut function.calls, calls);
            Ok(())
        }),
        "branches" => scanner.array(|scanner| {
            let (line, [taken, not_taken], _) = row(scanner, ["taken", "not_taken"])?;
            file.branches.entry(line).or_default().push(Branch { taken, not_taken });
            Ok(())
        }),
        _ => scanner.skip(),
    })?;
    file.path = path.ok_or_else(|| scanner.missing("`path` of a file"))?.into();
    let name = name.ok_or_else(|| scanner.missing("`file` of a file"))?;
    Ok((name, file))
}

/// A string that is printed.
fn shown(scanner: &mut Scanner) -> scanner::Result<String> {
    Ok(scanner.string()?.chars().map(visible).collect())
}

/// What is said of a line: its number, counts by these names, and a function's name if there is one.
fn row<const N: usize>(
    scanner: &mut Scanner,
    names: [&'static str; N],
) -> scanner::Result<(u32, [u64; N], String)> {
    let (mut line, mut counts, mut name) = (None, [None; N], String::new());
    scanner.object(|scanner, member| {
        match (member, names.iter().position(|name| *name == member)) {
            ("line", _) => line = Some(scanner.number()?),
            ("name", _) => name = shown(scanner)?,
            (_, Some(at)) => counts[at] = Some(scanner.number()?),
            _ => scanner.skip()?,
        }
        scanner::Result::Ok(())
    })?;
    let line =
        line.and_then(|line| line.try_into().ok()).ok_or_else(|| scanner.missing("a line's number"))?;
    for count in counts {
        count.ok_or_else(|| scanner.missing("a count"))?;
    }
    Ok((line, counts.map(Option::unwrap_or_default), name))
}
