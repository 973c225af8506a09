//! `cargo xtask new`: makes a guest program in the current crate, or in a new crate elsewhere.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::cargo::quote;
use crate::{Result, Workspace, programs};

/// What a new program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Says hello.
    Hello,
    /// Is a fuzz target.
    Fuzz,
}

/// Makes a guest program with this name. Returns the message to print.
pub fn program(workspace: &Workspace, name: &str, kind: Kind) -> Result<String> {
    let same = |other: &str| other.replace('-', "_") == name.replace('-', "_");
    if let Some(taken) = programs::all(workspace)?.into_iter().find(|program| same(&program.name)) {
        return Err(format!(
            "there is a program `{}` already: look at {}, or choose another name",
            taken.name,
            workspace.show(&taken.source)
        ));
    }
    let path = workspace.guest().join("src/bin").join(name).with_added_extension("rs");
    write_new(&path, &fill(kind.source(), "", name))?;
    Ok(format!("made {}; now:\n{}", workspace.show(&path), kind.next_commands(name)))
}

/// Makes a crate in this folder that depends on the runtime and has a program with this name. Returns the message to
/// print.
pub fn package(workspace: &Workspace, folder: &Path, name: &str, kind: Kind) -> Result<String> {
    // Refuse a folder inside this checkout: cargo would apply the settings of the folders above to the new crate.
    let parents = folder.ancestors().find_map(|folder| fs::canonicalize(folder).ok());
    if parents.is_some_and(|folder| folder.starts_with(workspace.root())) {
        return Err(format!(
            "{} is inside this checkout: choose a folder elsewhere, or make a program here with `cargo xtask new {name}`",
            folder.display()
        ));
    }
    match fs::read_dir(folder).map(Iterator::count) {
        Ok(0) => {}
        Ok(_) => return Err(format!("{} is not empty: choose a new folder", folder.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(format!("cannot look into {} ({error}): choose a new folder", folder.display()));
        }
    }
    let root = workspace.root().to_str().ok_or("this checkout's path is not UTF-8: move it")?;
    // Escaped for a TOML string.
    let root = &root.replace('\\', "\\\\").replace('"', "\\\"");
    let program = format!("src/bin/{name}.rs");
    for (path, template) in [
        ("Cargo.toml", include_str!("new/Cargo.toml.template")),
        (".cargo/config.toml", include_str!("new/config.toml.template")),
        (".vscode/settings.json", include_str!("new/settings.json.template")),
        (".gitignore", "/target\n"),
        ("rust-toolchain.toml", include_str!("../../rust-toolchain.toml")),
        (&program, kind.source()),
    ] {
        write_new(&folder.join(path), &fill(template, root, name))?;
    }
    let shown = fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
    let quoted = quote(shown.as_os_str());
    Ok(format!("made {}; now:\n  cd {quoted}\n{}", shown.display(), kind.next_commands(name)))
}

/// Replaces `@ROOT@` and `@NAME@` in a template. A single pass, because a path may contain either.
fn fill(template: &str, root: &str, name: &str) -> String {
    let pieces = template.split('@').map(|piece| match piece {
        "ROOT" => root,
        "NAME" => name,
        text => text,
    });
    pieces.collect()
}

impl Kind {
    /// The template of its source.
    fn source(self) -> &'static str {
        match self {
            Self::Hello => include_str!("new/program.rs.template"),
            Self::Fuzz => include_str!("new/fuzz.rs.template"),
        }
    }

    fn next_commands(self, name: &str) -> String {
        let tests = (format!("test --guest {name}"), "runs its tests");
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
        commands.map(|(command, what)| format!("  cargo xtask {command:width$}  # {what}\n")).concat()
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

fn write_new(path: &Path, contents: &str) -> Result<()> {
    let folder = path.parent().expect("it has a folder");
    fs::create_dir_all(folder).and_then(|()| fs::write(path, contents)).map_err(|error| {
        format!("cannot write {} ({error}): choose another folder, or mend its permissions", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in_one_pass() {
        let filled = fill("a = \"@ROOT@/guest\" # @NAME@", "/NAME @NAME@ @ROOT@", "kernel");
        assert_eq!(filled, "a = \"/NAME @NAME@ @ROOT@/guest\" # kernel");
    }

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
