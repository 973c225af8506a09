//! Wrong use of the attributes of tests, and machines that tests ask for.

use std::fs;

use crate::{ELSEWHERE, flatland, text};

const HEAD: &str =
    "#![no_std]\n#![no_main]\nuse flatland_guest::prelude::*;\nuse flatland_guest::{init, test};\n";

/// Runs a file of tests, and returns the status and what is written.
fn tests(source: &str, options: &str) -> (Option<i32>, String, String) {
    let path = ELSEWHERE.join("tests/attributes.rs");
    fs::write(&path, format!("{HEAD}{source}")).unwrap();
    let output = flatland(&format!("test attributes {options}"));
    fs::remove_file(path).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

pub fn mistakes_are_explained() {
    let together = [
        ("#[test(1)] fn a() {}", "`#[test]` takes no arguments: remove them"),
        ("#[test] struct A;", "`#[test]` belongs to a function: `#[test] fn name() { ... }`"),
        ("#[init] struct B;", "`#[init]` belongs to a function: `#[init] fn name() { ... }`"),
        ("#[init] unsafe fn c() {}", "an `#[init]` cannot be `unsafe`: put an `unsafe` block inside it"),
        ("#[test] fn d<T>() {}", "a test has no generic parameters: remove them"),
        (
            "#[init] fn e(_: u8) {}",
            "an `#[init]` takes no arguments, because nothing runs before it: `#[init] fn name() -> Value`",
        ),
        (
            "#[test] fn f(_: Result<u8, u8>, _: u8) {}",
            "a test takes at most one argument, which is the value of `#[init]`: `#[test] fn name(value: Value)`",
        ),
        ("#[init] #[timeout(3)] fn g() {}", "`#[timeout(3)]` belongs to a test: put it there"),
        (
            "#[test] #[memory(\"5000\")] fn h() {}",
            "`#[memory(\"5000\")]` is not whole pages: give a multiple of 4K",
        ),
        ("#[test] #[stack(4)] fn i() {}", "write `#[stack(\"64M\")]`: bytes, or with K, M or G"),
    ];
    let source: String = together.iter().map(|(line, _)| format!("{line}\n")).collect();
    let (status, _, stderr) = tests(&source, "");
    assert_eq!(status, Some(1), "{stderr}");
    for (index, (line, message)) in together.into_iter().enumerate() {
        // The next line says where.
        let said = stderr.split_once(&format!("error: {message}\n"));
        let (_, rest) = said.unwrap_or_else(|| panic!("{line}: {stderr}"));
        let place = format!("--> tests/attributes.rs:{}:", HEAD.lines().count() + index + 1);
        assert!(rest.lines().next().is_some_and(|next| next.contains(&place)), "{line}: {stderr}");
    }
    // These the compiler says itself.
    for (source, part) in [
        ("#[test] fn a(_: u8) {}\n", "cannot find function `__init_of_this_module` in this scope"),
        ("#[init] fn a() -> u8 { 1 }\n#[test] fn b(_: u16) {}\n", "expected `u16`, found `u8`"),
        (
            "#[init] fn a() {}\nmod b { #[flatland_guest::init] fn c() {} #[flatland_guest::test] fn d() {} }\n",
            "error: symbol `__flatland_one_init_in_a_program` is already defined",
        ),
    ] {
        let (status, _, stderr) = tests(source, "");
        assert_eq!(status, Some(1), "{source}");
        assert!(stderr.contains(part), "{source}: {stderr}");
    }
}

pub fn a_test_has_the_machine_that_it_asks_for() {
    let source = "
fn can_have(mebibytes: usize) -> bool {
    Vec::<u8>::new().try_reserve_exact(mebibytes << 20).is_ok()
}

#[test]
#[memory(\"8M\")]
fn small() {
    assert!(can_have(5) && !can_have(8));
}

#[test]
fn large() {
    assert!(can_have(30));
}

#[test]
#[stack(\"64K\")]
fn with_little_stack() {
    assert!(can_have(14));
}

#[test]
#[memory(\"1M\")]
#[stack(\"2M\")]
fn without_room() {}
";
    // What a test asks for wins over what the command line says of all.
    let (status, stdout, _) = tests(source, "--memory 64M -- --test-threads=1");
    let (stdout, _) = stdout.split_once("; finished in").expect("it ends with a summary");
    let why = "the test at tests/attributes.rs:27 was not run: a stack of 2M and the guard below it leave nothing of the \
               machine's 1M of RAM: give it a smaller stack or more RAM";
    let expected = format!(
        "\nrunning 4 tests\n\
         test attributes::large ... ok\n\
         test attributes::small ... ok\n\
         test attributes::with_little_stack ... ok\n\
         test attributes::without_room ... FAILED\n\
         \n\
         failures:\n\
         \n\
         ---- attributes::without_room stdout ----\n\
         {why}\n\
         \n\
         \n\
         failures:\n    \
             attributes::without_room\n\
         \n\
         test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out"
    );
    assert_eq!((status, stdout), (Some(101), &*expected));
    // Without it, the machine is the default one.
    let (_, stdout, _) = tests(source, "-- --test-threads=1 --format terse");
    assert!(stdout.contains("attributes::large --- FAILED\n"), "{stdout}");
}
