//! How tests call `cargo flatland`, and where the files are.

// Each test program uses only a part of this.
#![allow(dead_code)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Once;
use std::{env, fs};

/// The program, as cargo calls it.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_cargo-flatland");

/// A file or folder of the tests' own.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// An empty folder of the tests' own.
pub fn new_folder(name: &str) -> PathBuf {
    let folder = file(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("there is room");
    folder
}

/// `cargo flatland` with these words in this folder.
pub fn cargo_flatland<'a>(folder: &Path, words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("flatland").args(words).current_dir(folder);
    as_alone(&mut command);
    command
}

/// Gives a command the tests' cache, and not the target folder in which somebody builds these tests.
pub fn as_alone(command: &mut Command) -> &mut Command {
    // Whoever runs these tests may want colours.
    ["CARGO_TARGET_DIR", "CARGO_TERM_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR", "CI"].iter().for_each(
        |name| {
            command.env_remove(name);
        },
    );
    command.env("XDG_CACHE_HOME", cache())
}

/// The tests' own cache folder, in place of the user's. The standard library's source is shared with `cargo xtask`.
pub fn cache() -> PathBuf {
    static MADE: Once = Once::new();
    let cache = file("cache");
    MADE.call_once(|| {
        let source = file("..").join("rust-src");
        fs::create_dir_all(&source)
            .and_then(|()| fs::create_dir_all(cache.join("flatland")))
            .expect("there is room");
        let source = fs::canonicalize(source).expect("it was just made");
        // Another test may have been first.
        let _ = symlink(source, cache.join("flatland/rust-src"));
    });
    cache
}

/// Runs a command without input.
pub fn run(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command, and compares its status and both streams.
#[track_caller]
pub fn assert_ends(command: &mut Command, status: i32, stdout: &str, stderr: &str) {
    let output = run(command);
    let ended = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(ended, (Some(status), stdout.into(), stderr.into()), "{command:?}");
}

/// Runs a command that builds, and compares its status and standard output.
#[track_caller]
pub fn assert_prints(command: &mut Command, status: i32, stdout: &str) {
    let output = run(command);
    let ended = (output.status.code(), text(&output.stdout));
    assert_eq!(ended, (Some(status), stdout.into()), "{command:?}: {}", text(&output.stderr));
}

/// Writes the files of a package.
pub fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, contents) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("there is room");
        fs::write(path, contents).expect("there is room");
    }
}

/// Where tests of small packages build, so that `core` is built once.
pub fn built() -> PathBuf {
    file("packages' target")
}

/// A program that prints this.
pub fn source(text: &str) -> String {
    format!(
        "//! Prints a line.\n#![no_std]\n#![no_main]\nflatland_guest::entry!(main);\nfn main() {{\n    \
         flatland_guest::println!(\"{text}\");\n}}\n"
    )
}

/// A package with a program that has another name and place than cargo would give it. Tests build in one folder at once,
/// so no two have the same names.
pub fn manifest(package: &str, program: &str, path: &str) -> String {
    format!(
        "[package]\nname = \"{package}\"\nedition = \"2024\"\n[dependencies]\nflatland-guest = \"0.1.0\"\n\
         [[bin]]\nname = \"{program}\"\npath = \"{path}\"\n"
    )
}
