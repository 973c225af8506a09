//! Recorded runs are replayed on the soft engine: the same output, end, registers and RAM.

mod common;
#[path = "common/random.rs"]
mod random;

use common::engines;
use flatland::{EngineChoice, Machine, MemorySize, Outcome, Program, Recorder, Recording};
use random::{Random, seeds};

/// Data of the random programs: this many bytes from here on.
const DATA: u32 = 0x8000;
const DATA_SIZE: u32 = 0x1000;

/// A program that computes with what it reads at all ports, and sends results. It uses no undefined flag.
fn random_program(random: &mut Random) -> Vec<u8> {
    let mut code = Vec::new();
    let blocks = random.below(12) + 1;
    for _ in 0..blocks {
        let times = random.below(20) + 1;
        // mov ebp, TIMES
        code.push(0xbd);
        code.extend(times.to_le_bytes());
        let start = code.len();
        for _ in 0..=random.below(12) {
            instruction(random, &mut code);
        }
        // dec ebp; jnz start
        code.extend([0x4d, 0x0f, 0x85]);
        let back = (start as i32) - (code.len() as i32 + 4);
        code.extend(back.to_le_bytes());
    }
    match random.below(6) {
        // mov al, STATUS; out 0xf4, al
        0 => code.extend([0xb0, random.next() as u8, 0xe6, 0xf4]),
        // xor ecx, ecx; test ecx, ecx; div ecx
        1 => code.extend([0x31, 0xc9, 0x85, 0xc9, 0xf7, 0xf1]),
        // mov eax, [0xf0000000]
        2 => code.extend([0xa1, 0, 0, 0, 0xf0]),
        // in al, 0xe9; jmp there
        3 => code.extend([0xe4, 0xe9, 0xeb, 0xfc]),
        _ => {}
    }
    code.push(0xf4); // hlt
    code
}

fn instruction(random: &mut Random, code: &mut Vec<u8>) {
    let address = |random: &mut Random| (DATA + random.below(DATA_SIZE - 256)).to_le_bytes();
    // EAX, ECX, EDX or EBX.
    let register = |random: &mut Random| random.below(4) as u8;
    let load = |code: &mut Vec<u8>, register: u8, value: u32| {
        code.push(0xb8 | register);
        code.extend(value.to_le_bytes());
    };
    const ECX: u8 = 1;
    const EDX: u8 = 2;
    const ESI: u8 = 6;
    const EDI: u8 = 7;
    match random.below(14) {
        // add, sub, adc after cmp, and, or, xor, cmp
        0 | 1 => {
            let opcode = [0x01, 0x29, 0x21, 0x09, 0x31, 0x39][random.below(6) as usize];
            code.extend([opcode, 0xc0 | register(random) << 3 | register(random)]);
        }
        // cmp; adc
        2 => code.extend([0x39, 0xc8, 0x11, 0xc0 | register(random) << 3 | register(random)]),
        // imul, and flags that are defined again
        3 => {
            let (to, from) = (register(random), register(random));
            code.extend([0x0f, 0xaf, 0xc0 | to << 3 | from, 0x85, 0xc0]);
        }
        // rol and shr by a constant, and flags that are defined again
        4 => code.extend([0xc1, 0xc0 | register(random), 7, 0xc1, 0xe8 | register(random), 3, 0x85, 0xc9]),
        5 => load(code, register(random), random.next()),
        // mov [address], register
        6 | 7 => {
            code.extend([0x89, 0x05 | register(random) << 3]);
            code.extend(address(random));
        }
        // mov register, [address]
        8 => {
            code.extend([0x8b, 0x05 | register(random) << 3]);
            code.extend(address(random));
        }
        // jz or jc over the next one: test al, al; jcc; inc register
        9 => code.extend([0x84, 0xc0, [0x74, 0x78][random.below(2) as usize], 1, 0x40 | register(random)]),
        // in al, PORT: console, ready, layout, arguments, clock, random
        10 => code.extend([0xe4, [0xe9, 0xe9, 0xeb, 0xec, 0xed, 0xee, 0xef][random.below(7) as usize]]),
        // out PORT, al: console, diagnostics
        11 => code.extend([0xe6, [0xe9, 0xea][random.below(2) as usize]]),
        // rep insb
        12 => {
            load(code, EDI, DATA + random.below(DATA_SIZE - 256));
            load(code, ECX, random.below(40));
            load(code, EDX, [0xe9, 0xe9, 0xe9, 0xeb, 0xee, 0xef][random.below(6) as usize]);
            code.extend([0xf3, 0x6c]);
        }
        // rep outsb
        _ => {
            load(code, ESI, DATA + random.below(DATA_SIZE - 256));
            load(code, ECX, random.below(60));
            load(code, EDX, [0xe9, 0xea][random.below(2) as usize]);
            code.extend([0xf3, 0x6e]);
        }
    }
}

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
        let input: Vec<u8> = (0..random.below(2000)).map(|_| random.next() as u8).collect();
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
