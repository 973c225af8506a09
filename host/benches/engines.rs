//! Compares the soft engine with KVM: instructions per second, the time for a byte in and a byte out, and the time to
//! the first byte. The figures are this machine's; compare the ratios of one run. It asserts nothing: a timing is not
//! a test.
//!
//! `cargo bench --package flatland-vmm --bench engines`. If `cargo xtask build --release bench` has built its image, a
//! compiled program that sorts, hashes and sieves is also measured. If Debian's libunicorn2 is installed, QEMU's
//! translator also runs the counted loop. "paged" is the soft engine with paging on: pages of 4 KiB that are what they
//! are without.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flatland::x86::{Registers, Stops, cr0};
use flatland::{EngineChoice, Image, Input, Machine, MemorySize, Outcome, Streams};
use unicorn::{Ports, Stop, Unicorn};

#[path = "../tests/unicorn/mod.rs"]
mod unicorn;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A program whose work grows with a number.
struct Program {
    name: &'static str,
    code: Vec<u8>,
    /// The offset of the number in the code, 4 bytes; `None` if it is the input.
    size_at: Option<usize>,
    /// The numbers for the soft engine, and for a KVM that emulates the processor.
    sizes: [u32; 2],
}

fn main() -> Result<()> {
    let mut programs = vec![
        // mov ecx, SIZE; 5: dec ecx; jnz 5; hlt
        Program {
            name: "counted loop",
            code: vec![0xb9, 0, 0, 0, 0, 0x49, 0x75, 0xfd, 0xf4],
            size_at: Some(1),
            sizes: [100_000_000, 1_000_000],
        },
        // mov ecx, SIZE; 5: add eax, ecx; xor ebx, eax; lea edx, [eax+ebx*2+7]; cmp edx, 5; je 5; sub ecx, 1;
        // jnz 5; hlt
        Program {
            name: "arithmetic",
            code: vec![
                0xb9, 0, 0, 0, 0, 0x01, 0xc8, 0x31, 0xc3, 0x8d, 0x54, 0x58, 0x07, 0x83, 0xfa, 0x05, 0x74,
                0xf3, 0x83, 0xe9, 0x01, 0x75, 0xee, 0xf4,
            ],
            size_at: Some(1),
            sizes: [30_000_000, 100_000],
        },
        // mov ecx, SIZE; 5: push ecx; call 10; pop ecx; dec ecx; jnz 5; hlt
        // 10: mov eax, [esp+4]; inc dword [0x1000]; ret
        Program {
            name: "calls and memory",
            code: vec![
                0xb9, 0, 0, 0, 0, 0x51, 0xe8, 0x05, 0, 0, 0, 0x59, 0x49, 0x75, 0xf6, 0xf4, 0x8b, 0x44, 0x24,
                0x04, 0xff, 0x05, 0x00, 0x10, 0, 0, 0xc3,
            ],
            size_at: Some(1),
            sizes: [20_000_000, 100_000],
        },
    ];
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guest/bench.bin");
    for (name, number) in [("compiled: sort", b's'), ("compiled: hash", b'h'), ("compiled: sieve", b'p')] {
        if let Ok(code) = fs::read(&compiled) {
            let size = |log: u8| u32::from_le_bytes([number, log, 0, 0]);
            programs.push(Program { name, code, size_at: None, sizes: [size(20), size(12)] });
        }
    }
    println!("{:>20} {:>10} {:>10} {:>8} {:>10} {:>8}", "MIPS", "soft", "paged", "ratio", "kvm", "ratio");
    for program in &programs {
        let (mut soft, mut paged) = ((Duration::MAX, None), (Duration::MAX, None));
        for _ in 0..3 {
            soft = soft.min(program.run(EngineChoice::Soft, program.sizes[0])?);
            paged = paged.min(program.run_in(paged_machine, EngineChoice::Soft, program.sizes[0])?);
        }
        let few = program.run(EngineChoice::Soft, program.sizes[1])?;
        let kvm = program.run(EngineChoice::Kvm, program.sizes[1])?;
        let mips = |time: Duration, count: u64| count as f64 / time.as_secs_f64() / 1e6;
        let count = |instructions: Option<u64>| instructions.ok_or("the soft engine counts");
        let soft = mips(soft.0, count(soft.1)?);
        let paged = mips(paged.0, count(paged.1)?);
        // The same image and input, so the same instructions.
        let kvm = mips(kvm.0, count(few.1)?);
        println!(
            "{:>20} {soft:>10.0} {paged:>10.0} {:>8.2} {kvm:>10.1} {:>8.0}",
            program.name,
            soft / paged,
            soft / kvm
        );
    }
    translated(&programs[0])?;
    conversation()?;
    making()?;
    copies()?;
    first_byte()
}

impl Program {
    /// The time to its `hlt`, and the instructions if they are counted.
    fn run(&self, engine: EngineChoice, size: u32) -> Result<(Duration, Option<u64>)> {
        self.run_in(machine, engine, size)
    }

    /// The same in another machine.
    fn run_in(
        &self,
        machine: fn(EngineChoice, Vec<u8>, Vec<u8>) -> Result<Machine>,
        engine: EngineChoice,
        size: u32,
    ) -> Result<(Duration, Option<u64>)> {
        let mut code = self.code.clone();
        let mut input = Vec::new();
        match self.size_at {
            Some(at) => code[at..at + 4].copy_from_slice(&size.to_le_bytes()),
            None => input.extend(&size.to_le_bytes()[..2]),
        }
        let mut machine = machine(engine, code, input)?;
        let start = Instant::now();
        let outcome = machine.run()?;
        let time = start.elapsed();
        match outcome {
            Outcome::Halted => Ok((time, machine.engine().instructions())),
            other => Err(format!("{}: {other:?}", self.name).into()),
        }
    }
}

/// Compares the soft engine with Unicorn, if that is installed. Both run in turn, and the shortest time of each
/// counts.
fn translated(program: &Program) -> Result<()> {
    const RUNS: usize = 5;
    let (Some(at), size) = (program.size_at, program.sizes[0]) else {
        return Err("Unicorn has no input".into());
    };
    let mut code = program.code.clone();
    code[at..at + 4].copy_from_slice(&size.to_le_bytes());
    let mut shortest = [Duration::MAX; 2];
    let mut instructions = None;
    for _ in 0..RUNS {
        let unicorn = match time_in_unicorn(&code) {
            Ok(time) => time,
            Err(message) => {
                println!("\nnot compared with a translator: {message}");
                return Ok(());
            }
        };
        let (soft, count) = program.run(EngineChoice::Soft, size)?;
        shortest = [shortest[0].min(unicorn), shortest[1].min(soft)];
        instructions = count;
    }
    let [unicorn, soft] = shortest.map(|time| time.as_secs_f64());
    let mips = instructions.ok_or("the soft engine counts")? as f64 / 1e6;
    println!(
        "\n{}, MIPS: soft {:.0}, translated by Unicorn {:.0}, ratio {:.1}",
        program.name,
        mips / soft,
        mips / unicorn,
        soft / unicorn
    );
    Ok(())
}

/// The time to its `hlt`, the translation included. An error says what is missing.
fn time_in_unicorn(code: &[u8]) -> std::result::Result<Duration, String> {
    const RAM: usize = 64 << 10;
    const GDT_ADDRESS: u64 = 0xfd00_0000;
    const GDT: [u64; 3] = [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
    let mut unicorn = Unicorn::new(RAM, GDT_ADDRESS, &GDT)?;
    unicorn.write(0, code);
    unicorn.set_registers(&Registers { eflags: 2, ..Registers::default() });
    let start = Instant::now();
    let stop = unicorn.run(&mut NoPorts, None);
    let time = start.elapsed();
    assert_eq!(stop, Stop::Halt, "Unicorn runs it to its end");
    Ok(time)
}

struct NoPorts;

impl Ports for NoPorts {
    fn input(&mut self, _port: u16, _width: u8) -> u32 {
        0
    }

    fn output(&mut self, _port: u16, _width: u8, _value: u32) {}
}

fn machine(engine: EngineChoice, code: Vec<u8>, input: Vec<u8>) -> Result<Machine> {
    let engine = engine.open(MemorySize::default(), &Stops::default())?;
    let streams = Streams { input: Input::from_bytes(input), ..Streams::none() };
    Ok(Machine::new(engine, &Image::from_bytes(code)?, streams)?)
}

/// The same with paging on. The tables lie in the guard below the stack, which is not protected here.
fn paged_machine(engine: EngineChoice, code: Vec<u8>, input: Vec<u8>) -> Result<Machine> {
    const PAGE: u32 = 4096;
    const PRESENT_WRITABLE: u32 = 0b11;
    let mut machine = machine(engine, code, input)?;
    let engine = machine.engine();
    let directory = engine.memory_map().layout().heap_end;
    let ram = engine.memory_map().ram().bytes();
    for page in 0..ram / PAGE {
        let table = directory + PAGE * (1 + page / 1024);
        engine.write_ram(directory + page / 1024 * 4, &(table | PRESENT_WRITABLE).to_le_bytes());
        engine.write_ram(table + page % 1024 * 4, &((page * PAGE) | PRESENT_WRITABLE).to_le_bytes());
    }
    let (mut state, position) = engine.processor()?;
    (state.cr3, state.cr0) = (directory, state.cr0 | cr0::PG);
    engine.set_processor(&state, position)?;
    Ok(machine)
}

/// Measures a byte in and a byte out, with `insb` and `outsb`.
fn conversation() -> Result<()> {
    const BYTES: usize = 20_000;
    // 0: mov edx, 0xe9; 5: mov edi, 0x1000; a: insb; b: mov esi, 0x1000; 10: inc byte [esi]; 12: outsb; 13: jmp 5
    const CODE: &[u8] =
        &[0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x10, 0, 0, 0x6c, 0xbe, 0, 0x10, 0, 0, 0xfe, 0x06, 0x6e, 0xeb, 0xf0];
    let time = |engine, bytes: usize| -> Result<f64> {
        let mut machine = machine(engine, CODE.to_vec(), vec![b'x'; bytes])?;
        let start = Instant::now();
        machine.run()?;
        Ok(start.elapsed().as_secs_f64() * 1e6 / bytes as f64)
    };
    let (soft, kvm) = (time(EngineChoice::Soft, 100 * BYTES)?, time(EngineChoice::Kvm, BYTES)?);
    println!("\na byte in and a byte out: soft {soft:.3} us, kvm {kvm:.2} us, ratio {:.0}", kvm / soft);
    Ok(())
}

/// Measures making an engine and dropping it.
fn making() -> Result<()> {
    const COUNT: u32 = 300;
    let time = |engine: EngineChoice| -> Result<f64> {
        let start = Instant::now();
        for _ in 0..COUNT {
            engine.open(MemorySize::default(), &Stops::default())?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(COUNT))
    };
    println!(
        "\nmaking an engine: soft {:.1} us, kvm {:.0} us",
        time(EngineChoice::Soft)?,
        time(EngineChoice::Kvm)?
    );
    Ok(())
}

/// Measures copies of 16 MiB of RAM, all of it in use, which differ in some pages from one to the next.
fn copies() -> Result<()> {
    const COUNT: u32 = 40;
    const PAGES: u32 = 4096;
    const PAGE: u32 = 4096;
    println!("\ncopies of 16 MiB on soft, us: save, restore the one before, any, the same");
    for changed in [10, 400] {
        let mut engine = EngineChoice::Soft.open("16M".parse::<MemorySize>()?, &Stops::default())?;
        let engine = engine.engine();
        for page in 0..PAGES {
            engine.write_ram(page * PAGE, &[7; PAGE as usize]);
        }
        let mut copies = vec![engine.save_ram()?];
        let mut saves = Vec::new();
        for copy in 0..COUNT {
            for page in 0..changed {
                engine.write_ram((copy + page * (PAGES / changed)) * PAGE, &[copy as u8; 4]);
            }
            let start = Instant::now();
            copies.push(engine.save_ram()?);
            saves.push(start.elapsed());
        }
        let mut restore = |order: &mut dyn Iterator<Item = u32>| -> Result<Vec<Duration>> {
            let mut times = Vec::new();
            for copy in order {
                let start = Instant::now();
                engine.restore_ram(&copies[copy as usize])?;
                times.push(start.elapsed());
            }
            Ok(times)
        };
        let back = restore(&mut (0..COUNT).rev())?;
        let any = restore(&mut (0..COUNT).map(|copy| copy * 17 % COUNT))?;
        let same = restore(&mut (0..COUNT).map(|_| 3))?;
        let [save, back, any, same] = [saves, back, any, same].map(|mut times| {
            times.sort();
            times[times.len() / 2].as_secs_f64() * 1e6
        });
        println!("  {changed:>3} pages changed  {save:>7.1} {back:>7.1} {any:>7.1} {same:>7.1}");
    }
    Ok(())
}

/// Measures the time from the start of the process to the first byte of output. Both engines run in turn.
fn first_byte() -> Result<()> {
    const RUNS: usize = 100;
    // mov al, 'A'; out 0xe9, al; in al, 0xe9; hlt
    const CODE: &[u8] = &[0xb0, b'A', 0xe6, 0xe9, 0xe4, 0xe9, 0xf4];
    let image = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("first-byte.bin");
    fs::write(&image, CODE)?;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        for (engine, times) in ["soft", "kvm"].into_iter().zip(&mut times) {
            times.push(time_to_first_byte(engine, &image)?);
        }
    }
    let [soft, kvm] = times.map(|mut times| {
        times.sort();
        [times[0], times[RUNS / 10], times[RUNS / 2]].map(|time| time.as_secs_f64() * 1e6)
    });
    println!("\nstart to first byte, us: minimum, 10th percentile, median of {RUNS} in turn");
    println!("  soft  {:>6.0} {:>6.0} {:>6.0}", soft[0], soft[1], soft[2]);
    println!("  kvm   {:>6.0} {:>6.0} {:>6.0}", kvm[0], kvm[1], kvm[2]);
    println!("  ratio {:>6.2} {:>6.2} {:>6.2}", soft[0] / kvm[0], soft[1] / kvm[1], soft[2] / kvm[2]);
    Ok(())
}

fn time_to_first_byte(engine: &str, image: &Path) -> Result<Duration> {
    use std::io::Read;
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_flatland"))
        .args(["--engine", engine])
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdout.as_mut().ok_or("it is piped")?.read_exact(&mut [0])?;
    let time = start.elapsed();
    drop(child.stdin.take());
    child.wait()?;
    Ok(time)
}
