//! Every guest program on both engines: the same input gives the same transcript and leaves the same state.

#[path = "common/target.rs"]
mod target;

use std::env;
use std::process::Command;

use flatland::EngineChoice;
use flatland::x86::{Registers, Stops};
use flatland::{Image, Input, Machine, MemorySize, Outcome, Streams};
use target::target;

/// The inputs of each program. A program that is not listed gets empty input.
const INPUTS: &[(&str, &[&[u8]])] = &[
    ("answer", &[b"", b"HAL*zz", b"no answer", &[255, 0, 41, 43, 42]]),
    ("bench", &[&[b's', 8], &[b'h', 8], &[b'p', 10], b"s", b"c_copied", b"r_copied"]),
    ("calc", &[b"1 + 2 * (3 - 4) / 5\n1/0\n)\n", b""]),
    ("cat", &[b"", b"HAL", &[b'*'; 5000]]),
    ("echo", &[b"one\ntwo", b""]),
    ("hello", &[b"world\n", b""]),
    ("inflate", &[b"\x78\x9c\xf3\x48\xcd\xc9\xc9\xd7\x51\xf0\x40\xa2\x14\x01\x46\x3e\x06\x96", b"no", b""]),
    ("life", &[b".#.\n.#.\n.#.\n", b"?"]),
    ("panic", &[b"\0", b"*", b""]),
    ("nested", &[b"HAL*"]),
    ("sha256", &[b"abc", b""]),
    ("shout", &[b"Do not panic"]),
    // (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
    (
        "wasm",
        &[
            b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f\x03\x02\x01\0\
              \x07\x07\x01\x03add\0\0\x0a\x09\x01\x07\0\x20\0\x20\x01\x6a\x0b",
            b"",
        ],
    ),
];

const NOTHING: &[&[u8]] = &[b""];

/// The arguments of each program. Left out are the faults after which the engines leave different states, as
/// ARCHITECTURE.md describes: where a store or an `out` has been done already, and what no KVM keeps.
const ARGUMENTS: &[(&str, &[&[&str]])] = &[
    ("fault", &[&["divide"], &["ud2"], &["read"], &["jump"], &["gp"], &["nothing"]]),
    ("life", &[&["2"], &["?"]]),
    ("misuse", &[&["allocate"], &["capacity"], &["panic"], &["error"], &["middle"], &["exit"]]),
    ("nbody", &[&["3"]]),
    ("wasm", &[&["add", "1", "2"]]),
];

const NONE: &[&[&str]] = &[&[]];

const RESUME_FLAG: u32 = 1 << 16;

/// The results of a run that are compared.
struct Left {
    outcome: Outcome,
    output: Vec<u8>,
    diagnostics: Vec<u8>,
    registers: Registers,
    ram: Vec<u8>,
}

fn run(engine: EngineChoice, image: &Image, arguments: &[&str], input: &[u8]) -> Left {
    let ram = MemorySize::default();
    let (processor, _) = engine.open(ram, &Stops::default()).expect("the engine can be used");
    let streams = Streams { input: Input::from_bytes(input.to_vec()), ..Streams::none() };
    let mut machine = Machine::new(processor, image, streams).expect("the image fits");
    machine.set_arguments(arguments.iter().map(|argument| argument.as_bytes().to_vec()));
    let outcome = machine.run().expect("the host can do its work");
    let mut bytes = vec![0; ram.bytes() as usize];
    assert_eq!(machine.engine().read_ram(0, &mut bytes), bytes.len());
    Left {
        outcome,
        output: machine.streams().output.bytes().to_vec(),
        diagnostics: machine.streams().diagnostics.bytes().to_vec(),
        registers: machine.engine().registers().expect("they can be read"),
        ram: bytes,
    }
}

/// The registers to compare. If a run ended inside an instruction that was not completed, EIP is KVM's or the
/// manual's, and an exception may have set RF (SDM volume 3, section 19.3.1.1).
fn comparable(left: &Left) -> Registers {
    match left.outcome {
        Outcome::Halted => left.registers,
        _ => {
            let eflags = left.registers.eflags & !RESUME_FLAG;
            Registers { eip: 0, esi: 0, edi: 0, ecx: 0, eflags, ..left.registers }
        }
    }
}

#[test]
fn every_program_is_the_same_on_both_engines() {
    if env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
        return;
    }
    let built = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("build").status().expect("xtask starts");
    assert!(built.success());
    let listed = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("list").output().expect("xtask starts");
    let listed = String::from_utf8(listed.stdout).expect("names are UTF-8");
    let mut compared = 0;
    for name in listed.lines().filter_map(|line| line.split(' ').next()) {
        let path = target().join("guest").join(format!("{name}.bin"));
        let image = Image::open(&path, MemorySize::default()).expect("it was built");
        let known = INPUTS.iter().find(|(program, _)| *program == name);
        let inputs = known.map_or(NOTHING, |(_, inputs)| inputs);
        let known = ARGUMENTS.iter().find(|(program, _)| *program == name);
        let arguments = known.map_or(NONE, |(_, arguments)| arguments);
        for (arguments, input) in arguments.iter().flat_map(|a| inputs.iter().map(move |i| (a, i))) {
            let asked = format!("{name} {arguments:?} on {input:?}");
            let [soft, kvm] =
                [EngineChoice::Soft, EngineChoice::Kvm].map(|engine| run(engine, &image, arguments, input));
            let transcript = |left: &Left| {
                (left.outcome.clone(), left.output.clone(), left.diagnostics.clone(), comparable(left))
            };
            assert_eq!(transcript(&soft), transcript(&kvm), "{asked}");
            let differs = soft.ram.iter().zip(&kvm.ram).position(|(soft, kvm)| soft != kvm);
            // An exception's frame may be on the stack of one engine only.
            let is_exception = matches!(soft.outcome, Outcome::Fault(_));
            assert!(differs.is_none() || is_exception, "{asked}: RAM differs at {differs:x?}");
            compared += 1;
        }
    }
    println!("{compared} runs compared");
    assert!(compared >= 40);
}
