//! `cargo flatland new`: makes a guest program in the package here, or a package.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::caller::Caller;
use crate::cargo::quote;
use crate::files::write_new;
use crate::{Context, Result, caller, checkout, init};

/// What a new program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Says hello.
    Hello,
    /// Is a fuzz target.
    Fuzz,
}

/// Makes a program in the package here, or where there is none, or in `path`, a package with it. Returns the message to
/// print.
pub fn new(context: &Context, name: &str, kind: Kind, path: Option<&Path>) -> Result<String> {
    match path {
        Some(path) => package(context, &context.callers_folder().join(path), name, kind),
        None if context.has_guests()? => program(context, name, kind),
        None => package(context, &context.callers_folder().join(name), name, kind),
    }
}

fn program(context: &Context, name: &str, kind: Kind) -> Result<String> {
    let package = context.package()?;
    let same = |other: &str| other.replace('-', "_") == name.replace('-', "_");
    if let Some(taken) = package.programs.iter().find(|program| same(&program.name)) {
        return Err(format!(
            "there is a program `{}` already: look at {}, or choose another name",
            taken.name,
            context.show(&taken.source)
        ));
    }
    let path = package.folder.join("src/bin").join(name).with_added_extension("rs");
    write_new(&path, &fill(&caller::named(kind.source()), name))?;
    let (cargo, test) = (caller::cargo(), caller::test_command());
    Ok(format!("made {}; now:\n{}", context.show(&path), kind.next_commands(cargo, test, name)))
}

fn package(context: &Context, folder: &Path, name: &str, kind: Kind) -> Result<String> {
    match fs::read_dir(folder).map(Iterator::count) {
        Ok(0) => {}
        Ok(_) => return Err(format!("{} is not empty: choose a new folder", folder.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(format!("cannot look into {} ({error}): choose a new folder", folder.display()));
        }
    }
    let program = format!("src/bin/{name}.rs");
    for (path, template) in [
        ("Cargo.toml", include_str!("new/Cargo.toml.template")),
        (".gitignore", include_str!("new/gitignore.template")),
        ("rust-toolchain.toml", include_str!("rust-toolchain.toml")),
        (&program, kind.source()),
    ] {
        write_new(&folder.join(path), &fill(template, name))?;
    }
    init::in_new(folder)?;
    let shown = fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
    let short = shown.strip_prefix(context.callers_folder()).unwrap_or(&shown);
    let quoted = quote(short.as_os_str());
    // `cargo xtask` is for the guests of a checkout.
    let Caller { cargo, test, .. } = caller::CARGO_FLATLAND;
    let install = match (caller::cargo() == cargo, checkout::root()) {
        (false, Some(root)) => {
            let program = quote(root.join("cargo-flatland").as_os_str());
            format!("  cargo install --path {program}  # once, for these:\n")
        }
        _ => String::new(),
    };
    let commands = kind.next_commands(cargo, test, name);
    Ok(format!("made {}; now:\n  cd {quoted}\n{install}{commands}", shown.display()))
}

/// Replaces `@NAME@` in a template.
fn fill(template: &str, name: &str) -> String {
    template.replace("@NAME@", name)
}

impl Kind {
    /// The template of its source.
    fn source(self) -> &'static str {
        match self {
            Self::Hello => include_str!("new/program.rs.template"),
            Self::Fuzz => include_str!("new/fuzz.rs.template"),
        }
    }

    fn next_commands(self, cargo: &str, test: &str, name: &str) -> String {
        let tests = (format!("{test} {name}"), "runs its tests");
        let commands = match self {
            Self::Hello => [
                (format!("run {name}"), "builds it and runs it"),
                tests,
                (format!("build --release {name}"), "makes it small, as target/guest/NAME.bin"),
            ],
            Self::Fuzz => [
                (format!("fuzz {name}"), "looks for input with which it fails"),
                (format!("run {name} < FILE"), "runs it once, with this input"),
                tests,
            ],
        };
        let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        commands.map(|(command, what)| format!("  {cargo} {command:width$}  # {what}\n")).concat()
    }
}

/// Checks that cargo accepts this name for a program. rustc accepts any name, including keywords.
pub fn check_name(name: &str) -> Result<()> {
    // The folders that cargo makes beside the programs.
    const FOLDERS: [&str; 4] = ["build", "deps", "examples", "incremental"];
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let problem = if name.is_empty() {
        "it is empty"
    } else if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        "it does not begin with a letter"
    } else if !name.chars().all(letters) {
        "it has something else than letters, digits, `_` and `-`"
    } else if FOLDERS.contains(&name) {
        "cargo has a folder of that name"
    } else {
        return Ok(());
    };
    Err(format!("`{name}` is no name for a program, because {problem}: choose another, such as `my-kernel`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_takes() {
        for name in ["a", "kernel", "my-kernel", "my_kernel2", "Kernel", "fn"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "2nd", "-x", "a b", "a/b", "../a", "a.rs", "ä", "deps"] {
            let message = check_name(name).unwrap_err();
            assert!(
                message.starts_with(&format!("`{name}` is no name for a program, because ")),
                "{message}"
            );
        }
    }
}
