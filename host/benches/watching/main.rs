//! What watching costs while nobody watches: a run beside the same run before there were watchers.
//!
//! `cargo bench --package flatland --bench watching`. Before is this very source with the watching taken out of the run
//! loop (`unwatched.rs`): what else has changed since then does not count. Both are built in the same folder by the
//! same command; the first time that takes a minute or two. They run in turn on the soft engine, whose exits take so
//! little time that the run loop counts, and where each byte in and each byte out is an exit. One of them runs twice in
//! each turn: the ratio of that to itself is what the machine's noise makes of no difference. It asserts nothing: a
//! timing is not a test.

mod unwatched;

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How many bytes go in and out.
const LEN: u32 = 500_000;
/// How many of them where each is written to a trace.
const TRACED_LEN: u32 = 20_000;
const ROUNDS: usize = 150;

/// 0: mov edx, 0xe9; 5: mov edi, 0x1000; a: insb; b: mov esi, 0x1000; 10: inc byte [esi]; 12: outsb; 13: jmp 5
const CONVERSATION: &[u8] =
    &[0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x10, 0, 0, 0x6c, 0xbe, 0, 0x10, 0, 0, 0xfe, 0x06, 0x6e, 0xeb, 0xf0];

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("watching");
    let machine = copy_sources(&folder)?;
    let text = fs::read_to_string(&machine)?;
    // Names of one length, as the path is on the stack, and where that begins makes a difference of 10 % by itself.
    let now = build(&folder, "now")?;
    fs::write(&machine, unwatched::unwatched(&text)?)?;
    let before = build(&folder, "old")?;

    let image = folder.join("conversation.bin");
    fs::write(&image, CONVERSATION)?;
    let trace = folder.join("trace");
    let traced = [Path::new("--trace"), Path::new("io"), Path::new("--trace-file"), &trace];
    let runs = [
        ("before there were watchers", &before, &[][..], LEN),
        ("nobody watches", &now, &[], LEN),
        ("before, once more", &before, &[], LEN),
        ("a trace of transfers", &now, &traced, TRACED_LEN),
    ];
    let mut times = [const { Vec::new() }; 4];
    for round in 0..ROUNDS {
        for turn in 0..runs.len() {
            // There and back: no run always comes behind the same one.
            let run = if round % 2 == 0 { turn } else { runs.len() - 1 - turn };
            let (_, program, options, len) = runs[run];
            times[run].push(seconds(program, options, &image, len, round)? * 1e9 / f64::from(len));
        }
    }
    let sorted = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values
    };
    let figures = |times: &[f64]| {
        let times = sorted(times.to_vec());
        [times[0], times[ROUNDS / 10], times[ROUNDS / 2]]
    };
    println!(
        "a byte in and a byte out, ns: minimum, 10th percentile and median of {ROUNDS} rounds; and the ratio"
    );
    println!("to before: of the minima, of the percentiles, and the median of the ratios of each round");
    for ((name, ..), own) in runs.iter().zip(&times) {
        let [minimum, low, median] = figures(own);
        let [minimum_before, low_before, _] = figures(&times[0]);
        let ratios = sorted(own.iter().zip(&times[0]).map(|(time, before)| time / before).collect());
        println!(
            "{name:>28} {minimum:>8.1} {low:>8.1} {median:>8.1} {:>8.3} {:>8.3} {:>8.3}",
            minimum / minimum_before,
            low / low_before,
            ratios[ROUNDS / 2]
        );
    }
    Ok(())
}

/// Copies what `flatland` is made of, as a workspace of its own, and returns the path of `machine.rs` in there.
fn copy_sources(folder: &Path) -> Result<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("host lies in the checkout")?;
    let sources = folder.join("sources");
    for part in ["contract", "host"] {
        copy(&checkout.join(part), &sources.join(part))?;
    }
    fs::copy(checkout.join("Cargo.lock"), sources.join("Cargo.lock"))?;
    let manifest = fs::read_to_string(checkout.join("Cargo.toml"))?;
    let lines = manifest.lines().map(|line| match line.split(' ').next() {
        Some("members") => "members = [\"contract\", \"host\"]\n".into(),
        Some("exclude") => String::new(),
        _ => format!("{line}\n"),
    });
    fs::write(sources.join("Cargo.toml"), lines.collect::<String>())?;
    Ok(sources.join("host/src/machine.rs"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        fs::copy(from, to)?;
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Builds `flatland` of what lies there, and keeps it under this name.
fn build(folder: &Path, name: &str) -> Result<PathBuf> {
    eprintln!("building flatland, {name}");
    let target = folder.join("target");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "flatland", "--bin", "flatland"])
        .current_dir(folder.join("sources"))
        .env("CARGO_TARGET_DIR", &target)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let program = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    fs::copy(target.join("release/flatland").with_extension(std::env::consts::EXE_EXTENSION), &program)?;
    Ok(program)
}

/// How long a conversation of so many bytes takes, from start to exit. In each round the stack begins elsewhere in its
/// page.
fn seconds(program: &Path, options: &[&Path], image: &Path, len: u32, round: usize) -> Result<f64> {
    let input = image.with_extension(len.to_string());
    fs::write(&input, vec![b'x'; len as usize])?;
    let mut command = Command::new(program);
    command.args(["--engine", "soft"]).args(options).arg(image);
    command.stdin(File::open(&input)?).stdout(Stdio::null());
    command.env("PADDING", "x".repeat(4096 * round / ROUNDS));
    let start = Instant::now();
    let status = command.status()?;
    let time = start.elapsed().as_secs_f64();
    if status.success() { Ok(time) } else { Err(format!("{}: {status}", program.display()).into()) }
}
