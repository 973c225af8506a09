//! Measures what a machine adds to its engine: compares `Machine::run` with the shortest loop over `Engine::run` that
//! makes the same transfers.
//!
//! `cargo bench --package flatland-vmm --bench run_loop`. Both run in turn, so that a machine whose speed drifts slows
//! both, and the shortest time of each counts. It checks that both send the same, and asserts nothing else: a timing
//! is not a test.

use std::error::Error;
use std::time::{Duration, Instant};

use flatland::x86::{Exit, MemoryMap, Stops};
use flatland::{EngineChoice, Machine, MemorySize, Program, Wants};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Sends each byte back plus one, until the input ends.
///
/// 0: in al, 0xe9; inc al; out 0xe9, al; jmp 0
const GUEST: [u8; 8] = [0xe4, 0xe9, 0xfe, 0xc0, 0xe6, 0xe9, 0xeb, 0xf8];

fn main() -> Result<()> {
    println!(
        "{:>6} {:>12} {:>12} {:>12} {:>8} {:>8}",
        "", "bare loop", "run()", "transfers", "ratio", "ratio"
    );
    for (name, engine, bytes, rounds) in
        [("soft", EngineChoice::Soft, 1_000_000, 15), ("kvm", EngineChoice::Kvm, 10_000, 15)]
    {
        let input: Vec<u8> = (0..bytes).map(|index| index as u8).collect();
        let mut shortest = [Duration::MAX; 3];
        for _ in 0..rounds {
            let results = [bare(engine, &input)?, run(engine, &input)?, each_transfer(engine, &input)?];
            for ((time, output), shortest) in results.iter().zip(&mut shortest) {
                if *output != results[0].1 || output.len() != input.len() {
                    return Err("they do not send the same".into());
                }
                *shortest = (*shortest).min(*time);
            }
        }
        let each = shortest.map(|time| time.as_secs_f64() * 1e9 / f64::from(bytes));
        println!(
            "{name:>6} {:>9.1} ns {:>9.1} ns {:>9.1} ns {:>8.3} {:>8.3}",
            each[0],
            each[1],
            each[2],
            each[1] / each[0],
            each[2] / each[0]
        );
    }
    Ok(())
}

/// The shortest loop that answers the guest.
fn bare(engine: EngineChoice, input: &[u8]) -> Result<(Duration, Vec<u8>)> {
    let mut engines = engine.open(MemoryMap::from(MemorySize::default()), &Stops::default())?;
    let engine = engines.engine();
    engine.write_ram(0, &GUEST);
    let start = Instant::now();
    let mut input = input.iter();
    let mut output = Vec::new();
    engine.enter()?;
    loop {
        match engine.run()? {
            Exit::In { data, .. } => match input.next() {
                Some(byte) => data[0] = *byte,
                None => break,
            },
            Exit::Out { data, .. } => output.extend_from_slice(data),
            Exit::Interrupted => {}
            exit => return Err(format!("{exit:?}").into()),
        }
    }
    engine.leave();
    Ok((start.elapsed(), output))
}

fn machine(engine: EngineChoice, input: &[u8]) -> Result<Machine> {
    let program = Program::from_bytes(GUEST.to_vec())?;
    Ok(Machine::builder().engine(engine).input(input).build(&program)?)
}

fn run(engine: EngineChoice, input: &[u8]) -> Result<(Duration, Vec<u8>)> {
    let mut machine = machine(engine, input)?;
    let start = Instant::now();
    machine.run()?;
    Ok((start.elapsed(), machine.streams().output.bytes().to_vec()))
}

/// The same with an event for each transfer.
fn each_transfer(engine: EngineChoice, input: &[u8]) -> Result<(Duration, Vec<u8>)> {
    let mut machine = machine(engine, input)?;
    let wants = Wants { transfers: true, ..Wants::default() };
    let start = Instant::now();
    while !matches!(machine.resume(&wants)?, flatland::Event::Ended(_)) {}
    Ok((start.elapsed(), machine.streams().output.bytes().to_vec()))
}
