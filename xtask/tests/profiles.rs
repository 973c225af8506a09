//! Profiles of compiled programs: against the calls that the stack pointer tells, and with broken ELF files.

mod common;
#[path = "../../host/tests/common/random.rs"]
mod random;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{built, file};
use flatland::profile::{CallPaths, Format, Profile};
use flatland::program::Symbols;
use flatland::{EngineChoice, Event, Machine, Program, Wants};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use random::Random;

/// Programs and their inputs: recursion, closures, calls through pointers, a panic and a fault.
const RUNS: [(&str, &[u8]); 7] = [
    ("calc", b"1 + 2 * (3 - 4) / 5\n1/0\n)\n"),
    ("hello", b"world\n"),
    ("life", b".#.\n.#.\n.#.\n"),
    ("list", b"Ada\nGrace Hopper\nBarbara\n"),
    ("panic", b"*"),
    ("sha256", b"abc"),
    ("shout", b"Do not panic"),
];

fn machine(elf: &Path, input: &[u8]) -> Machine {
    let program = Program::open(elf).expect("it was built");
    let builder = Machine::builder().engine(EngineChoice::Soft).input(input.to_vec()).output(Vec::new());
    builder.build(&program).expect("it fits")
}

fn symbols(machine: &Machine, elf: &Path) -> Option<Symbols> {
    Symbols::open(elf, &|address, bytes| machine.read_ram(address, bytes)).ok()
}

fn functions(symbols: &Symbols) -> HashSet<u32> {
    symbols.table().iter().filter(|symbol| symbol.is_code).map(|symbol| symbol.start).collect()
}

fn profiled(elf: &Path, input: &[u8]) -> (Machine, CallPaths) {
    let mut machine = machine(elf, input);
    let functions = functions(&symbols(&machine, elf).expect("it is the program's"));
    machine.watch_blocks(CallPaths::with_functions(functions)).expect("it is on soft");
    machine.run().expect("the host can do its work");
    let paths = machine.unwatch_blocks().expect("it is this one");
    (machine, paths)
}

/// The same by steps: a call has returned when the stack pointer is above its return address.
fn by_steps(elf: &Path, input: &[u8]) -> BTreeMap<String, u64> {
    let mut machine = machine(elf, input);
    let mut functions = functions(&symbols(&machine, elf).expect("it is the program's"));
    // The function, and where its return address is.
    let mut frames = vec![(0_u32, u32::MAX)];
    let mut counts = BTreeMap::new();
    loop {
        let before = machine.instructions();
        let eip = machine.registers().expect("it is there").eip;
        let event = machine.resume(&Wants { steps: true, ..Wants::default() }).expect("it runs");
        if machine.instructions() > before {
            let path: Vec<_> = frames.iter().map(|(function, _)| format!("{function:#010x}")).collect();
            *counts.entry(path.join(";")).or_default() += 1;
        }
        if let Event::Ended(_) = event {
            return counts;
        }
        let mut bytes = [0; 15];
        machine.read_ram(eip, &mut bytes);
        let instruction: Instruction =
            Decoder::with_ip(32, &bytes, eip.into(), DecoderOptions::NONE).decode();
        let (now, esp) = {
            let registers = machine.registers().expect("it is there");
            (registers.eip, registers.esp)
        };
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall if now != instruction.next_ip32() => {
                functions.insert(now);
                frames.push((now, esp));
            }
            FlowControl::Return => frames.retain(|(_, at)| *at >= esp),
            FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::ConditionalBranch
                if functions.contains(&now) =>
            {
                frames.last_mut().expect("the first one never returns").0 = now;
            }
            _ => {}
        }
    }
}

#[test]
fn calls_are_those_that_the_stack_pointer_tells() {
    let mut paths_compared = 0;
    for (name, input) in RUNS {
        let elf = built(&format!("guest/{name}.elf"));
        let (machine, paths) = profiled(&elf, input);
        let profile = Profile::of_paths(&paths, None);
        assert_eq!(Some(profile.total()), machine.instructions(), "{name}");
        let counts = counts(&profile.folded());
        let expected = by_steps(&elf, input);
        println!("{name}: {} call paths, {} instructions", counts.len(), profile.total());
        for (path, count) in &expected {
            assert_eq!(counts.get(path), Some(count), "{name}: {path}");
        }
        assert_eq!(counts.len(), expected.len(), "{name}");
        paths_compared += counts.len();
    }
    assert!(paths_compared > 500, "{paths_compared}");
}

/// The counts of folded stacks.
fn counts(folded: &str) -> BTreeMap<String, u64> {
    let lines = folded.lines().map(|line| line.rsplit_once(' ').expect("there is a count"));
    lines.map(|(path, count)| (path.to_owned(), count.parse().expect("it is a count"))).collect()
}

#[test]
fn a_profile_that_begins_in_the_middle_knows_the_calls() {
    let (elf, input) = (built("guest/life.elf"), b".#.\n.#.\n.#.\n");
    let (machine, paths) = profiled(&elf, input);
    let symbols = symbols(&machine, &elf).expect("it is the program's");
    let whole = counts(&Profile::of_paths(&paths, Some(&symbols)).folded());
    for cut in [1, 100, 1234, 5000, 10_001, 20_000] {
        let mut machine = self::machine(&elf, input);
        let mut sum = BTreeMap::new();
        for until in [Some(cut), None] {
            let paths = CallPaths::at(&mut machine, Some(&symbols)).expect("registers can be read");
            machine.watch_blocks(paths).expect("it is on soft");
            machine.resume(&Wants { instructions: until, ..Wants::default() }).expect("it runs");
            let paths: CallPaths = machine.unwatch_blocks().expect("it is this one");
            for (path, count) in counts(&Profile::of_paths(&paths, Some(&symbols)).folded()) {
                *sum.entry(path).or_default() += count;
            }
        }
        assert_eq!(sum, whole, "{cut}");
    }
}

#[test]
fn names_include_inlined_functions_and_change_no_count() {
    let elf = built("guest/list.elf");
    let (machine, paths) = profiled(&elf, b"Ada\nGrace\nBarbara\n");
    let symbols = symbols(&machine, &elf).expect("it is the program's");
    let profile = Profile::of_paths(&paths, Some(&symbols));
    assert_eq!(Some(profile.total()), machine.instructions());
    let folded = profile.folded();
    assert!(folded.lines().all(|line| line.starts_with("_start")), "{folded}");
    let main = folded.lines().filter(|line| line.contains(";list::main;list::push;list::copy"));
    assert!(main.count() > 0, "{folded}");
    // What is only ever inlined is there as well.
    let inlined = "flatland_guest::start::run::<";
    assert!(folded.contains(inlined), "{folded}");
    let summary = profile.summary();
    assert!(summary.lines().count() == 2 + 2 * 10, "{summary}");
}

#[test]
fn broken_elf_files_are_no_panic_and_lose_no_count() {
    const COUNT: u64 = 150;
    let elf = built("guest/list.elf");
    let (machine, paths) = profiled(&elf, b"Ada\nGrace\n");
    let whole = fs::read(&elf).expect("it was built");
    let path = file("hostile-profile.elf");
    let mut random = Random::new(1);
    let mut opened = 0;
    for _ in 0..COUNT {
        let mut broken = whole.clone();
        random.overwrite(&mut broken, 200);
        fs::write(&path, &broken).expect("the folder for tests can be written");
        let start = Instant::now();
        let symbols = symbols(&machine, &path);
        opened += u64::from(symbols.is_some());
        let profile = Profile::of_paths(&paths, symbols.as_ref());
        assert_eq!(Some(profile.total()), machine.instructions());
        for format in [Format::Folded, Format::FlameGraph, Format::Firefox] {
            let text = profile.write(format, "list");
            assert!(!text.contains(|char: char| char.is_control() && char != '\n'), "{text:?}");
        }
        let summary = profile.summary();
        assert!(summary.lines().count() <= 22, "{summary}");
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
    println!("of {COUNT} files {opened} could be opened");
    assert!(opened > COUNT / 20, "{opened}");
}
