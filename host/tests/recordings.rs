//! Recorded runs are replayed on the soft engine: the same output, end, registers and RAM.

mod common;
#[path = "common/random.rs"]
mod random;
#[path = "common/random_program.rs"]
mod random_program;

use common::engines;
use flatland::{EngineChoice, Machine, MemorySize, Outcome, Program, Recorder, Recording};
use random::{Random, seeds};
use random_program::{random_input, random_program};

fn program(code: &[u8]) -> Program {
    Program::from_bytes(code.to_vec()).expect("code is not empty")
}

fn machine(engine: EngineChoice, program: &Program, input: &[u8]) -> Machine {
    let builder = Machine::builder().engine(engine).memory(MemorySize::mib(1)).arguments(["one", "two"]);
    builder
        .input(input.to_vec())
        .build(program)
        .unwrap_or_else(|error| panic!("this test needs KVM, and {error}"))
}

/// The output and the diagnostics.
fn sent(machine: &Machine) -> (Vec<u8>, Vec<u8>) {
    (machine.streams().output.bytes().to_vec(), machine.streams().diagnostics.bytes().to_vec())
}

/// Runs and records. Returns the end, what was sent, and the file.
fn record(engine: EngineChoice, program: &Program, input: &[u8]) -> (Outcome, (Vec<u8>, Vec<u8>), Vec<u8>) {
    let mut machine = machine(engine, program, input);
    let (recorder, file) = Recorder::to_memory();
    machine.record(recorder).unwrap();
    let outcome = machine.run().unwrap();
    machine.end_recording(&outcome).unwrap();
    (outcome, sent(&machine), file.take())
}

fn replay(file: &[u8]) -> Machine {
    let recording = Recording::read_from(file).unwrap();
    Machine::builder().engine(EngineChoice::Soft).replay(&recording).unwrap()
}

/// An end without what only KVM does not know.
fn without_place(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Fault(fault) => {
            Outcome::Fault(flatland::x86::Fault { location: flatland::x86::Location::Unknown, ..fault })
        }
        outcome => outcome,
    }
}

#[test]
fn random_programs_with_random_input_are_replayed() {
    let (mut ends, mut bytes) = ([0; 4], 0);
    let seeds = seeds(100);
    for seed in seeds.clone() {
        let mut random = Random::new(seed);
        let program = program(&random_program(&mut random));
        let input = random_input(&mut random);
        for &engine in engines() {
            let (outcome, sent_first, file) = record(engine, &program, &input);
            // Registers, RAM and counts at the end are compared by the replay itself.
            let mut machine = replay(&file);
            let again = machine.run().unwrap_or_else(|error| panic!("{engine:?}, seed {seed}: {error}"));
            assert_eq!(without_place(again), without_place(outcome.clone()), "{engine:?}, seed {seed}");
            assert_eq!(sent(&machine), sent_first, "{engine:?}, seed {seed}");
            bytes += sent_first.0.len() + sent_first.1.len();
            ends[match outcome {
                Outcome::Halted => 0,
                Outcome::EndOfInput => 1,
                Outcome::Exited(_) => 2,
                _ => 3,
            }] += 1;
        }
    }
    println!(
        "{} programs on {} engines: ends {ends:?}, {bytes} bytes sent",
        seeds.end - seeds.start,
        engines().len()
    );
    assert!(ends.iter().all(|count| *count > 0), "{ends:?}");
}
