//! Builds what is measured with cargo, and measures cargo itself.

use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use crate::Result;
use crate::processes::succeed;

/// The number of tests in the suite.
pub const TESTS: u32 = 200;

/// A call of cargo in this folder.
pub fn cargo(folder: &Path, line: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(line.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    command
}

/// Makes a crate of trivial tests, and returns the ELF file that has them.
pub fn build_suite(root: &Path, folder: &Path) -> Result<PathBuf> {
    succeed(cargo(root, "xtask new --path").arg(folder).arg("trivial"))?;
    let mut source = "#![no_std]\n#![no_main]\nuse flatland_guest::test;\n".to_owned();
    for number in 0..TESTS {
        writeln!(source, "#[test]\nfn test_{number}() {{\n    assert_eq!({number}, {number});\n}}")?;
    }
    fs::create_dir(folder.join("tests"))?;
    fs::write(folder.join("tests/many.rs"), source)?;
    // Reuse the standard library that was built for the guest.
    fs::create_dir_all(folder.join("target/guest"))?;
    symlink(root.join("target/guest/cargo"), folder.join("target/guest/cargo"))?;
    succeed(&mut cargo(folder, "xtask test --guest many"))?;
    let images = folder.join("target/guest/tests");
    let is_suite = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "elf")
            && path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"many-"))
    };
    let mut built = fs::read_dir(images)?.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(built.find(is_suite).ok_or("the suite was not built")?)
}

/// Sets the file's modification time to now, as an edit does.
pub fn touch(file: &Path) -> Result<()> {
    Ok(File::options().append(true).open(file)?.set_modified(SystemTime::now())?)
}

/// The time of the first `cargo xtask run hello` in a new checkout, in seconds. Only downloads are there already.
pub fn cold(root: &Path, folder: &Path) -> Result<f64> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder.join("target"))?;
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    let names = String::from_utf8(listed.stdout)?;
    // Tracked files may have been deleted.
    let names = names.split_terminator('\0').filter(|name| root.join(name).exists());
    succeed(Command::new("cp").arg("--parents").args(names).arg(folder).current_dir(root))?;
    if root.join("target/rust-src").exists() {
        symlink(root.join("target/rust-src"), folder.join("target/rust-src"))?;
    }
    let start = Instant::now();
    let result = succeed(&mut cargo(folder, "xtask run hello"));
    let time = start.elapsed().as_secs_f64();
    let _ = fs::remove_dir_all(folder);
    result.map(|()| time)
}
