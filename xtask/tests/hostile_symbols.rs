//! Broken ELF files as symbols: truncated, with changed bytes, or of another program. A report shows what it can, and
//! the host neither panics nor hangs.

mod common;
#[path = "../../host/tests/common/random.rs"]
mod random;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{built, file, root, succeed, target};
use flatland::coverage::{Counter, Coverage, Scope};
use flatland::program::source_map::SourceMap;
use flatland::report::{Backtraces, Paint, Report};
use flatland::soft::SoftEngine;
use flatland::x86::Engine;
use flatland::{Image, Input, Machine, MemorySize, Outcome, Streams};
use random::Random;

/// A program's image and ELF file.
struct Program {
    image: PathBuf,
    elf: PathBuf,
}

fn program(name: &str) -> Program {
    let file = |suffix: &str| built(&format!("guest/{name}.{suffix}"));
    Program { image: file("bin"), elf: file("elf") }
}

/// A run of `panic` that has panicked.
fn panicked(image: &Image) -> (Machine, Outcome) {
    let engine = SoftEngine::new(MemorySize::default());
    let streams = Streams { input: Input::from_bytes(b"*".to_vec()), ..Streams::none() };
    let mut machine = Machine::new(Box::new(engine), image, streams).expect("it fits");
    let outcome = machine.run().expect("the host can do its work");
    assert_eq!(outcome, Outcome::Exited(101));
    (machine, outcome)
}

/// Reports with this ELF file, and returns whether the panic was found.
fn reports(name: &str, elf: &[u8], image: &Image, engine: &mut dyn Engine, outcome: &Outcome) -> bool {
    let path = file(&format!("hostile-{name}.elf"));
    fs::write(&path, elf).expect("the folder for tests can be written");
    let start = Instant::now();
    // The file's segments may be anything, but must not cause a panic.
    let _ = flatland::Program::from(image.clone()).add_elf(&path);
    let report = Report::new(outcome, engine, Some(&path), Backtraces::Always);
    let body = report.body(Paint::PLAIN);
    assert!(body.lines().count() < 1000, "{name}: {body}");
    assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
    report.is_panic
}

/// Reads the lines and functions of all code in this ELF file, as for coverage. It takes longer.
fn covers(elf: &[u8], engine: &dyn Engine) {
    let path = file("hostile-covered.elf");
    fs::write(&path, elf).expect("the folder for tests can be written");
    let Ok(map) = SourceMap::open(&path) else { return };
    let read = |address: u32, bytes: &mut [u8]| engine.read_ram(address, bytes);
    let coverage = Coverage::new(&Counter::default(), &map, &read, Scope::All);
    assert_eq!(coverage.lines().covered, 0, "nothing was counted");
    assert!(coverage.table().len() < 16 << 20 && coverage.lcov().len() < 64 << 20);
}

#[test]
fn a_file_that_is_cut_off() {
    let program = program("panic");
    let image = Image::open(&program.image, MemorySize::default()).expect("it was built");
    let elf = fs::read(&program.elf).expect("it was built");
    let (mut machine, outcome) = panicked(&image);
    assert!(reports("whole", &elf, &image, machine.engine(), &outcome));
    for part in 0..50 {
        let elf = &elf[..elf.len() * part / 50];
        assert!(!reports("cut", elf, &image, machine.engine(), &outcome), "{part} of 50");
    }
}

#[test]
fn a_file_with_other_bytes() {
    const COUNT: u64 = 400;
    let program = program("panic");
    let image = Image::open(&program.image, MemorySize::default()).expect("it was built");
    let elf = fs::read(&program.elf).expect("it was built");
    let (mut machine, outcome) = panicked(&image);
    let mut found = 0;
    let mut random = Random::new(1);
    for number in 0..COUNT {
        let mut broken = elf.clone();
        // Every fourth file has changes in the headers only, which matter most and are small.
        let reach = if number.is_multiple_of(4) { 0x100 } else { broken.len() };
        random.overwrite(&mut broken[..reach], 8);
        if number % 16 == 1 {
            covers(&broken, machine.engine());
        }
        found += u64::from(reports("other", &broken, &image, machine.engine(), &outcome));
    }
    println!("{COUNT} ELF files with other bytes: the panic was found with {found}");
    // With fewer, only the headers were tested.
    assert!((COUNT / 10..COUNT).contains(&found), "{found}");
}

#[test]
fn a_file_of_another_program() {
    let [panic, answer] = ["panic", "answer"].map(program);
    let line = ["build", "--quiet", "--package", "flatland-vmm", "--bin", "flatland"];
    succeed(Command::new("cargo").args(line).current_dir(root()));
    let flatland = target().join("debug/flatland");
    let mut child = Command::new(flatland);
    child.args(["--engine", "soft", "--symbols"]).arg(&answer.elf).arg(&panic.image).stdin(Stdio::null());
    let output = child.output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let begin = format!(
        "flatland: memory is not protected and names are left out, because {} is the ELF file of another image (they \
         differ at 0x",
        answer.elf.display()
    );
    assert!(stderr.starts_with(&begin), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(output.status.code(), Some(0));
}
