//! Snapshot files that are damaged by accident or made with intent: each is refused, or restored and run, without a
//! panic, a hang, or more memory than `Snapshot::read_from` states.
//!
//! Real files are changed at random: their bytes as they are, their bytes with the checksums made right again, and the
//! body inside of the blocks. The numbers come from the number of the case, so that a failure can be repeated.
//! `FLATLAND_CASES` says how many cases there are, and `FLATLAND_SEED` which is the first.
//!
//! This is a test program of its own, because its allocator counts.

mod common;

use std::env;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use common::damage::{Case, Random, measured, number};
use common::{DEVICES_LEN, HEAD, blocks, body, with_body};
use flatland_machine::{
    BuildError, Builder, EngineChoice, FileError, Machine, MemorySize, Outcome, Output, Program, Snapshot,
    Wants, devices,
};

/// Reads a file. Also returns how much memory that took at most.
fn read(from: impl Read) -> (Result<Snapshot, FileError>, usize) {
    measured(|| Snapshot::read_from(from))
}

/// The bounds that the documentation of `read_from` states: for a file of this size, and for a machine with this
/// much RAM.
fn most_memory(file: usize, ram: u32) -> usize {
    const MIB: usize = 1 << 20;
    (MIB + 600 * file).min(4 * ram as usize + 32 * MIB)
}

fn engines() -> &'static [EngineChoice] {
    match env::var_os("FLATLAND_TEST_WITHOUT_KVM") {
        Some(_) => &[EngineChoice::Soft],
        None => &[EngineChoice::Soft, EngineChoice::Kvm],
    }
}

/// Guests that use many parts of a machine, and where to save them.
const GUESTS: [(&[u8], Option<u32>); 6] = [
    // 0: mov edi, 0x1000; mov ecx, 0x3000; mov al, 7; rep stosb; e: inc dword [0x5000]; push eax; pop ebx; in al, 0xec;
    // out 0xe9, al; jmp e
    (
        &[
            0xbf, 0, 0x10, 0, 0, 0xb9, 0, 0x30, 0, 0, 0xb0, 7, 0xf3, 0xaa, 0xff, 0x05, 0, 0x50, 0, 0, 0x50,
            0x5b, 0xe4, 0xec, 0xe6, 0xe9, 0xeb, 0xf2,
        ],
        Some(0xe),
    ),
    // 0: in al, 0xed; in al, 0xee; in al, 0xef; out 0xea, al; 8: call 8
    (&[0xe4, 0xed, 0xe4, 0xee, 0xe4, 0xef, 0xe6, 0xea, 0xe8, 0xfb, 0xff, 0xff, 0xff], Some(8)),
    // 0: mov edx, 0xe9; mov esi, 0; mov ecx, 0x100; rep outsb; 11: jmp 0
    (&[0xba, 0xe9, 0, 0, 0, 0xbe, 0, 0, 0, 0, 0xb9, 0, 1, 0, 0, 0xf3, 0x6e, 0xeb, 0xed], Some(0x11)),
    // 0: push 0x102; popf; (TF) 6: inc eax; 7: jmp 6
    (&[0x68, 0x02, 0x01, 0, 0, 0x9d, 0x40, 0xeb, 0xfd], None),
    // ud2
    (&[0x0f, 0x0b], None),
    // mov al, 7; out 0xf4, al
    (&[0xb0, 7, 0xe6, 0xf4], None),
];

/// The files that are changed.
fn files() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for &engine in engines() {
        for (code, save_at) in GUESTS {
            let program = Program::from_bytes(code.to_vec()).unwrap();
            let builder = builder(engine).memory("64K".parse().unwrap()).arguments(["a", "bcd"]);
            let mut machine =
                builder.build(&program).unwrap_or_else(|error| panic!("this test needs KVM, and {error}"));
            let mut save = |machine: &mut Machine| {
                let mut file = Vec::new();
                machine.snapshot().unwrap().write_to(&mut file).unwrap();
                files.push(file);
            };
            if let Some(address) = save_at {
                let wants = Wants { breakpoints: vec![address], ..Wants::default() };
                machine.resume(&wants).unwrap();
                save(&mut machine);
                machine.resume(&wants).unwrap();
            } else {
                save(&mut machine);
                machine.run().unwrap();
            }
            save(&mut machine);
        }
    }
    files
}

/// Which files come of a case.
fn changed(number: u64, files: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Random::of_case(number);
    let mut file = files[random.below(files.len())].clone();
    let changes = 1 + random.below(3);
    match number % 4 {
        // As damage comes.
        0 => (0..changes).for_each(|_| random.change(&mut file)),
        // The compressed data and the lengths.
        1 => {
            let (blocks, _) = blocks(&file, HEAD);
            file = random.change_blocks(changes, &file[..HEAD], &blocks);
        }
        _ => {
            let body = random.change_body(changes, body(&file, HEAD));
            file = with_body(&file[..HEAD], &body);
        }
    }
    file
}

fn builder(engine: EngineChoice) -> Builder {
    let sink = || Output::from_writer(io::sink());
    // A case that computes for longer than the limit of instructions is a failure.
    Machine::builder()
        .engine(engine)
        .input(vec![b'x'; 1000])
        .output(sink())
        .diagnostics(sink())
        .clock_device(devices::Clock::repeatable(Duration::ZERO))
        .random_device(devices::Random::repeatable(1))
        .time_limit(Duration::from_secs(20))
}

/// What has come of the cases.
#[derive(Debug, Default)]
struct Tally {
    damaged: u64,
    impossible: u64,
    other_error: u64,
    not_restored: u64,
    ended: u64,
    reached_limit: u64,
    most_memory: usize,
    slowest: Duration,
}

fn run_case(number: u64, files: &[Vec<u8>], engine: EngineChoice, tally: &mut Tally) {
    const INSTRUCTIONS: u64 = 10_000;
    let _case = Case(number);
    let start = Instant::now();
    let file = changed(number, files);
    let (read, memory) = read(&file[..]);
    let ram = flatland_contract::memory::MAX_RAM_SIZE;
    assert!(memory <= most_memory(file.len(), ram), "{memory} bytes for {}", file.len());
    tally.most_memory = tally.most_memory.max(memory);
    let counter = match read {
        Err(FileError::Damaged | FileError::Truncated) => &mut tally.damaged,
        Err(FileError::Impossible(_)) => &mut tally.impossible,
        Err(_) => &mut tally.other_error,
        Ok(snapshot) => match builder(engine).build_from(&snapshot) {
            Err(BuildError::Restore(_) | BuildError::Engine(_)) => &mut tally.not_restored,
            Err(error) => panic!("{error}"),
            Ok(mut machine) if engine == EngineChoice::Soft => {
                let before = machine.engine().instructions().unwrap_or(0);
                // Of a run that has been on KVM the instructions are not counted, and neither can they be limited.
                let limited = machine.set_instruction_limit(before + INSTRUCTIONS).is_ok();
                if !limited {
                    machine.set_time_limit(Duration::from_millis(1));
                }
                match machine.run() {
                    Ok(Outcome::Stopped(stop, _)) => {
                        let is_limit = matches!(stop, flatland_machine::Stop::InstructionLimit(_));
                        assert_eq!(is_limit, limited, "{stop:?}");
                        &mut tally.reached_limit
                    }
                    Ok(_) => &mut tally.ended,
                    Err(error) => panic!("{error}"),
                }
            }
            Ok(mut machine) => {
                machine.set_time_limit(Duration::from_millis(2));
                match machine.run() {
                    Ok(Outcome::Stopped(..)) => &mut tally.reached_limit,
                    // KVM may refuse to run what it has taken. That is an error, and no panic.
                    Ok(_) | Err(_) => &mut tally.ended,
                }
            }
        },
    };
    *counter += 1;
    tally.slowest = tally.slowest.max(start.elapsed());
}

fn run_cases(engine: EngineChoice, cases: u64) -> Tally {
    let files = files();
    let first = number("FLATLAND_SEED", 0);
    let mut tally = Tally::default();
    let start = Instant::now();
    for number in first..first + cases {
        run_case(number, &files, engine, &mut tally);
    }
    let taken = start.elapsed();
    println!("{cases} changed snapshot files on {engine:?} in {:.1} s: {tally:?}", taken.as_secs_f64());
    tally
}

#[test]
fn changed_files_are_refused_or_run_on_soft() {
    let tally = run_cases(EngineChoice::Soft, number("FLATLAND_CASES", 2500));
    if env::var_os("FLATLAND_SEED").is_none() {
        let Tally { damaged, impossible, ended, reached_limit, .. } = tally;
        for (what, count) in [
            ("damaged", damaged),
            ("impossible", impossible),
            ("ended", ended),
            ("at the limit", reached_limit),
        ] {
            assert!(count > 100, "only {count} are {what}");
        }
    }
}

/// This test needs KVM.
#[test]
fn changed_files_are_refused_or_run_on_kvm() {
    if engines().contains(&EngineChoice::Kvm) {
        let cases = number("FLATLAND_CASES", 2500) / 10;
        let tally = run_cases(EngineChoice::Kvm, cases.max(1));
        assert!(env::var_os("FLATLAND_SEED").is_some() || tally.ended + tally.reached_limit > 20);
    }
}

/// A body with a processor that is as at entry, and nothing else but this much RAM. Also where the lists begin that may
/// be long: ranges, model-specific registers, devices, transfers, pages.
fn small_body(ram: MemorySize) -> (Vec<u8>, Vec<u8>) {
    let program = Program::from_bytes(vec![0xf4]).unwrap();
    let builder = Machine::builder().engine(EngineChoice::Soft).memory(ram);
    let mut file = Vec::new();
    builder.build(&program).unwrap().snapshot().unwrap().write_to(&mut file).unwrap();
    (file[..HEAD].to_vec(), body(&file, HEAD))
}

/// Inputs that become as large as they can: few bytes that stand for many.
#[test]
fn memory_is_bounded_for_files_that_are_made_to_take_much() {
    let ram = MemorySize::mib(16);
    let (header, body) = small_body(ram);
    // One page, at the end: its number, and the bytes.
    let pages_at = body.len() - 4096 - 8;
    assert_eq!(body[pages_at..pages_at + 8], [1, 0, 0, 0, 0, 0, 0, 0]);
    // No transfers before that: their number.
    let unsent_at = pages_at - 4;
    let pages = |count: u32| {
        let mut body = body[..pages_at].to_vec();
        body.extend(count.to_le_bytes());
        for number in 0..count {
            body.extend(number.to_le_bytes());
            body.extend([1; 4096]);
        }
        body
    };
    let unsent = |count: u32, len: u32, there: usize| {
        let mut body = body[..unsent_at].to_vec();
        body.extend(count.to_le_bytes());
        for _ in 0..count {
            body.extend([0xe9, 0, 1]);
            body.extend(len.to_le_bytes());
            body.resize(body.len() + there, 1);
        }
        body
    };
    for (name, body, is_read) in [
        ("all pages", pages(ram.bytes() / 4096), true),
        ("a page too many", pages(ram.bytes() / 4096 + 1), false),
        ("one large transfer", [&unsent(1, 16 << 20, 16 << 20)[..], &body[pages_at..]].concat(), true),
        ("a transfer that is not there", unsent(1, 17 << 20, 5), false),
        ("many small transfers", [&unsent(4096, 1, 1)[..], &body[pages_at..]].concat(), true),
        ("more small transfers", unsent(1 << 20, 1, 1), false),
    ] {
        let file = with_body(&header, &body);
        let (read, memory) = read(&file[..]);
        println!(
            "{name}: {} bytes, {memory} bytes of memory, {:.0} for each",
            file.len(),
            memory as f64 / file.len() as f64
        );
        assert_eq!(read.is_ok(), is_read, "{name}: {read:?}");
        let most = most_memory(file.len(), ram.bytes());
        assert!(memory <= most, "{name}: {memory} bytes of memory for {} are more than {most}", file.len());
    }
}

/// An input without an end is left before it takes more than the RAM that it declares.
#[test]
fn memory_is_bounded_for_an_input_without_an_end() {
    let ram = MemorySize::mib(4);
    let (header, body) = small_body(ram);
    let devices_at = body.len() - 4096 - 12 - DEVICES_LEN;
    // One device with as much state as is allowed, and transfers without an end.
    let mut start = body[..devices_at].to_vec();
    start.extend([1_u32, 0x40, 0x41, 16 << 20].map(u32::to_le_bytes).concat());
    start.resize(start.len() + (16 << 20), 1);
    start.extend(4096_u32.to_le_bytes());
    for chunk in [64 << 10, 1_u32 << 20] {
        let mut transfer = vec![0xe9, 0, 1];
        transfer.extend(chunk.to_le_bytes());
        transfer.resize(transfer.len() + chunk as usize, 1);
        let endless = [&start[..], &transfer.repeat(1 + (8 << 20) / transfer.len())].concat();
        let file = with_body(&header, &endless);
        let (read, memory) = read(&file[..]);
        println!("{chunk}: {memory} bytes of memory");
        let what = "the output that is not sent yet";
        assert!(matches!(read, Err(FileError::Impossible(refused)) if refused == what), "{read:?}");
        assert!(memory <= most_memory(usize::MAX / 1000, ram.bytes()), "{chunk}: {memory} bytes of memory");
    }
}
