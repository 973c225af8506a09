//! Every guest program on both engines: the same input gives the same transcript and leaves the same state.

use std::env;
use std::path::Path;
use std::process::Command;

use flatland::engine::choice::{self, Choice};
use flatland::engine::{Engine, Registers, Stops};
use flatland::{Image, Input, Machine, MemorySize, Outcome, Streams};

/// What each program is asked. A program that is not here is asked nothing.
const INPUTS: &[(&str, &[&[u8]])] = &[
    ("answer", &[b"", b"HAL*zz", b"no answer", &[255, 0, 41, 43, 42]]),
    ("bench", &[&[b's', 8], &[b'h', 8], &[b'p', 10], b"s"]),
    ("hello", &[b"world\n", b""]),
    ("shout", &[b"Do not panic"]),
    ("panic", &[b"\0", b"*", b""]),
];

const NOTHING: &[&[u8]] = &[b""];

/// What a run leaves behind: all there is to compare.
struct Left {
    outcome: Outcome,
    output: Vec<u8>,
    diagnostics: Vec<u8>,
    registers: Registers,
    ram: Vec<u8>,
}

fn run(engine: Choice, image: &Image, input: &[u8]) -> Left {
    let ram = MemorySize::default();
    let chosen = choice::open(engine, ram, &Stops::default()).expect("the engine can be used");
    let streams = Streams { input: Input::from_bytes(input.to_vec()), ..Streams::none() };
    let mut machine = Machine::new(chosen.engine, image, streams).expect("the image fits");
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

/// Where a run ended inside an instruction that was not completed, EIP is KVM's or the manual's.
fn comparable(left: &Left) -> Registers {
    match left.outcome {
        Outcome::Halted => left.registers,
        _ => Registers { eip: 0, esi: 0, edi: 0, ecx: 0, ..left.registers },
    }
}

#[test]
fn every_program_is_the_same_on_both_engines() {
    if env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout");
    let built = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("build").status().expect("xtask starts");
    assert!(built.success());
    let listed = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("list").output().expect("xtask starts");
    let listed = String::from_utf8(listed.stdout).expect("names are UTF-8");
    let mut compared = 0;
    for name in listed.lines().filter_map(|line| line.split(' ').next()) {
        let path = root.join("target/guest").join(format!("{name}.bin"));
        let image = Image::open(&path, MemorySize::default()).expect("it was built");
        let known = INPUTS.iter().find(|(program, _)| *program == name);
        let inputs = known.map_or(NOTHING, |(_, inputs)| inputs);
        for input in inputs {
            let [soft, kvm] = [Choice::Soft, Choice::Kvm].map(|engine| run(engine, &image, input));
            let transcript = |left: &Left| {
                (left.outcome.clone(), left.output.clone(), left.diagnostics.clone(), comparable(left))
            };
            assert_eq!(transcript(&soft), transcript(&kvm), "{name} on {input:?}");
            let differs = soft.ram.iter().zip(&kvm.ram).position(|(soft, kvm)| soft != kvm);
            assert_eq!(differs, None, "{name} on {input:?}: RAM differs at this address");
            compared += 1;
        }
    }
    println!("{compared} runs compared");
    assert!(compared >= 11);
}
