//! The guest programs, each on real input, compared with an independent implementation: coreutils or python.
//!
//! Large inputs are for the soft engine: a KVM that emulates instructions would take too long.

mod another_machine;
mod bad_input;
#[path = "../common/mod.rs"]
mod common;
mod computing;
mod copying;
#[path = "../../../host/tests/common/expected.rs"]
mod expected;
#[path = "../common/numbers.rs"]
mod numbers;
mod planted;
mod reports;
mod system;
mod traces;
mod wasm;

use std::env;
use std::process::{Command, Output};

use common::{built, root, run};

/// The engine to run a program on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Soft,
    Kvm,
    Auto,
}

/// The engines that this machine has.
fn engines() -> Vec<On> {
    if env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() { vec![On::Soft] } else { vec![On::Soft, On::Kvm] }
}

/// Runs a guest program with these arguments.
fn guest(on: On, name: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(built("release/flatland"));
    command.args([
        "--sandbox",
        "--engine",
        match on {
            On::Soft => "soft",
            On::Kvm => "kvm",
            On::Auto => "auto",
        },
        "--timeout",
        "60",
        "--symbols",
    ]);
    command.arg(built(&format!("guest/{name}.elf"))).arg(built(&format!("guest/{name}.bin")));
    run(command.arg("--").args(arguments).current_dir(root()), input)
}

/// Runs a Python script, and returns its output.
fn python(script: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    other("python3", &[&["-c", script], arguments].concat(), input)
}

/// Runs a program on the host, and returns its output.
fn other(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = run(Command::new(program).args(arguments), input);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[track_caller]
fn assert_ended(output: &Output, status: i32, stdout: &[u8], stderr: &str) {
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(status), stderr));
    // Not `assert_eq`, which would print megabytes.
    let differs = output.stdout.iter().zip(stdout).position(|(actual, expected)| actual != expected);
    let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
    assert!(
        output.stdout == stdout,
        "{} bytes instead of {}, different from byte {differs:?} on:\n{}\ninstead of:\n{}",
        output.stdout.len(),
        stdout.len(),
        shown(&output.stdout),
        shown(stdout)
    );
}

/// Pseudo-random bytes, the same in each run (xorshift).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2011_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Text of this length, in lines.
fn text(len: usize) -> Vec<u8> {
    let words = noise(len).into_iter().map(|byte| if byte < 12 { b'\n' } else { b' ' + byte % 90 });
    words.collect()
}

#[test]
fn hello_is_a_few_lines() {
    let source = include_str!("../../../guest/src/bin/hello.rs");
    assert!(source.lines().count() <= 6);
    for on in engines() {
        assert_ended(&guest(on, "hello", &[], b""), 0, b"Hello, Flatland!\n", "");
    }
}

#[test]
fn each_program_is_introduced_on_the_page() {
    let page = include_str!("../../../guest/README.md");
    let listed = other(env!("CARGO_BIN_EXE_xtask"), &["list"], b"");
    let listed = String::from_utf8(listed).expect("names are UTF-8");
    assert!(listed.lines().count() >= 15, "{listed}");
    for line in listed.lines() {
        let (name, what) = line.split_once(' ').unwrap_or((line, ""));
        assert!(name == "hello" || !what.trim().is_empty(), "{name} does not say what it does");
        let link = [format!("[`{name}`](src/bin/{name}.rs)"), format!("[`{name}`](src/bin/{name}/main.rs)")];
        assert!(link.iter().any(|link| page.contains(link)), "{name} is not in guest/README.md");
    }
}
