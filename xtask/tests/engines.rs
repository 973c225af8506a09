//! Every guest program on both engines: the same input gives the same transcript and leaves the same state.

mod common;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs};

use common::{built, succeed, xtask};
use flatland::devices::{Clock, Random};
use flatland::x86::{Registers, Stops};
use flatland::{EngineChoice, EngineKind, Event, Wants};
use flatland::{Image, Input, Machine, MemorySize, Outcome, Program, Recorder, Recording, Streams};

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
    ("list", &[b"Ada\nGrace\n", b"Ada\nGrace Hopper\nBarbara\n", b""]),
    ("panic", &[b"\0", b"*", b""]),
    ("nested", &[b"HAL*"]),
    ("planted", &[b"", b"\x01FLAT\x01", b"\x01FLAT\x03", b"\x04B\x06C\x04P\x02L\0"]),
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

/// Programs that want the processor, or its floats: how far each engine runs them is in the gallery's tests.
const LEFT_OUT: [&str; 5] = ["handler", "nbody-hard", "paging", "preemptive", "user"];

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

fn machine(engine: EngineChoice, image: &Image, arguments: &[&str], input: &[u8]) -> Machine {
    let engines = engine.open(MemorySize::default(), &Stops::default()).expect("the engine can be used");
    let streams = Streams { input: Input::from_bytes(input.to_vec()), ..Streams::none() };
    let mut machine = Machine::new(engines, image, streams).expect("the image fits");
    machine.set_arguments(arguments.iter().map(|argument| argument.as_bytes().to_vec()));
    machine
}

fn run(engine: EngineChoice, image: &Image, arguments: &[&str], input: &[u8]) -> Left {
    let mut machine = machine(engine, image, arguments, input);
    let outcome = machine.run().expect("the host can do its work");
    left(machine, outcome)
}

/// The same, with moves to the other engine every few exits, or after some time of computing. Returns their number as
/// well.
fn run_with_moves(image: &Image, arguments: &[&str], input: &[u8], seed: u64) -> (Left, u64) {
    let mut seed = seed;
    let mut random = |limit: u64| {
        // A linear congruential generator (Knuth, MMIX).
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    let first = if random(2) == 0 { EngineChoice::Soft } else { EngineChoice::Kvm };
    let mut machine = machine(first, image, arguments, input);
    loop {
        let transfers = random(3) == 0;
        let clock = (random(2) == 0).then(|| Duration::from_micros(100 + random(900)));
        let wants = Wants { transfers, clock, input: random(3) == 0, ..Wants::default() };
        for _ in 0..=random(6) {
            match machine.resume(&wants).expect("the host can do its work") {
                Event::Ended(outcome) => {
                    let moves = machine.stats().move_count;
                    return (left(machine, outcome), moves);
                }
                Event::Transfer(_) | Event::Clock | Event::InputWanted => {}
                event => panic!("{event:?}"),
            }
        }
        let is_on_kvm = machine.engine().name() == "kvm";
        machine.move_to(if is_on_kvm { EngineKind::Soft } else { EngineKind::Kvm }).expect("it moves");
        if is_on_kvm {
            // KVM may emulate, and so the longer part of the run is not there.
            let wants = Wants { clock: Some(Duration::from_millis(5)), ..Wants::default() };
            if let Event::Ended(outcome) = machine.resume(&wants).expect("the host can do its work") {
                let moves = machine.stats().move_count;
                return (left(machine, outcome), moves);
            }
        }
    }
}

fn left(mut machine: Machine, outcome: Outcome) -> Left {
    let ram = machine.memory_map().ram();
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

/// All guest programs, built. `FLATLAND_IMAGES` names a folder that has them already: this program can then run on
/// another machine, with another KVM.
fn images() -> Vec<PathBuf> {
    if let Some(folder) = env::var_os("FLATLAND_IMAGES") {
        let files = fs::read_dir(folder).expect("FLATLAND_IMAGES is a folder");
        let paths = files.map(|file| file.expect("it can be read").path());
        let mut images: Vec<_> = paths.filter(|path| path.extension() == Some(OsStr::new("bin"))).collect();
        images.sort();
        return images;
    }
    let listed = succeed(&mut xtask(["list"])).stdout;
    let listed = String::from_utf8(listed).expect("names are UTF-8");
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    names.map(|name| built(&format!("guest/{name}.bin"))).collect()
}

/// How often each input of each program runs with moves. `FLATLAND_CASES` sets another number.
fn rounds() -> u64 {
    env::var("FLATLAND_CASES").map_or(1, |rounds| rounds.parse().expect("FLATLAND_CASES is a number"))
}

/// Calls this with each program, its arguments and input, and a description of that.
fn for_each_run(mut run: impl FnMut(&Image, &[&str], &[u8], &str)) {
    for path in images() {
        let name = path.file_stem().and_then(OsStr::to_str).expect("names are UTF-8");
        if LEFT_OUT.contains(&name) {
            continue;
        }
        let image = Image::open(&path, MemorySize::default()).expect("it was built");
        let known = INPUTS.iter().find(|(program, _)| *program == name);
        let inputs = known.map_or(NOTHING, |(_, inputs)| inputs);
        let known = ARGUMENTS.iter().find(|(program, _)| *program == name);
        let arguments = known.map_or(NONE, |(_, arguments)| arguments);
        for (arguments, input) in arguments.iter().flat_map(|a| inputs.iter().map(move |i| (a, i))) {
            run(&image, arguments, input, &format!("{name} {arguments:?} on {input:?}"));
        }
    }
}

#[test]
fn every_program_is_the_same_on_both_engines_and_when_it_moves() {
    if env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
        return;
    }
    let (mut moved, mut moves) = (0, 0);
    let mut compared = 0;
    for_each_run(|image, arguments, input, asked| {
        let [soft, kvm] =
            [EngineChoice::Soft, EngineChoice::Kvm].map(|engine| run(engine, image, arguments, input));
        let transcript = |left: &Left| {
            (left.outcome.clone(), left.output.clone(), left.diagnostics.clone(), comparable(left))
        };
        assert_eq!(transcript(&soft), transcript(&kvm), "{asked}");
        let differs = soft.ram.iter().zip(&kvm.ram).position(|(soft, kvm)| soft != kvm);
        assert_eq!(differs, None, "{asked}: where RAM differs");
        compared += 1;
        for seed in 0..rounds() {
            let (with_moves, count) = run_with_moves(image, arguments, input, seed);
            assert_eq!(transcript(&soft), transcript(&with_moves), "{asked} with moves, seed {seed}");
            let differs = soft.ram.iter().zip(&with_moves.ram).position(|(soft, moved)| soft != moved);
            assert_eq!(differs, None, "{asked}, seed {seed}: where RAM differs");
            moved += 1;
            moves += count;
        }
    });
    println!("{compared} runs compared, and {moved} runs with {moves} moves");
    assert!(compared >= 40);
    // Some programs send little, and end before the first move.
    assert!(moves > moved / 2, "they move");
}

/// Also with the host's clock and random bytes, which no two runs have in common.
#[test]
fn every_program_is_replayed_on_soft() {
    let engines: &[EngineChoice] = match env::var_os("FLATLAND_TEST_WITHOUT_KVM") {
        Some(_) => &[EngineChoice::Soft],
        None => &[EngineChoice::Soft, EngineChoice::Kvm, EngineChoice::Auto],
    };
    let mut replays = 0;
    for_each_run(|image, arguments, input, asked| {
        for &engine in engines {
            let mut machine = machine(engine, image, arguments, input);
            let (recorder, file) = Recorder::to_memory();
            machine.record(recorder).unwrap();
            let outcome = machine.run().expect("the host can do its work");
            machine.end_recording(&outcome).unwrap();
            let file = file.take();
            let recording = Recording::read_from(&file[..]).unwrap();
            let most = recording.input_len() * 11 / 10 + 4096 + image.bytes().len();
            assert!(file.len() <= most, "{asked}: {} bytes for {}", file.len(), recording.input_len());

            // The replay compares registers and RAM with those at the end of the recorded run.
            let mut replay = Machine::builder().engine(EngineChoice::Soft).replay(&recording).unwrap();
            let again = replay.run().unwrap_or_else(|error| panic!("{asked} on {engine:?}: {error}"));
            let sent = |machine: &Machine| {
                let Streams { output, diagnostics, .. } = machine.streams();
                (output.bytes().to_vec(), diagnostics.bytes().to_vec())
            };
            assert_eq!(again, outcome, "{asked} on {engine:?}");
            assert_eq!(sent(&replay), sent(&machine), "{asked} on {engine:?}");
            replays += 1;
        }
    });
    println!("{replays} replays");
    assert!(replays >= 40 * engines.len());
}

/// A run in a world of its own: a clock and a seed that are the same each time. Returns the machine at its end, the end,
/// and the recording.
fn record_in_a_fixed_world(
    engine: EngineChoice,
    image: &Image,
    arguments: &[&str],
    input: &[u8],
) -> (Left, Vec<u8>) {
    let program = Program::from_bytes(image.bytes().to_vec()).expect("it is not empty");
    let mut machine = Machine::builder()
        .engine(engine)
        .clock_device(Clock::repeatable(Duration::from_secs(1_000_000_000)))
        .random_device(Random::repeatable(1))
        .arguments(arguments)
        .input(input.to_vec())
        .build(&program)
        .expect("the image fits");
    let (recorder, file) = Recorder::to_memory();
    // A recorder that writes as the run goes may begin another block where it is 20 ms later.
    machine.record(recorder.late()).expect("memory can be written");
    let outcome = machine.run().expect("the host can do its work");
    machine.end_recording(&outcome).expect("memory can be written");
    (left(machine, outcome), file.take())
}

/// Two runs on an engine by name make the same recording, byte by byte. Those of all engines have the same inputs, outputs and
/// ends. `FLATLAND_DIGEST` is what this came to on another machine.
#[test]
fn in_a_fixed_world_recordings_agree() {
    let engines: &[EngineChoice] = match env::var_os("FLATLAND_TEST_WITHOUT_KVM") {
        Some(_) => &[EngineChoice::Soft],
        None => &[EngineChoice::Soft, EngineChoice::Kvm, EngineChoice::Auto],
    };
    let (mut runs, mut all) = (0, 0_u64);
    for_each_run(|image, arguments, input, asked| {
        let mut first: Option<(Left, Recording)> = None;
        for &engine in engines {
            let [(ended, one), (_, other)] =
                [(); 2].map(|()| record_in_a_fixed_world(engine, image, arguments, input));
            // When a run moves depends on the time, and whether it was counted on that.
            let is_same = one == other || engine == EngineChoice::Auto;
            assert!(is_same, "{asked}: two recordings on {engine:?} differ");
            let recording = Recording::read_from(&one[..]).unwrap();
            let Some((soft, first)) = &first else {
                runs += 1;
                all = all.rotate_left(1) ^ recording.digest() ^ u64::from(ended.outcome.status());
                first = Some((ended, recording));
                continue;
            };
            assert_eq!(recording.digest(), first.digest(), "{asked} on {engine:?}: what was read and sent");
            assert_eq!(
                (&ended.outcome, &ended.output),
                (&soft.outcome, &soft.output),
                "{asked} on {engine:?}"
            );
            assert_eq!(ended.diagnostics, soft.diagnostics, "{asked} on {engine:?}");
            assert_eq!(comparable(&ended), comparable(soft), "{asked} on {engine:?}");
            assert!(ended.ram == soft.ram, "{asked} on {engine:?}: RAM at the end");
            let ram = |recording: &Recording| recording.end().expect("it is complete").ram;
            assert_eq!(ram(&recording), ram(first), "{asked} on {engine:?}: the recorded RAM at the end");
        }
    });
    let all = format!("{all:016x}");
    println!("{runs} runs on each of {} engines: FLATLAND_DIGEST={all}", engines.len());
    assert!(runs >= 40);
    if let Ok(elsewhere) = env::var("FLATLAND_DIGEST") {
        assert_eq!(all, elsewhere, "here and on the other machine");
    }
}
