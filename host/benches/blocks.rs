//! What it costs to see the blocks that the soft engine executes: the processor's time for a run with a sink, divided by
//! that for one without. All sinks run in turn, and the shortest time of each counts. The figures are this machine's; it
//! asserts nothing: a timing is not a test.
//!
//! `cargo bench --package flatland-vmm --bench blocks`. If `cargo xtask build --release bench` has built its image, a
//! compiled program that sorts, hashes and sieves is also measured.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use flatland::profile::{CallPaths, Sampler};
use flatland::x86::{BlockCode, BlockSink};
use flatland::{EngineChoice, Machine, Outcome, observe};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How often each is measured.
const RUNS: usize = 15;

/// A guest, and its input.
struct Guest {
    name: &'static str,
    code: Vec<u8>,
    input: Vec<u8>,
}

/// Counts how often each block is executed.
#[derive(Debug, Default)]
struct Blocks {
    counts: Vec<u64>,
}

impl BlockSink for Blocks {
    fn decoded(&mut self, _block: u32, _code: &BlockCode) {
        self.counts.push(0);
    }

    fn executed(&mut self, block: u32, _instructions: u32) {
        self.counts[block as usize] += 1;
    }

    fn cleared(&mut self) {
        self.counts.clear();
    }
}

/// Counts how many blocks are executed.
#[derive(Debug, Default)]
struct Sum(u64);

impl BlockSink for Sum {
    fn decoded(&mut self, _block: u32, _code: &BlockCode) {}

    fn executed(&mut self, _block: u32, _instructions: u32) {
        self.0 += 1;
    }

    fn cleared(&mut self) {}
}

/// Counts ways from a block to the next one in a map of bytes, as fuzzers do.
#[derive(Debug)]
struct Edges {
    /// A number at random for each block.
    numbers: Vec<u32>,
    last: u32,
    map: Box<[u8; 1 << 16]>,
}

impl BlockSink for Edges {
    fn decoded(&mut self, _block: u32, code: &BlockCode) {
        let hash = code.address.wrapping_mul(0x9e37_79b9);
        self.numbers.push(hash >> 16);
    }

    fn executed(&mut self, block: u32, _instructions: u32) {
        let number = self.numbers[block as usize];
        let count = &mut self.map[((self.last ^ number) & 0xffff) as usize];
        *count = count.wrapping_add(1);
        self.last = number >> 1;
    }

    fn cleared(&mut self) {
        self.numbers.clear();
    }
}

/// What sees the blocks.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Not,
    Blocks,
    Edges,
    CallPaths,
}

fn main() -> Result<()> {
    let mut guests = vec![
        // mov ecx, 10,000,000; 5: dec ecx; jnz 5; hlt
        guest("counted loop", &[0xb9, 0x80, 0x96, 0x98, 0, 0x49, 0x75, 0xfd, 0xf4]),
        // mov ecx, 5,000,000; 5: add eax, ecx; xor ebx, eax; lea edx, [eax+ebx*2+7]; cmp edx, 5; je 5; sub ecx, 1;
        // jnz 5; hlt
        guest(
            "arithmetic",
            &[
                0xb9, 0x40, 0x4b, 0x4c, 0, 0x01, 0xc8, 0x31, 0xc3, 0x8d, 0x54, 0x58, 0x07, 0x83, 0xfa, 0x05,
                0x74, 0xf3, 0x83, 0xe9, 0x01, 0x75, 0xee, 0xf4,
            ],
        ),
        // mov ecx, 3,000,000; 5: push ecx; call 10; pop ecx; dec ecx; jnz 5; hlt
        // 10: mov eax, [esp+4]; inc dword [0x1000]; ret
        guest(
            "calls and memory",
            &[
                0xb9, 0xc0, 0xc6, 0x2d, 0, 0x51, 0xe8, 0x05, 0, 0, 0, 0x59, 0x49, 0x75, 0xf6, 0xf4, 0x8b,
                0x44, 0x24, 0x04, 0xff, 0x05, 0x00, 0x10, 0, 0, 0xc3,
            ],
        ),
    ];
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guest/bench.bin");
    for (name, number) in [("compiled: sort", b's'), ("compiled: hash", b'h'), ("compiled: sieve", b'p')] {
        if let Ok(code) = fs::read(&compiled) {
            guests.push(Guest { name, code, input: vec![number, 17] });
        }
    }
    println!("{:>20} {:>6} {:>8} {:>8} {:>8} {:>10}", "", "MIPS", "a block", "blocks", "edges", "call paths");
    let mut sums = [0.0; 3];
    for guest in &guests {
        let all = [Seen::Not, Seen::Blocks, Seen::Edges, Seen::CallPaths];
        let mut shortest = [Duration::MAX; 4];
        let mut instructions = 0;
        for _ in 0..RUNS {
            for (seen, shortest) in all.into_iter().zip(&mut shortest) {
                let (time, count) = guest.run(seen)?;
                *shortest = time.min(*shortest);
                instructions = count;
            }
        }
        let [not, seen @ ..] = shortest.map(|time| time.as_secs_f64());
        let ratios = seen.map(|time| time / not);
        println!(
            "{:>20} {:>6.0} {:>6.1}ns {:>8.2} {:>8.2} {:>10.2}",
            guest.name,
            instructions as f64 / not / 1e6,
            not * 1e9 / guest.blocks()? as f64,
            ratios[0],
            ratios[1],
            ratios[2]
        );
        for (sum, ratio) in sums.iter_mut().zip(ratios) {
            *sum += ratio.ln();
        }
    }
    let [blocks, edges, paths] = sums.map(|sum: f64| (sum / guests.len() as f64).exp());
    println!("{:>20} {:>6} {:>8} {blocks:>8.2} {edges:>8.2} {paths:>10.2}", "geometric mean", "", "");
    sampled()
}

/// Measures a run on KVM with samples, and without. Both run in turn, and the shortest time of each counts.
fn sampled() -> Result<()> {
    // push ebp; mov ebp, esp; mov ecx, COUNT; 8: dec ecx; jnz 8; hlt
    let time = |count: u32, is_sampled: bool| -> Result<(Duration, u64)> {
        let mut code = vec![0x55, 0x89, 0xe5, 0xb9, 0, 0, 0, 0, 0x49, 0x75, 0xfd, 0xf4];
        code[4..8].copy_from_slice(&count.to_le_bytes());
        let program = flatland::Program::from_bytes(code)?;
        let mut machine = Machine::builder().engine(EngineChoice::Kvm).output(Vec::new()).build(&program)?;
        let mut sampler = Sampler::new(None);
        let start = processor_time()?;
        match is_sampled {
            true => observe(&mut machine, &mut [&mut sampler])?,
            false => machine.run()?,
        };
        Ok((processor_time()? - start, sampler.samples().map(|(_, count)| count).sum()))
    };
    let mut count = 100_000;
    while count < 1 << 30 && time(count, false)?.0 < Duration::from_millis(500) {
        count *= 2;
    }
    let mut shortest = [Duration::MAX; 2];
    let mut samples = 0;
    for _ in 0..RUNS {
        let with = time(count, true)?;
        samples = with.1;
        let without = time(count, false)?;
        shortest = [shortest[0].min(without.0), shortest[1].min(with.0)];
    }
    let [without, with] = shortest.map(|time| time.as_secs_f64());
    println!(
        "\nsampled on KVM: {samples} samples in {:.0} ms of the guest's thread, ratio {:.3}",
        with * 1e3,
        with / without
    );
    Ok(())
}

/// The processor's time of this thread (Linux, Documentation/scheduler/sched-stats.rst). Others may need the processor,
/// too.
fn processor_time() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let time = text.split(' ').next().ok_or("it has three numbers")?;
    Ok(Duration::from_nanos(time.parse()?))
}

fn guest(name: &'static str, code: &[u8]) -> Guest {
    Guest { name, code: code.to_vec(), input: Vec::new() }
}

impl Guest {
    fn machine(&self) -> Result<Machine> {
        let program = flatland::Program::from_bytes(self.code.clone())?;
        let builder = Machine::builder().engine(EngineChoice::Soft).input(self.input.clone());
        Ok(builder.output(Vec::new()).build(&program)?)
    }

    /// The time to its `hlt`, and the instructions.
    fn run(&self, seen: Seen) -> Result<(Duration, u64)> {
        let mut machine = self.machine()?;
        match seen {
            Seen::Not => {}
            Seen::Blocks => machine.watch_blocks(Blocks::default())?,
            Seen::Edges => {
                let map = vec![0; 1 << 16].into_boxed_slice().try_into().map_err(|_| "it has that size")?;
                machine.watch_blocks(Edges { numbers: Vec::new(), last: 0, map })?;
            }
            Seen::CallPaths => machine.watch_blocks(CallPaths::default())?,
        }
        let start = processor_time()?;
        let outcome = machine.run()?;
        let time = processor_time()? - start;
        match outcome {
            Outcome::Halted => Ok((time, machine.instructions().ok_or("the soft engine counts")?)),
            other => Err(format!("{}: {other:?}", self.name).into()),
        }
    }

    /// How many blocks it executes.
    fn blocks(&self) -> Result<u64> {
        let mut machine = self.machine()?;
        machine.watch_blocks(Sum::default())?;
        machine.run()?;
        let Sum(blocks) = machine.unwatch_blocks().ok_or("it is this one")?;
        Ok(blocks)
    }
}
