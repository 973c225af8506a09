//! Programs whose floats the processor computes: `hard-floats` in the package's Cargo.toml.

use std::fs;

use crate::{ELSEWHERE, flatland, text};

/// Tells what computes its floats. Its test passes only if that is SSE2.
const PROGRAM: &str = "#![no_std]\n#![no_main]\n\
    flatland_guest::entry!(main);\n\
    fn main() {\n    \
        let half = core::hint::black_box(1.0) / core::hint::black_box(2.0);\n    \
        flatland_guest::println!(\"SSE2: {}, {half:?}\", cfg!(target_feature = \"sse2\"));\n}\n\
    #[cfg(test)]\n#[flatland_guest::test]\n\
    fn floats_are_hard() {\n    assert!(cfg!(target_feature = \"sse2\"));\n}\n";

pub fn floats_are_soft_or_hard() {
    let manifest = ELSEWHERE.join("Cargo.toml");
    let before = fs::read_to_string(&manifest).unwrap();
    let with = |line: &str| {
        let table = format!("[package.metadata.flatland]\n{line}\n\n[dependencies]");
        fs::write(&manifest, before.replace("[dependencies]", &table)).unwrap();
    };
    let program = ELSEWHERE.join("src/bin/floats.rs");
    fs::write(&program, PROGRAM).unwrap();
    let printed = |line: &str| {
        let output = flatland(line);
        (text(&output.stdout), text(&output.stderr))
    };

    let soft = printed("run floats");
    assert_eq!(soft.0, "SSE2: false, 0.5\n", "{}", soft.1);
    with("hard-floats = [\"floats\"]");
    // What runs it moves to an engine that has SSE2, and turns it on nowhere else.
    let hard = printed("run floats");
    assert_eq!(hard.0, "SSE2: true, 0.5\n", "{}", hard.1);
    assert_eq!(printed("run kernel").0, "Hello from kernel!\n");
    // Each test is built like its program, also where all of them are.
    for line in ["test floats", "test"] {
        let (stdout, stderr) = printed(line);
        assert!(stdout.contains("\ntest floats::floats_are_hard ... ok\n"), "{stdout}{stderr}");
        let has_other = stdout.contains("\ntest kernel::tests::the_greeting_is_friendly ... ok\n");
        assert_eq!(has_other, line == "test", "{stdout}{stderr}");
    }
    with("hard-floats = true");
    let (stdout, stderr) = printed("test");
    assert!(stdout.contains("test result: ok. 2 passed"), "{stdout}{stderr}");

    let message = |what: &str| {
        format!(
            "flatland: `hard-floats` under [package.metadata.flatland] of `kernel`: {what}; write `true`, or the names of \
             programs as [\"one\", \"two\"]\n"
        )
    };
    with("hard-floats = [\"flaots\"]");
    assert_eq!(printed("build"), (String::new(), message("there is no program `flaots`")));
    with("hard-floats = \"floats\"");
    assert_eq!(printed("build"), (String::new(), message("it is neither `true` nor a list of names")));

    fs::write(manifest, before).unwrap();
    fs::remove_file(program).unwrap();
}
