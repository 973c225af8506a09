//! Does what docs/tests-of-a-crate.md says to published crates, and runs their tests in the guest.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, process};

const PAGE: &str = include_str!("../../docs/tests-of-a-crate.md");

/// A file of tests that needs std, for random input.
const WITH_STD: &str = "[[test]]\nname = \"proptests\"\n";

/// What the page says of `Vec` and the like.
const PRELUDE: &str = "\n#[cfg(target_os = \"none\")]\nuse flatland_guest::prelude::*;\n";

#[test]
fn tests_of_published_crates_pass_in_the_guest() {
    let folder = env::temp_dir().join(format!("flatland-crates-{}", process::id()));
    let crates: Vec<_> = PAGE.lines().filter_map(row).collect();
    assert_eq!(crates.len(), 5, "{crates:?}");
    let sources = download(&folder, &crates);
    let mut found = Vec::new();
    for &(name, version, _) in &crates {
        let package = sources.join(format!("{name}-{version}"));
        follow_the_page(&package);
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-flatland"));
        // Together they build the standard library only once.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crates");
        command.args(["flatland", "test"]).current_dir(&package).env("CARGO_TARGET_DIR", target);
        let output = succeed(&mut command);
        let passed = output.lines().filter_map(|line| {
            line.strip_prefix("test result: ok. ")?.split_once(" passed")?.0.parse::<u32>().ok()
        });
        found.push((name, version, passed.sum::<u32>()));
    }
    assert_eq!(found, crates);
    // After a failure the crates stay, to be looked at.
    fs::remove_dir_all(&folder).expect("it is this test's");
}

/// A row of the page's table: a crate's name and version, and the number of its tests.
fn row(line: &str) -> Option<(&str, &str, u32)> {
    let mut cells = line.split('|').map(str::trim).skip(1);
    let (name, version) = cells.next()?.split_once(' ')?;
    Some((name, version, cells.nth(1)?.parse().ok()?))
}

/// Downloads the crates, and returns the folder that has each in a folder of its own.
fn download(folder: &Path, crates: &[(&str, &str, u32)]) -> PathBuf {
    let dependencies: String =
        crates.iter().map(|(name, version, _)| format!("{name} = \"={version}\"\n")).collect();
    write(&folder.join("all/src/lib.rs"), "");
    let manifest =
        format!("[package]\nname = \"all\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n{dependencies}");
    write(&folder.join("all/Cargo.toml"), &manifest);
    let sources = folder.join("crates");
    let mut command = Command::new(env!("CARGO"));
    command.args(["vendor", "--quiet", "--versioned-dirs"]).arg(&sources);
    succeed(command.current_dir(folder.join("all")));
    sources
}

/// Changes a crate as the page says.
fn follow_the_page(package: &Path) {
    let [to_manifest, to_tests, to_library] = blocks();
    let manifest = package.join("Cargo.toml");
    let mut text = read(&manifest);
    for table in ["[dev-dependencies", "[target.\"cfg(not(miri))\".dev-dependencies"] {
        text = text.replace(table, "[target.'cfg(not(target_os = \"none\"))'.dev-dependencies");
    }
    text = text.replace(WITH_STD, &format!("{WITH_STD}required-features = [\"std\"]\n"));
    let sources = files(&package.join("src"));
    let has_tests = sources.iter().any(|file| read(file).contains("#[test]"));
    if has_tests {
        add(&package.join("src/lib.rs"), to_library);
    } else {
        assert!(text.contains("\n[lib]\n"), "{text}");
        text = text.replace("\n[lib]\n", "\n[lib]\ntest = false\n");
    }
    // Nothing above is its workspace.
    write(&manifest, &format!("{text}\n{to_manifest}\n[workspace]\n"));
    for file in fs::read_dir(package.join("tests")).expect("it has tests").flatten() {
        let path = file.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path).replace("std::", "core::");
            let prelude = if text.contains("Vec::") { PRELUDE } else { "" };
            write(&path, &(text + prelude));
            add(&path, to_tests);
        }
    }
}

/// The blocks of the page: for the manifest, files of tests, and the library.
fn blocks() -> [&'static str; 3] {
    let blocks = PAGE.split("```").skip(1).step_by(2);
    let blocks: Vec<_> = blocks.map(|block| block.split_once('\n').expect("it has lines").1).collect();
    blocks.try_into().expect("there are three")
}

/// Adds a block to a file: its first line at the top, the others at the end.
fn add(path: &Path, block: &str) {
    let (first, rest) = block.split_once('\n').expect("it has lines");
    write(path, &format!("{first}\n{}\n{rest}", read(path)));
}

/// All files in a folder and the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder can be made");
    fs::write(path, text).expect("the folder can be written");
}

/// Runs a command that must succeed, and returns its standard output.
fn succeed(command: &mut Command) -> String {
    let output = command.env_remove("RUSTFLAGS").stdin(Stdio::null()).output().expect("it starts");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {stdout}\n{stderr}");
    stdout
}
