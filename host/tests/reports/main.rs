//! The report of each kind of failure, line by line, on each engine: `expected.txt` has them.
//!
//! The images are a few bytes of machine code each, and so are the ELF files that name their functions. This program
//! needs nothing but /dev/kvm and a folder for temporary files, so its binary also runs on another machine.

#[path = "../common/mod.rs"]
mod common;

mod cases;
#[path = "../common/elf.rs"]
mod elf;
#[path = "../common/expected.rs"]
mod expected;
mod program;

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process};

use cases::{CASES, Case};
use common::{engines, machine_with};
use expected::{expected, names};
use flatland::EngineChoice;
use flatland::report::{Paint, Report};
use flatland::{MemoryMap, Program};

const EXPECTED: &str = include_str!("expected.txt");

#[test]
fn each_way_to_go_wrong_is_told_line_by_line() {
    let mut wrong = String::new();
    for case in CASES {
        let expected_on_soft = report(case, EngineChoice::Soft);
        for engine in engines().iter().filter(|engine| !(case.soft_only && **engine == EngineChoice::Kvm)) {
            let actual = report(case, *engine);
            let expected = expected(EXPECTED, case.name, *engine);
            // A run that moves ends on the engine that has the instruction.
            let refused = |report: &str| report.contains(" cannot run here");
            let needs_no_move =
                refused(&expected_on_soft) || !refused(&actual) || *engine != EngineChoice::Auto;
            if !expected.iter().any(|expected| **expected == actual) || !needs_no_move {
                wrong += &format!("== {}, by {engine:?}\n{actual}", case.name);
            }
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{wrong}");
}

#[test]
fn there_are_enough_of_them_and_each_is_expected() {
    assert!(CASES.len() >= 30, "{}", CASES.len());
    for name in names(EXPECTED) {
        assert!(CASES.iter().any(|case| case.name == name), "nothing is called `{name}`");
    }
}

/// Runs an image as the program `flatland` does, and returns its messages and its status.
fn report(case: &Case, engine: EngineChoice) -> String {
    let mut text = String::new();
    let mut program = Program::from_bytes(case.code.to_vec()).expect("there is code");
    let mut map = MemoryMap::from(case.memory.parse::<flatland::MemorySize>().expect("it is a size"));
    let file = (!case.functions.is_empty()).then(|| Temporary::new(case.name, engine, &program::of(case)));
    let mut symbols = file.as_ref().map(|file| &*file.0);
    if let Some(path) = symbols {
        match program.add_elf(path) {
            Ok(()) => map = map.protecting(program.segments().unwrap_or_default()).expect("it fits"),
            Err(error) => {
                text += &format!("{error}\n").replace(&path.display().to_string(), "ELF");
                symbols = None;
            }
        }
    }
    let mut machine = machine_with(engine, map, case.code, b"");
    if let Some(count) = case.instructions {
        machine.set_instruction_limit(count).expect("soft can count");
    }
    if case.is_endless {
        machine.set_time_limit(Duration::from_millis(100));
    }
    let outcome = machine.run().expect("the host can do its work");
    let report = Report::new(&outcome, machine.engine(), symbols, case.backtraces);
    if let Some(message) = report.message() {
        text += &format!("{message}\n");
    }
    text += &report.body(Paint::PLAIN);
    for note in &report.notes {
        text += &format!("{note}\n");
    }
    text + &format!("status {}\n", report.outcome.status())
}

/// A file that is deleted at the end of the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, engine: EngineChoice, bytes: &[u8]) -> Self {
        let name = format!("flatland-{}-{engine:?}-{}.elf", process::id(), name.replace(' ', "-"));
        let path = env::temp_dir().join(name);
        fs::write(&path, bytes).expect("there is a folder for temporary files");
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
