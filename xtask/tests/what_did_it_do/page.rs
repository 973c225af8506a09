//! docs/what-did-it-do.md: its commands, and what they did.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::common::{lock, root};

pub const PAGE: &str = include_str!("../../../docs/what-did-it-do.md");

/// A command of the page that was run.
pub struct Ran {
    pub command: &'static str,
    pub output: Output,
}

/// The commands: indented lines.
pub fn commands() -> Vec<&'static str> {
    PAGE.lines().filter_map(|line| line.strip_prefix("    ")).collect()
}

/// The files and folders that a command names. All lie in `target`, so that a checkout stays as it is.
pub fn files_of(command: &str) -> Vec<&str> {
    let words = command.split(|c: char| c.is_whitespace() || "=<>|'\"".contains(c));
    words.filter(|word| word.starts_with("target/")).collect()
}

/// Runs all commands in their order, once. Before, what an earlier test has left of their files is removed.
pub fn ran() -> &'static [Ran] {
    static RAN: OnceLock<Vec<Ran>> = OnceLock::new();
    RAN.get_or_init(|| {
        let _lock = lock();
        for name in commands().into_iter().flat_map(files_of) {
            let path = root().join(name);
            // What is built stays.
            if !name.starts_with("target/guest/") {
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        }
        let run = |command| {
            let mut bash = Command::new("bash");
            bash.args(["-c", command]).current_dir(root()).stdin(Stdio::null());
            Ran { command, output: bash.output().expect("bash is there") }
        };
        commands().into_iter().map(run).collect()
    })
}

/// What the commands made for a browser: pictures, and the first page of each folder.
pub fn made_for_a_browser() -> BTreeSet<PathBuf> {
    let files = ran().iter().flat_map(|ran| files_of(ran.command)).map(|name| root().join(name));
    let page = |path: PathBuf| match path.is_dir() {
        true => Some(path.join("index.html")),
        false => path.extension().is_some_and(|extension| extension == "svg").then_some(path),
    };
    files.filter_map(page).collect()
}
