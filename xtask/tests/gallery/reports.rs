//! Tests the reports on failed guests, line by line: `reports.expected` has them for each way of `fault` and for
//! `panic`. Addresses and register values are left out, because they depend on the compiler.

use std::env;

use flatland::EngineChoice;

use super::another_machine::{self, Run};
use super::expected::{expected, names};
use super::numbers::without_long_numbers;
use super::{On, engines, guest};

const EXPECTED: &str = include_str!("reports.expected");

#[test]
fn reports_are_as_expected() {
    for on in engines() {
        let told: String = runs()
            .iter()
            .map(|Run { title, program, argument }| {
                let arguments: &[&str] = if argument.is_empty() { &[] } else { &[argument] };
                let output = guest(on, program, arguments, b"*");
                let status = output.status.code().expect("no signal ends it");
                format!("== {title}\n{}status {status}\n", String::from_utf8_lossy(&output.stderr))
            })
            .collect();
        assert_as_expected(&told, if on == On::Soft { EngineChoice::Soft } else { EngineChoice::Kvm });
    }
}

/// The same on the KVM of another machine, if one is named (CONTRIBUTING.md). Otherwise on this machine, with nothing
/// but the packed files.
#[test]
fn reports_are_as_expected_where_all_is_taken_to() {
    let (runner, engine) = match env::var("FLATLAND_TEST_RUNNER") {
        Ok(runner) => (runner, EngineChoice::Kvm),
        Err(_) => ("sh".into(), EngineChoice::Soft),
    };
    println!("by `{runner}`, on {engine:?}");
    assert_as_expected(&another_machine::told(&runner, engine, &runs()), engine);
}

#[test]
fn each_way_to_fail_is_expected_and_nothing_else() {
    let runs = runs();
    assert!(runs.len() > 12);
    for Run { title, .. } in &runs {
        assert!(names(EXPECTED).any(|name| name == title), "nothing is expected of `{title}`");
    }
    for name in names(EXPECTED) {
        assert!(runs.iter().any(|run| run.title == name), "there is no `{name}`");
    }
}

#[track_caller]
fn assert_as_expected(told: &str, engine: EngineChoice) {
    let mut wrong = String::new();
    for Run { title, .. } in runs() {
        let actual = expected(told, &title, EngineChoice::Soft).first().map(|text| without_numbers(text));
        let expected = expected(EXPECTED, &title, engine);
        if !expected.iter().any(|expected| Some(*expected) == actual.as_deref()) {
            wrong += &format!("== {title}, by {engine:?}\n{}", actual.as_deref().unwrap_or("nothing\n"));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{wrong}");
}

/// The ways that `fault` lists, and `panic`.
fn runs() -> Vec<Run> {
    let output = guest(On::Soft, "fault", &[], b"");
    let list = String::from_utf8(output.stderr).expect("names are UTF-8");
    let ways = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let run = |title: &str, program, argument: &str| Run {
        title: title.into(),
        program,
        argument: argument.into(),
    };
    ways.map(|way| run(way, "fault", way)).chain([run("panic", "panic", "")]).collect()
}

/// Removes numbers that depend on the compiler.
fn without_numbers(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.trim_start().split(' ').next() {
            Some("instruction") if line.contains("call") => "  instruction  call\n".into(),
            Some("eip") => "               eip NUMBER  eflags NUMBER\n".into(),
            _ => without_long_numbers(line),
        })
        .collect()
}
