//! Compares `cat` with loops that copy byte by byte: what `rep insb` and `rep outsb` save, on each engine.
//!
//! `cargo xtask build --release cat` and `cargo xtask build --release bench` build the images;
//! `cargo bench --package flatland-vmm --bench copy` runs them in turn, so that a machine whose speed drifts slows all of
//! them, and prints ratios; the times are this machine's. It checks that the output is the input, and asserts nothing
//! else: a timing is not a test.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use flatland::x86::Stops;
use flatland::{EngineChoice, Image, Input, Machine, MemorySize, Streams};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How much is copied.
const LEN: usize = 1 << 20;

/// A program, and the input that it reads before it copies.
const PROGRAMS: [(&str, &str, &[u8]); 3] =
    [("cat", "cat", b""), ("a byte at a time", "bench", b"c\0"), ("and asking before each", "bench", b"r\0")];

fn main() -> Result<()> {
    println!("{:>28} {:>8} {:>12} {:>12} {:>8}", "", "bytes", "total", "a byte", "ratio");
    // The number of rounds; the shortest time counts. A KVM that emulates the processor takes 30 s to copy byte by
    // byte.
    for (name, engine, rounds) in [("soft", EngineChoice::Soft, 3), ("kvm", EngineChoice::Kvm, 1)] {
        let mut best = [f64::INFINITY; PROGRAMS.len()];
        for _ in 0..rounds {
            for ((_, program, order), best) in PROGRAMS.iter().zip(&mut best) {
                *best = best.min(seconds(engine, program, order, LEN)?);
            }
        }
        for ((what, ..), seconds) in PROGRAMS.iter().zip(best) {
            println!(
                "{:>28} {LEN:>8} {:>9.2} ms {:>9.1} ns {:>8.4}",
                format!("{name}: {what}"),
                seconds * 1e3,
                seconds * 1e9 / LEN as f64,
                seconds / best[1]
            );
        }
    }
    Ok(())
}

/// The time to copy `len` bytes, in seconds.
fn seconds(engine: EngineChoice, program: &str, order: &[u8], len: usize) -> Result<f64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../target/guest/{program}.bin"));
    let code =
        fs::read(path).map_err(|_| format!("build it with `cargo xtask build --release {program}`"))?;
    let bytes: Vec<u8> = (0..len).map(|index| (index ^ (index >> 8)) as u8).collect();
    let engine = engine.open(MemorySize::default(), &Stops::default())?;
    let streams = Streams { input: Input::from_bytes([order, &bytes].concat()), ..Streams::none() };
    let mut machine = Machine::new(engine, &Image::from_bytes(code)?, streams)?;
    let start = Instant::now();
    machine.run()?;
    let time = start.elapsed().as_secs_f64();
    if machine.streams().output.bytes() == bytes { Ok(time) } else { Err("it is no copy".into()) }
}
