//! Compares `--coverage` with the compiler's own (`-Cinstrument-coverage`): the same published libraries with the same
//! tests, here and in the guest. `cargo xtask differential --coverage` calls it.

#[path = "../common/mod.rs"]
mod common;
mod exceptions;
#[path = "../common/lcov.rs"]
mod lcov;
mod libraries;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs, process};

use common::{file, succeed, text};
use exceptions::{KNOWN, Known};
use lcov::Lines;
use libraries::{LIBRARIES, Library};

/// The least lines of a library that both must call coverable: fewer show nothing.
const FEWEST_LINES: usize = 40;

#[test]
#[ignore = "it downloads five libraries and needs llvm-tools: `cargo xtask differential --coverage` runs it"]
fn coverage_agrees_with_the_compilers() {
    let tools = llvm_tools();
    let folder = env::temp_dir().join(format!("flatland-coverage-{}", process::id()));
    let kept = file("coverage_agrees");
    fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
    let (host, guest) = (folder.join("host"), folder.join("guest"));
    make_host(&host, &kept.join("host"));
    make_guest(&guest, &kept.join("guest"));
    write_tests(&host, &guest);
    let (compilers, tests_here) = cover_here(&host, &tools);
    let (flatlands, tests_there) = cover_in_guest(&guest);
    assert_eq!(tests_here, tests_there, "the same tests pass here and in the guest");
    println!("{tests_here} tests, here and in the guest");
    compare(&compilers, &flatlands);
    // After a failure the crates stay, to be looked at.
    fs::remove_dir_all(&folder).expect("it is this test's");
}

/// The folder of LLVM's tools in the toolchain.
fn llvm_tools() -> PathBuf {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = succeed(Command::new(rustc).args(["--print", "target-libdir"]));
    let folder = Path::new(text(&output.stdout).trim()).with_file_name("bin");
    let is_there = ["llvm-cov", "llvm-profdata"].iter().all(|tool| folder.join(tool).exists());
    assert!(
        is_there,
        "LLVM's tools are not in the toolchain: install them with `rustup component add llvm-tools`"
    );
    folder
}

fn dependencies() -> String {
    LIBRARIES.iter().map(Library::dependency).collect::<String>() + "matches = \"=0.1.10\"\n"
}

/// For the tests: they have `cfg`s for features of their library.
const FEATURES: &str = "[features]\ndefault = [\"alloc\"]\nalloc = []\n";

/// Makes the crate for this machine. What is built in it is kept in another folder.
fn make_host(folder: &Path, kept: &Path) {
    let package = "[package]\nname = \"tests-here\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n\
                   [lib]\ntest = false\n\n[workspace]\n\n";
    write(&folder.join("Cargo.toml"), &format!("{package}{FEATURES}\n[dependencies]\n{}", dependencies()));
    write(&folder.join("src/lib.rs"), "");
    fs::create_dir_all(kept).expect("cargo's folder can be written");
    symlink(kept, folder.join("target")).expect("the folder is new");
}

/// Makes the crate for the guest, as users do. The libraries are not optimized, as they are not here.
fn make_guest(folder: &Path, kept: &Path) {
    let path = folder.to_str().expect("paths here are UTF-8");
    succeed(Command::new(env!("CARGO_BIN_EXE_xtask")).args(["new", "--path", path, "program"]));
    let manifest = folder.join("Cargo.toml");
    let mut text = fs::read_to_string(&manifest).expect("it was just made");
    for (from, to) in [
        ("edition = \"2024\"\n", "edition = \"2021\"\n".to_owned()),
        ("[dependencies]\n", format!("{FEATURES}\n[dependencies]\n{}", dependencies())),
    ] {
        assert!(text.contains(from), "{text}");
        text = text.replacen(from, &to, 1);
    }
    for Library { name, .. } in &LIBRARIES {
        text += &format!("\n[profile.dev.package.{name}]\nopt-level = 0\n");
    }
    write(&manifest, &text);
    // It is there for the crate only.
    let program = "//! Does nothing.\n#![no_std]\n#![no_main]\nflatland_guest::entry!(main);\nfn main() {}\n";
    write(&folder.join("src/bin/program.rs"), program);
    fs::create_dir_all(kept).expect("cargo's folder can be written");
    symlink(kept, folder.join("target")).expect("the folder is new");
}

/// Copies the libraries' tests to both crates.
fn write_tests(host: &Path, guest: &Path) {
    succeed(cargo(host).args(["fetch", "--quiet"]));
    let sources = registry(host);
    for library in &LIBRARIES {
        let tests = sources.join(library.folder()).join("tests");
        let mut changed = BTreeSet::new();
        let mut copy = |from: PathBuf, to: &str, is_test: bool| {
            let source =
                fs::read_to_string(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
            let source = library.without_std(&source, |change| _ = changed.insert(change));
            write(&host.join("tests").join(to), &source);
            // The names come last, because attributes for the whole file must come first.
            let head = if is_test { "#![no_std]\n#![no_main]\n" } else { "" };
            let names = "#[allow(unused_imports)]\nuse flatland_guest::prelude::*;\n";
            let source = source.replace("#[test]", "#[flatland_guest::test]");
            write(&guest.join("tests").join(to), &format!("{head}{source}\n{names}"));
        };
        for test in library.tests {
            copy(tests.join(test).with_extension("rs"), &format!("{}_{test}.rs", library.name), true);
        }
        for module in library.modules {
            copy(tests.join(module).join("mod.rs"), &format!("{module}/mod.rs"), false);
        }
        let changes = library.left_out.iter().copied().chain(library.replaced.iter().map(|(from, _)| *from));
        for change in changes {
            assert!(changed.contains(change), "{}: `{change}` is not there to be changed", library.name);
        }
    }
}

/// The folder in which cargo has the sources of a crate's dependencies.
fn registry(crate_folder: &Path) -> PathBuf {
    let metadata = succeed(cargo(crate_folder).args(["metadata", "--format-version", "1"]));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let library = packages.iter().find(|package| package["name"] == LIBRARIES[0].name).expect("it is used");
    let manifest = Path::new(library["manifest_path"].as_str().expect("a path"));
    manifest.ancestors().nth(2).expect("it is in a folder of the registry").into()
}

/// Runs the tests on this machine, instrumented. Returns the lines, and the number of the tests.
fn cover_here(folder: &Path, tools: &Path) -> (Lines, u64) {
    let mut command = cargo(folder);
    command.args(["test", "--quiet", "--tests", "--message-format", "json-render-diagnostics", "--no-run"]);
    let instrumented =
        |command: &mut Command| _ = command.env("RUSTFLAGS", "-Cinstrument-coverage -Awarnings");
    instrumented(&mut command);
    let built = succeed(&mut command);
    let programs: Vec<PathBuf> = text(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect();
    let (mut lines, mut tests) = (Lines::new(), 0);
    // One by one: of several programs with the same function, llvm-cov shows the one that it reads first, and that may
    // be a program where the function is not used.
    let (raw, merged) = (folder.join("profile.profraw"), folder.join("profile.profdata"));
    for program in &programs {
        let mut command = Command::new(program);
        tests += passed(&succeed(command.env("LLVM_PROFILE_FILE", &raw).current_dir(folder)));
        let mut command = Command::new(tools.join("llvm-profdata"));
        succeed(command.args(["merge", "-sparse", "-o"]).arg(&merged).arg(&raw));
        let mut command = Command::new(tools.join("llvm-cov"));
        command.args(["export", "--format=lcov", "--instr-profile"]).arg(&merged).arg(program);
        for (line, count) in lcov::lines(&text(&succeed(&mut command).stdout)) {
            *lines.entry(line).or_default() += count;
        }
    }
    (lines, tests)
}

/// Runs the tests in the guest. Returns the lines, and the number of the tests.
fn cover_in_guest(folder: &Path) -> (Lines, u64) {
    let to = folder.join("coverage.info");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(["test", "--guest", "--memory", "64M", "--coverage-all"])
        .arg(format!("--coverage={}", to.display()));
    command.current_dir(folder).env("FLATLAND_GUEST", folder);
    let output = succeed(&mut command);
    (lcov::lines(&fs::read_to_string(to).expect("it was written")), passed(&output))
}

/// How many tests have passed.
fn passed(output: &Output) -> u64 {
    let text = text(&output.stdout);
    let results =
        text.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split_once(" passed"));
    results.map(|(count, _)| count.parse::<u64>().expect("a number")).sum()
}

/// Compares line by line, and says how many agree.
fn compare(compilers: &Lines, flatlands: &Lines) {
    let mut differences = Vec::new();
    let mut used = BTreeSet::new();
    println!(
        "{:<20} {:>8} {:>8} {:>8} {:>8} {:>12}",
        "lines", "of both", "executed", "agree", "known", "same counts"
    );
    let mut sum = [0; 5];
    for library in &LIBRARIES {
        let folder = format!("/{}/", library.folder());
        let [mut both, mut executed, mut agree, mut known, mut counts] = [0; 5];
        for (place @ (file, line), &compilers) in compilers {
            let Some(at) = file.find(&folder) else { continue };
            let Some(&flatlands) = flatlands.get(place) else { continue };
            let file = &file[at + 1..];
            both += 1;
            executed += usize::from(compilers > 0);
            counts += usize::from(compilers == flatlands);
            if (compilers > 0) == (flatlands > 0) {
                agree += 1;
            } else if let Some(exception) = exception(file, *line) {
                known += 1;
                used.insert((exception, *line));
            } else {
                differences
                    .push(format!("{file}:{line}: the compiler says {compilers}, Flatland {flatlands}"));
            }
        }
        row(&library.folder(), [both, executed, agree, known, counts]);
        for (sum, count) in sum.iter_mut().zip([both, executed, agree, known, counts]) {
            *sum += count;
        }
        assert!(both >= FEWEST_LINES, "{}: only {both} lines have code in both", library.folder());
        assert!(executed > 0 && executed < both, "{}: lines of one kind only", library.folder());
    }
    row("all", sum);
    for (at, Known { file, lines: (first, last), reason }) in KNOWN.iter().enumerate() {
        println!("{file}:{first}-{last}: {reason}");
        for line in (*first..=*last).filter(|line| !used.contains(&(at, *line))) {
            differences
                .push(format!("{file}:{line}: is no difference: remove it from the table of exceptions"));
        }
    }
    assert!(differences.is_empty(), "{} lines:\n{}", differences.len(), differences.join("\n"));
}

fn row(name: &str, [both, executed, agree, known, counts]: [usize; 5]) {
    println!("{name:<20} {both:>8} {executed:>8} {agree:>8} {known:>8} {counts:>12}");
}

/// The number of the exception for a line.
fn exception(file: &str, line: u32) -> Option<usize> {
    let is_this = |known: &Known| known.file == file && (known.lines.0..=known.lines.1).contains(&line);
    KNOWN.iter().position(is_this)
}

/// cargo in this folder, with nothing of the cargo that runs this test.
fn cargo(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(folder).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    command
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder can be made");
    fs::write(path, text).expect("the folder can be written");
}
