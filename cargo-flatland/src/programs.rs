//! The guest programs of a package, by name.

use std::fs;

use crate::metadata::Program;
use crate::package::Package;
use crate::spelling::{nearest, tolerance};
use crate::{Result, caller};

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

/// Returns the program with this name. The error suggests a similar name or lists all names.
pub fn find<'a>(package: &'a Package, name: &str) -> Result<&'a Program> {
    match package.programs.iter().find(|program| program.name == name) {
        Some(program) => Ok(program),
        None => {
            let names = names(package)?;
            let missing = format!("there is no guest program `{name}`");
            Err(match nearest(name, names.iter().copied(), tolerance(name)) {
                Some(meant) => format!("{missing}: did you mean `{meant}`?"),
                None => format!("{missing}: choose one of {}", names.join(", ")),
            })
        }
    }
}

/// Returns the program to run if none is named: the only one, or that of the README's first session.
pub fn default(package: &Package) -> Result<&Program> {
    const FIRST: &str = "answer";
    match &*package.programs {
        [only] => Ok(only),
        programs => match programs.iter().find(|program| program.name == FIRST) {
            Some(first) => Ok(first),
            None => Err(format!("which program? Choose one of {}", names(package)?.join(", "))),
        },
    }
}

/// The names of all programs; an error if there are none.
fn names(package: &Package) -> Result<Vec<&str>> {
    match &*package.programs {
        [] => Err(format!(
            "the package `{}` has no programs: make one with `{} new NAME`",
            package.name,
            caller::cargo()
        )),
        programs => Ok(programs.iter().map(|program| &*program.name).collect()),
    }
}

/// Returns a line for each program: its name and what it does.
pub fn list(package: &Package) -> String {
    let programs = &package.programs;
    let width = programs.iter().map(|program| program.name.len()).max().unwrap_or(0);
    let lines = programs.iter().map(|program| format!("{:width$}  {}", program.name, program.summary()));
    lines.map(|line| line.trim_end().to_owned() + "\n").collect()
}
