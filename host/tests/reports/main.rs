//! Each way for a guest to go wrong, and its report, line by line, on each engine: `expected.txt` has them.
//!
//! The images are a few bytes of machine code each, and so are the ELF files that name their functions. This program
//! needs nothing but /dev/kvm and a folder for temporary files, so it can be taken to another machine as it is.

#[path = "../common/mod.rs"]
mod common;

mod cases;
mod elf;

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process};

use cases::{CASES, Case};
use common::{engines, machine_with};
use flatland::engine::choice::Choice;
use flatland::{Image, MemoryMap, Paint, Report};

/// What is expected: `== NAME`, and the lines below it. Where KVM tells something else there is `== NAME, kvm` too, and
/// where KVMs differ, `== NAME, kvm by its emulator` and `== NAME, kvm by the processor`; the one of QEMU is told apart
/// where it does what no other does. `as soft` is short for what the soft engine tells.
const EXPECTED: &str = include_str!("expected.txt");

#[test]
fn each_way_to_go_wrong_is_told_line_by_line() {
    let mut wrong = String::new();
    for case in CASES {
        for engine in engines().iter().filter(|engine| !(case.soft_only && **engine == Choice::Kvm)) {
            let actual = report(case, *engine);
            let expected = expected(case.name, *engine);
            if !expected.iter().any(|expected| **expected == actual) {
                wrong += &format!("== {}, by {engine:?}\n{actual}", case.name);
            }
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{wrong}");
}

#[test]
fn there_are_enough_of_them_and_each_is_expected() {
    assert!(CASES.len() >= 30, "{}", CASES.len());
    for name in EXPECTED.lines().filter_map(|line| line.strip_prefix("== ")) {
        let name = name.split(", kvm").next().unwrap_or_default();
        assert!(CASES.iter().any(|case| case.name == name), "nothing is called `{name}`");
    }
}

/// Runs an image as the program `flatland` does, and returns what it says and its status.
fn report(case: &Case, engine: Choice) -> String {
    let mut text = String::new();
    let image = Image::from_bytes(case.code.to_vec()).expect("there is code");
    let mut map = MemoryMap::from(case.memory.parse::<flatland::MemorySize>().expect("it is a size"));
    let file = (!case.functions.is_empty()).then(|| Temporary::new(case.name, engine, &elf::of(case)));
    let mut symbols = file.as_ref().map(|file| &*file.0);
    if let Some(path) = symbols {
        match flatland::segments(path, &image) {
            Ok(segments) => map = map.protecting(&segments).expect("it fits"),
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

fn expected(name: &str, engine: Choice) -> Vec<&'static str> {
    let section = |title: &str| {
        let begin = EXPECTED.find(&format!("== {title}\n"))?;
        let text = &EXPECTED[begin..].split_once('\n')?.1;
        Some(&text[..text.find("\n== ").map_or(text.len(), |end| end + 1)])
    };
    let kvms = ["kvm", "kvm by its emulator", "kvm by the processor", "kvm by QEMU's processor"];
    let of_kvm: Vec<_> = kvms
        .iter()
        .filter_map(|kvm| section(&format!("{name}, {kvm}")))
        .map(|text| if text == "as soft\n" { section(name).unwrap_or_default() } else { text })
        .collect();
    match engine {
        Choice::Kvm if !of_kvm.is_empty() => of_kvm,
        _ => section(name).into_iter().collect(),
    }
}

/// A file that is gone when the test is through.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, engine: Choice, bytes: &[u8]) -> Self {
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
