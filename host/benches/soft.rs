//! How fast the soft engine is, in millions of guest instructions a second (MIPS).
//!
//! `cargo bench --package flatland --bench soft`. The figures are this machine's; it asserts nothing about them.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use flatland::engine::soft::SoftEngine;
use flatland::engine::{Engine, Exit};
use flatland::{Image, Machine, MemorySize, Output, Streams};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Small programs that end with `hlt`, by what they do most.
const PROGRAMS: &[(&str, &[u8])] = &[
    // mov ecx, 100000000; l: dec ecx; jnz l; hlt
    ("counted loop", &[0xb9, 0x00, 0xe1, 0xf5, 0x05, 0x49, 0x75, 0xfd, 0xf4]),
    // mov ecx, 50000000; l: add eax, ecx; xor ebx, eax; lea edx, [eax+ebx*2+7]; cmp edx, 5; je 0; sub ecx, 1;
    // jnz l; hlt
    (
        "arithmetic",
        &[
            0xb9, 0x80, 0xf0, 0xfa, 0x02, 0x01, 0xc8, 0x31, 0xc3, 0x8d, 0x54, 0x58, 0x07, 0x83, 0xfa, 0x05,
            0x74, 0xee, 0x83, 0xe9, 0x01, 0x75, 0xee, 0xf4,
        ],
    ),
    // mov ecx, 30000000; l: push ecx; call f; pop ecx; dec ecx; jnz l; hlt; f: mov eax, [esp+4]; inc dword
    // [0x1000]; ret
    (
        "calls and memory",
        &[
            0xb9, 0x80, 0xc3, 0xc9, 0x01, 0x51, 0xe8, 0x05, 0x00, 0x00, 0x00, 0x59, 0x49, 0x75, 0xf6, 0xf4,
            0x8b, 0x44, 0x24, 0x04, 0xff, 0x05, 0x00, 0x10, 0x00, 0x00, 0xc3,
        ],
    ),
];

fn main() -> Result<()> {
    for (name, code) in PROGRAMS {
        let mut engine = SoftEngine::new(MemorySize::default());
        engine.write_ram(0, code);
        let start = Instant::now();
        match engine.run()? {
            Exit::Halt => report(name, &engine, start),
            exit => return Err(format!("{name}: {exit:?}").into()),
        }
    }
    // `cargo xtask build --release bench` makes it; see guest/src/bin/bench.rs.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guest/bench.bin");
    if path.exists() {
        let image = Image::open(&path, MemorySize::default())?;
        let streams = Streams { output: Output::memory(), ..Streams::none() };
        let mut machine = Machine::new(SoftEngine::new(MemorySize::default()), &image, streams)?;
        let start = Instant::now();
        let outcome = machine.run()?;
        report("compiled sort, hash and sieve", machine.engine(), start);
        println!("    {outcome:?}: {}", String::from_utf8_lossy(machine.streams().output.bytes()).trim());
    }
    let start = Instant::now();
    const ENGINES: u32 = 1000;
    (0..ENGINES).for_each(|_| drop(SoftEngine::new(MemorySize::default())));
    println!(
        "{:>30} {:>7.1} us",
        "making an engine",
        start.elapsed().as_secs_f64() * 1e6 / f64::from(ENGINES)
    );
    Ok(())
}

fn report(name: &str, engine: &SoftEngine, start: Instant) {
    let instructions = engine.instructions().unwrap_or(0);
    println!("{name:>30} {:>7.0} MIPS", instructions as f64 / start.elapsed().as_secs_f64() / 1e6);
}
