//! Checks README.md, guest/README.md and docs/reference.md. The commands of their sessions are run. The tables of
//! docs/reference.md are compared with the programs' own texts, and the tests that ARCHITECTURE.md names must exist.

#[path = "common/sessions.rs"]
mod sessions;

use std::fs;
use std::path::Path;
use std::process::Command;

use sessions::{bash, difference, steps};

const REFERENCE: &str = include_str!("../../docs/reference.md");

#[test]
fn the_sessions_are_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout");
    let steps = ["README.md", "guest/README.md", "docs/reference.md"].map(|name| {
        let steps = steps(&fs::read_to_string(root.join(name)).expect("the page is there"));
        assert!(steps.len() >= 6, "{name} has sessions: {steps:?}");
        steps
    });
    // Build first, because builds print messages that are not on the pages.
    let built = bash("cargo xtask build && cargo xtask run && cargo xtask test --guest -- --list", root);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stdout));
    let differences: Vec<_> = steps.iter().flatten().filter_map(|step| difference(step, root)).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_program_is_the_one_that_is_there() {
    let program = include_str!("../../guest/src/bin/hello.rs");
    for page in [include_str!("../../README.md"), include_str!("../../guest/runtime/README.md")] {
        assert!(page.contains(&format!("```rust\n{program}```\n")), "{page}");
    }
}

#[test]
fn the_ports_are_those_of_the_contract() {
    use flatland_contract::{Direction, Port};
    for port in Port::ALL {
        let begin = format!("| 0x{:X} {} |", port.number(), port.name());
        let row = REFERENCE.lines().find(|line| line.starts_with(&begin)).expect("the port has a row");
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        for (cell, direction) in [(cells[2], Direction::In), (cells[3], Direction::Out)] {
            assert_eq!(cell != "-", port.allows(direction), "{row}");
        }
    }
}

#[test]
fn the_statuses_are_those_of_the_contract() {
    use flatland_contract::status::*;
    let rows = rows("status").into_iter().filter_map(|row| row.split('|').nth(1));
    let statuses: Vec<u8> = rows.map(|cell| cell.trim().parse().expect("it is a status")).collect();
    assert!(statuses.is_sorted(), "{statuses:?}");
    for status in
        [SUCCESS, USAGE, PANIC, COVERAGE, TIME_LIMIT, HOST, FAULT, OUTPUT_CLOSED, KILLED, INTERRUPTED]
    {
        assert!(statuses.contains(&status), "{status} has no row");
    }
}

/// The rows of the table that begins with this cell.
fn rows(head: &str) -> Vec<&'static str> {
    let table = REFERENCE.split(&format!("| {head} |")).nth(1).expect("there is a table");
    table.lines().skip(2).take_while(|line| line.starts_with('|')).collect()
}

/// The options in a help: `--name`, or `--name VALUE` if it takes a value.
fn options_of(help: &str) -> Vec<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let heads = lines.map(|line| line.split("  ").next().unwrap_or_default());
    let names = heads.flat_map(|head| head.split(", ")).filter(|name| name.starts_with("--"));
    names.map(Into::into).collect()
}

#[test]
fn the_options_of_flatland_are_there() {
    let source = include_str!("../../host/src/cli/options.rs");
    let help = source.split("pub const HELP: &str = \"").nth(1).and_then(|rest| rest.split("\";\n").next());
    let options = options_of(help.expect("there is a help"));
    assert!(options.len() >= 15, "{options:?}");
    let rows = rows("option").concat();
    for option in options {
        assert!(rows.contains(&format!("`{option}`")), "{option} is missing in docs/reference.md");
    }
}

#[test]
fn the_commands_and_their_options_are_there() {
    let help = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().expect("xtask starts");
        String::from_utf8(output.stdout).expect("a help is text")
    };
    let overview = help(&["--help"]);
    let commands = overview.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let usages: Vec<_> = commands
        .expect("there are commands")
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .map(|line| line.split("  ").next().unwrap_or_default())
        .collect();
    assert!(usages.len() >= 14, "{usages:?}");
    let rows = rows("command");
    for usage in usages {
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{usage}` |")));
        assert!(row.is_some(), "`{usage}` is missing in docs/reference.md");
        let name = usage.split(' ').next().unwrap_or_default();
        if name == "flatland" {
            continue;
        }
        let of_command: String =
            rows.iter().filter(|row| row.starts_with(&format!("| `{name}"))).copied().collect();
        for option in options_of(&help(&["help", name])) {
            assert!(of_command.contains(&format!("`{option}`")), "{option} of `{name}` is missing");
        }
    }
}

#[test]
fn the_tests_of_the_invariants_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout");
    let page = include_str!("../../ARCHITECTURE.md");
    let table = page.split("| invariant | code | tests |").nth(1).expect("there is a table");
    let rows: Vec<_> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 10, "{rows:?}");
    for row in rows {
        let cell = row.split('|').nth(3).expect("the row has three cells");
        let mut source = None;
        for name in cell.split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                source =
                    Some(fs::read_to_string(root.join(name)).unwrap_or_else(|_| panic!("{name}: {row}")));
            } else {
                let source = source.as_ref().expect("a file stands before its tests");
                assert!(source.contains(&format!("fn {name}(")), "{name} is no test: {row}");
            }
        }
        assert!(source.is_some(), "{row}");
    }
}
