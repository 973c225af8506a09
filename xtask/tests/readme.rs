//! Runs the sessions of README.md and guest/README.md: every `console` block, each `$ ` line by bash, and what it prints to both
//! streams compared with the lines that follow.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command and what it prints.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    output: String,
}

fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut in_console = false;
    let mut indent = 0;
    for line in markdown.lines() {
        if !in_console {
            // A block in a list stands farther to the right.
            indent = line.len() - line.trim_start().len();
            in_console = line.trim_start() == "```console";
            continue;
        }
        match line.get(indent..).unwrap_or_default() {
            "```" => in_console = false,
            line => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.into(), output: String::new() }),
                None => {
                    let step = steps.last_mut().expect("a console block begins with a command");
                    step.output.push_str(line);
                    step.output.push('\n');
                }
            },
        }
    }
    assert!(!in_console, "the last console block has no end");
    steps
}

#[test]
fn the_sessions_are_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout");
    let steps = ["README.md", "guest/README.md"].map(|name| {
        let steps = steps(&fs::read_to_string(root.join(name)).expect("there is a README"));
        assert!(steps.len() >= 6, "{name} has sessions: {steps:?}");
        steps
    });
    let bash = |command: &str| {
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("{{ {command}\n}} 2>&1")]).current_dir(root).stdin(Stdio::null());
        bash.output().expect("bash is there")
    };
    // What has to be built is said, but not in the README.
    let built = bash("cargo xtask build && cargo xtask run && cargo xtask test --guest -- --list");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stdout));
    for Step { command, output } in steps.into_iter().flatten() {
        let ran = bash(&command);
        let mut printed: String = String::from_utf8_lossy(&ran.stdout)
            .split_inclusive('\n')
            // Where there is no KVM, it is said first.
            .filter(|line| !line.starts_with("flatland: running on the soft engine, because "))
            .collect();
        // In a README a line has an end, also where a guest's has none.
        if !printed.is_empty() && !printed.ends_with('\n') {
            printed.push('\n');
        }
        assert_eq!(without_addresses(&printed), without_addresses(&output), "$ {command}");
    }
}

/// Where a function lies is the compiler's choice, and changes with every other one: ` at 0x000000ab in NAME`.
fn without_addresses(text: &str) -> String {
    let mut pieces = text.split(" at 0x");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| match piece.split_once(" in ") {
        Some((address, rest)) if address.len() == 8 => text + " at ADDRESS in " + rest,
        _ => text + " at 0x" + piece,
    })
}

#[test]
fn the_programs_are_those_that_are_there() {
    let readme = include_str!("../../README.md");
    for program in
        [include_str!("../../guest/src/bin/hello.rs"), include_str!("../../guest/src/bin/shout.rs")]
    {
        assert!(readme.contains(&format!("```rust\n{program}```\n")), "{program}");
    }
}

#[test]
fn the_ports_are_those_of_the_contract() {
    use flatland_contract::{Direction, Port};
    let readme = include_str!("../../README.md");
    for port in Port::ALL {
        let begin = format!("| 0x{:X} {} |", port.number(), port.name());
        let row = readme.lines().find(|line| line.starts_with(&begin)).expect("the port has a row");
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        for (cell, direction) in [(cells[2], Direction::In), (cells[3], Direction::Out)] {
            assert_eq!(cell != "-", port.allows(direction), "{row}");
        }
    }
}

#[test]
fn steps_are_read() {
    let markdown = "text\n```console\n$ a b\none\n  two\n$ c\n```\n$ no\n```rust\n$ no\n```\n1. d\n\n   ```console\n   $ e\n\n     f\n   ```\n";
    let step = |command: &str, output: &str| Step { command: command.into(), output: output.into() };
    assert_eq!(steps(markdown), [step("a b", "one\n  two\n"), step("c", ""), step("e", "\n  f\n")]);
}
