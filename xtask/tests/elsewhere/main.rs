//! A guest's crate outside the checkout, as `cargo xtask new --path` makes it, and what becomes of a person's mistakes in
//! it.

#[path = "../common/numbers.rs"]
mod numbers;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::{env, fs, process};

use flatland_contract::memory::{Layout, MAX_RAM_SIZE, default_stack_size};
use numbers::without_long_numbers;

/// The crate. Made anew; what is built in it stays, since building `core` takes a while.
static ELSEWHERE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = env::temp_dir().join(format!("flatland-elsewhere-{}", process::id()));
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("elsewhere");
    fs::create_dir_all(&built).unwrap();
    let line = ["new", "--path", folder.to_str().expect("paths here are UTF-8"), "kernel"];
    let output = run(Command::new(env!("CARGO_BIN_EXE_xtask")).args(line));
    let shown = fs::canonicalize(&folder).unwrap();
    let expected = format!(
        "made {0}; now:\n  \
           cd {0}\n  \
           cargo xtask run kernel              # builds it and runs it\n  \
           cargo xtask test --guest kernel     # runs its tests\n  \
           cargo xtask build --release kernel  # makes it small, as target/guest/NAME.bin\n",
        shown.display()
    );
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    symlink(built, folder.join("target")).unwrap();
    fs::create_dir(folder.join("tests")).unwrap();
    fs::write(folder.join("tests/outcomes.rs"), include_str!("outcomes.guest.rs")).unwrap();
    folder
});

/// `cargo xtask` there, as a person types it.
fn xtask(line: &str) -> Output {
    run(Command::new("cargo").arg("xtask").args(line.split_whitespace()).current_dir(&*ELSEWHERE))
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Only the tests of the whole crate build all of it, so programs that cannot be built stay out of their way.
fn with_program(name: &str, source: &str, check: impl FnOnce(&str)) {
    let path = ELSEWHERE.join(format!("src/bin/{name}.rs"));
    fs::write(&path, source).unwrap();
    let output = xtask(&format!("build {name}"));
    fs::remove_file(path).unwrap();
    assert_eq!(output.status.code(), Some(1), "{name}");
    check(&text(&output.stderr));
}

#[test]
fn a_crate_elsewhere() {
    // Everything in one test: the steps share the crate, and cargo would make them wait for each other.
    it_runs();
    programs_are_added();
    names_are_checked();
    tests_are_listed_and_chosen();
    tests_end_in_each_way();
    the_heap_is_as_large_as_ram_allows();
    a_program_for_std_is_one_for_the_guest();
    mistakes_are_explained();
    fs::remove_dir_all(&*ELSEWHERE).unwrap();
}

fn it_runs() {
    let output = xtask("run kernel");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "Hello from kernel!\n".into()));
    // There is no other program, so it need not be named.
    assert_eq!(text(&xtask("run").stdout), "Hello from kernel!\n");
    let summary = "kernel  Says hello: the first sentence here is what `cargo xtask list` shows\n";
    assert_eq!(text(&xtask("list").stdout), summary);
}

fn programs_are_added() {
    let output = xtask("new second");
    assert!(text(&output.stdout).starts_with("made src/bin/second.rs; now:\n  cargo xtask run second "));
    assert_eq!(text(&xtask("run second").stdout), "Hello from second!\n");
    let output = xtask("run");
    let message = "xtask: which program? Choose one of kernel, second\n";
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(125), message.into()));
    fs::remove_file(ELSEWHERE.join("src/bin/second.rs")).unwrap();
}

fn names_are_checked() {
    let inside = format!(
        "{}/target/x is inside this checkout: choose a folder elsewhere, or make a program here with `cargo xtask new a`",
        ELSEWHERE.display()
    );
    for (line, message) in [
        (
            "new kernel",
            "there is a program `kernel` already: look at src/bin/kernel.rs, or choose another name".into(),
        ),
        (
            "new 2nd",
            "`2nd` is no name for a program, because it does not begin with a letter: choose another, such as \
             `my-kernel`"
                .into(),
        ),
        ("new --path target/x a", inside),
        ("new --path . a", format!("{}/. is not empty: choose a new folder", ELSEWHERE.display())),
    ] {
        let output = xtask(line);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), format!("xtask: {message}\n")));
    }
}

fn tests_are_listed_and_chosen() {
    let output = xtask("test --guest kernel -- --list");
    assert_eq!(text(&output.stdout), "kernel::tests::the_greeting_is_friendly: test\n");
    let output = xtask("test --guest -- --exact outcomes::passes");
    let expected = "\nrunning 1 test\ntest outcomes::passes ... ok\n\n\
                    test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 16 filtered out; finished in ";
    assert!(text(&output.stdout).starts_with(expected), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(0));
    // Nothing is kept back.
    let output = xtask("test --guest outcomes::passes -- --nocapture");
    assert!(text(&output.stdout).contains("not shown\n"));
    let output = xtask("test --guest is_ignored -- --ignored");
    assert!(text(&output.stdout).contains("not ignored\nthe test at tests/outcomes.rs:93 panicked\n"));
    assert_eq!(output.status.code(), Some(101));
}

fn tests_end_in_each_way() {
    for engine in ["", "--engine soft"] {
        let output = xtask(&format!("test --guest outcomes {engine} -- --test-threads=1"));
        assert_eq!(output.status.code(), Some(101));
        let actual = text(&output.stdout);
        let (actual, _) = actual.split_once("; finished in").expect("it ends with a summary");
        assert_eq!(without_addresses(actual), include_str!("outcomes.expected").trim_end(), "{engine}");
    }
}

/// Where code lies and what the registers hold is the compiler's choice, and the depth of a recursion too.
fn without_addresses(text: &str) -> String {
    let line = |line: &str| match line.trim_start().split(' ').next() {
        Some("instruction") => "  instruction\n".into(),
        Some("eip") => "               eip NUMBER  eflags NUMBER\n".into(),
        _ => without_long_numbers(line),
    };
    text.split_inclusive('\n').map(line).collect()
}

fn the_heap_is_as_large_as_ram_allows() {
    fs::write(ELSEWHERE.join("src/bin/heap.rs"), include_str!("heap.guest.rs")).unwrap();
    for mebibytes in [16, 2048, 3072, MAX_RAM_SIZE >> 20] {
        let output = xtask(&format!("run heap --engine soft --memory {mebibytes}M"));
        let had: Vec<u32> = text(&output.stdout).lines().map(|line| line.parse().unwrap()).collect();
        let [first, second] = had[..] else { panic!("{mebibytes}M: {}", text(&output.stderr)) };
        let ram_size = mebibytes << 20;
        let room = Layout::new(ram_size, default_stack_size(ram_size)).heap_end >> 20;
        // The program and the allocator need some, too.
        assert!((room - 3..=room).contains(&first), "{mebibytes}M: {first} of {room} MiB");
        assert_eq!(first, second, "{mebibytes}M");
    }
    fs::remove_file(ELSEWHERE.join("src/bin/heap.rs")).unwrap();
}

fn a_program_for_std_is_one_for_the_guest() {
    let source = include_str!("std_names.guest.rs");
    let head = "#![no_std]\n#![no_main]\nflatland_guest::entry!(main);\nuse core::fmt;\n\
                use flatland_guest::prelude::*;\n";
    let (documentation, code) = source.split_once("\n\n").unwrap();
    let guest = code.replace("use std::fmt;\n", "").replace("use std::", "use flatland_guest::");
    fs::write(ELSEWHERE.join("src/bin/names.rs"), format!("{documentation}\n{head}{guest}")).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (here, native) = (folder.join("names.rs"), folder.join("names"));
    fs::write(&here, source).unwrap();
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = run(Command::new(rustc).args(["--edition", "2024", "-o"]).arg(&native).arg(&here));
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));
    let built = xtask("build names");
    assert!(built.status.success(), "{}", text(&built.stderr));

    let input = folder.join("names.input");
    for (arguments, bytes) in [
        ("", &b""[..]),
        ("what", b""),
        ("exit", b""),
        ("read", b"first\r\nsecond\nthird\nfo\nabcdrest\nand the last"),
        ("read", b"\n\xff\nthird\nfourth\nabcdrest\nand \xfe"),
        ("read", b"one\ntwo"),
        ("read", b"first\nsecond\n\xff"),
    ] {
        fs::write(&input, bytes).unwrap();
        let outcome = |command: &mut Command| {
            let output = command.stdin(fs::File::open(&input).unwrap()).output().expect("it starts");
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let expected = outcome(Command::new(&native).args(arguments.split_whitespace()));
        let line = format!("xtask run names --engine soft -- {arguments}");
        let actual = outcome(Command::new("cargo").args(line.split_whitespace()).current_dir(&*ELSEWHERE));
        assert_eq!(actual, expected, "{arguments} {}", text(bytes));
    }
    // A shell says 134 for the signal that ends the other one.
    let output = xtask("run names --engine soft -- abort");
    assert_eq!(output.status.code(), Some(134), "{}", text(&output.stderr));
    fs::remove_file(ELSEWHERE.join("src/bin/names.rs")).unwrap();
}

fn mistakes_are_explained() {
    const HEAD: &str = "#![no_std]\n#![no_main]\nflatland_guest::entry!(main);\n";
    for (name, main, explanations) in [
        (
            "argument",
            "fn main(_: u32) {}",
            ["function is expected to take 0 arguments, but it takes 1 argument", "src/bin/argument.rs"],
        ),
        (
            "number",
            "fn main() -> u8 { 1 }",
            [
                "`main` and tests return nothing, an `ExitCode`, a `Result` or `!`, and not `u8`",
                "`ExitCode` is `flatland_guest::process::ExitCode`: `ExitCode::from(7)` is status 7",
            ],
        ),
        (
            "later",
            "async fn main() {}",
            ["`main` and tests return nothing, an `ExitCode`, a `Result` or `!`", "src/bin/later.rs"],
        ),
    ] {
        with_program(name, &format!("{HEAD}{main}\n"), |message| {
            for explanation in explanations {
                assert!(message.contains(explanation), "{message}");
            }
        });
    }
    // The linker's message, and xtask's where the compiler stops before the program is linked.
    with_program("nothing", "#![no_std]\n#![no_main]\nuse flatland_guest as _;\nfn main() {}\n", |message| {
        let line = "add the line `flatland_guest::entry!(main);`";
        assert!(
            message
                .contains(&format!("flatland: the program does not say what its main function is: {line}."))
        );
    });
    const LINES: [&str; 3] = ["#![no_std]", "#![no_main]", "flatland_guest::entry!(main);"];
    for present in 0..LINES.len() {
        let source = LINES[..present].join("\n") + "\nfn main() {}\n";
        let expected = format!(
            "xtask: src/bin/lines.rs is no guest program yet: add `{}`\n",
            LINES[present..].join("`, `")
        );
        with_program("lines", &source, |message| assert!(message.ends_with(&expected), "{message}"));
    }
}
