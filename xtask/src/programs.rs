//! Finds guest programs by cargo's rule for binaries: `src/bin/NAME.rs` and `src/bin/NAME/main.rs`.

use std::fs;
use std::path::PathBuf;

use crate::spelling::{nearest, tolerance};
use crate::{Result, Workspace};

/// A guest program.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// The file with its `main`.
    pub source: PathBuf,
}

impl Program {
    /// The first sentence of its documentation; empty if there is none.
    fn summary(&self) -> String {
        let text = fs::read_to_string(&self.source).unwrap_or_default();
        let lines = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
        let paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        let paragraph = paragraph.join(" ");
        paragraph.split_once(". ").map_or(paragraph.trim_end_matches('.'), |(first, _)| first).to_owned()
    }

    /// Returns the lines that every guest program needs and this one lacks. The compiler's messages do not name them.
    pub fn missing_lines(&self) -> Vec<&'static str> {
        let text = fs::read_to_string(&self.source).unwrap_or_default();
        let lines = [
            (&["no_std"][..], "#![no_std]"),
            (&["no_main"], "#![no_main]"),
            (&["entry!", "fuzz!"], "flatland_guest::entry!(main);"),
        ];
        let is_missing = |parts: &[&str]| !parts.iter().any(|part| text.contains(part));
        lines.into_iter().filter(|(parts, _)| is_missing(parts)).map(|(_, line)| line).collect()
    }
}

/// Returns all guest programs, sorted by name.
pub fn all(workspace: &Workspace) -> Result<Vec<Program>> {
    let folder = workspace.guest().join("src/bin");
    let entries = fs::read_dir(&folder).map_err(|error| {
        format!("cannot list {} ({error}): make a program with `cargo xtask new NAME`", folder.display())
    })?;
    let mut programs: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_stem()?.to_str()?.to_owned();
            let source = if path.extension().is_some_and(|extension| extension == "rs") {
                path
            } else {
                path.join("main.rs")
            };
            source.is_file().then_some(Program { name, source })
        })
        .collect();
    programs.sort();
    Ok(programs)
}

/// Returns the program with this name. The error suggests a similar name or lists all names.
pub fn find(workspace: &Workspace, name: &str) -> Result<Program> {
    let mut programs = all(workspace)?;
    match programs.iter().position(|program| program.name == name) {
        Some(index) => Ok(programs.swap_remove(index)),
        None => {
            let names: Vec<_> = programs.iter().map(|program| &*program.name).collect();
            let missing = format!("there is no guest program `{name}`");
            Err(match nearest(name, names.iter().copied(), tolerance(name)) {
                Some(meant) => format!("{missing}: did you mean `{meant}`?"),
                None => format!("{missing}: choose one of {}", names.join(", ")),
            })
        }
    }
}

/// Returns the program to run if none is named: the only one, or that of the README's first session.
pub fn default(workspace: &Workspace) -> Result<Program> {
    const FIRST: &str = "answer";
    match <[Program; 1]>::try_from(all(workspace)?) {
        Ok([only]) => Ok(only),
        Err(programs) => match programs.iter().position(|program| program.name == FIRST) {
            Some(index) => Ok(programs.into_iter().nth(index).expect("it was just found")),
            None => {
                let names: Vec<_> = programs.into_iter().map(|program| program.name).collect();
                Err(format!("which program? Choose one of {}", names.join(", ")))
            }
        },
    }
}

/// Returns a line for each program: its name and what it does.
pub fn list(workspace: &Workspace) -> Result<String> {
    let programs = all(workspace)?;
    let width = programs.iter().map(|program| program.name.len()).max().unwrap_or(0);
    let lines = programs.iter().map(|program| format!("{:width$}  {}", program.name, program.summary()));
    Ok(lines.map(|line| line.trim_end().to_owned() + "\n").collect())
}
