//! Start to exit of `flatland` against the yardstick, a minimal C program that makes the same KVM calls.
//!
//! `cargo bench --package flatland --bench start [RUNS]` runs the two in turn, so that a machine whose speed
//! drifts slows both, and prints ratios; the times are this machine's. Memory is VmHWM (proc(5)) while the
//! guest waits for input. It asserts nothing: a timing is not a test.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// hlt
const HALT: &[u8] = &[0xf4];
/// mov al, 'A'; out 0xe9, al; in al, 0xe9; hlt
const ASK: &[u8] = &[0xb0, b'A', 0xe6, 0xe9, 0xe4, 0xe9, 0xf4];

fn main() -> Result<()> {
    // cargo hands on `--bench`.
    let runs = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(300);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let flatland = PathBuf::from(env!("CARGO_BIN_EXE_flatland"));
    let yardstick = compile_yardstick(folder)?;
    let image = |name: &str, code: &[u8]| -> Result<PathBuf> {
        let path = folder.join(name);
        fs::write(&path, code)?;
        Ok(path)
    };

    let halt = image("halt.bin", HALT)?;
    for program in [&flatland, &yardstick] {
        time(program, &halt)?; // not counted: files come into memory
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        for (program, times) in [&flatland, &yardstick].into_iter().zip(&mut times) {
            times.push(time(program, &halt)?);
        }
    }
    println!("start to exit on one hlt, {runs} runs each, in turn");
    println!("{:>12} {:>10} {:>10} {:>10}", "", "minimum", "10th pct", "median");
    let [ours, theirs] = times.map(quantiles);
    let row = |name: &str, times: [Duration; 3]| {
        let [minimum, tenth, median] = times.map(|time| format!("{:.0} us", time.as_secs_f64() * 1e6));
        println!("{name:>12} {minimum:>10} {tenth:>10} {median:>10}");
    };
    row("flatland", ours);
    row("yardstick", theirs);
    let ratio = |index: usize| ours[index].as_secs_f64() / theirs[index].as_secs_f64();
    println!("{:>12} {:>10.2} {:>10.2} {:>10.2}", "ratio", ratio(0), ratio(1), ratio(2));

    let ask = image("ask.bin", ASK)?;
    let (ours, theirs) = (peak_memory(&flatland, &ask)?, peak_memory(&yardstick, &ask)?);
    println!("\npeak resident memory, the guest waiting for input, 16 MiB of RAM");
    println!("{:>12} {ours:>7} KiB", "flatland");
    println!("{:>12} {theirs:>7} KiB", "yardstick");
    println!("{:>12} {:>7} KiB", "difference", ours as i64 - theirs as i64);
    Ok(())
}

fn compile_yardstick(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("yardstick");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/yardstick.c");
    let status = Command::new("cc").args(["-O2", "-Wall", "-o"]).arg(&program).arg(source).status();
    match status {
        Ok(status) if status.success() => Ok(program),
        _ => {
            Err("the yardstick needs a C compiler and the kernel's headers: install gcc and libc6-dev".into())
        }
    }
}

/// From before the start of the process to after its end.
fn time(program: &Path, image: &Path) -> Result<Duration> {
    let start = Instant::now();
    let status = Command::new(program).arg(image).stdin(Stdio::null()).status()?;
    let time = start.elapsed();
    if status.success() { Ok(time) } else { Err(format!("{}: {status}", program.display()).into()) }
}

/// Minimum, 10th percentile and median.
fn quantiles(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort();
    [times[0], times[times.len() / 10], times[times.len() / 2]]
}

/// In KiB.
fn peak_memory(program: &Path, image: &Path) -> Result<u64> {
    let mut child = Command::new(program).arg(image).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    // Long past the start: nothing but the wait for input is left to do.
    thread::sleep(Duration::from_millis(200));
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    drop(child.stdin.take());
    child.wait()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in its status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
