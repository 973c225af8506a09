//! A suite of 200 trivial tests in the guest, against 200 machines that a minimal C program makes and runs.
//!
//! `cargo bench --package flatland-test --bench suite [RUNS]`. The suite is a crate that `cargo xtask new` makes; the C
//! program is the yardstick of the host's benchmark, which makes and runs its machines in one process, one after the
//! other, each for one `hlt`. Both are run in turn, and what counts is the ratio. It asserts nothing: a timing is not
//! a test.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TESTS: usize = 200;

fn main() -> Result<()> {
    // cargo hands on `--bench`.
    let runs = env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(20);
    let folder = env::temp_dir().join(format!("flatland-suite-{}", process::id()));
    let result = measure(&folder, runs);
    let _ = fs::remove_dir_all(&folder);
    result
}

fn measure(folder: &Path, runs: usize) -> Result<()> {
    let tests = build_tests(&folder.join("suite"))?;
    let yardstick = compile_yardstick(folder)?;
    let halt = folder.join("halt.bin");
    fs::write(&halt, [0xf4])?;

    let runner = env!("CARGO_BIN_EXE_flatland-test");
    let suite = |threads: &[&str]| {
        let mut command = Command::new(runner);
        command.args(["--engine", "kvm"]).arg(&tests).args(["--", "--quiet"]).args(threads);
        command
    };
    let mut machines = Command::new(&yardstick);
    machines.arg(&halt).arg(TESTS.to_string());
    let mut commands = [suite(&[]), suite(&["--test-threads=1"]), machines];
    for command in &mut commands {
        time(command)?; // not counted: files come into memory
    }
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..runs {
        for (command, times) in commands.iter_mut().zip(&mut times) {
            times.push(time(command)?);
        }
    }
    println!("{TESTS} trivial tests, {runs} runs each, in turn");
    println!("{:>24} {:>10} {:>10} {:>10}", "", "minimum", "10th pct", "median");
    let [suite, one_thread, machines] = times.map(quantiles);
    for (name, times) in [("flatland-test", suite), ("one thread", one_thread), ("yardstick", machines)] {
        let [minimum, tenth, median] = times.map(|time| format!("{:.0} ms", time.as_secs_f64() * 1e3));
        println!("{name:>24} {minimum:>10} {tenth:>10} {median:>10}");
    }
    for (name, times) in [("ratio", suite), ("ratio, one thread", one_thread)] {
        let ratio = |index: usize| times[index].as_secs_f64() / machines[index].as_secs_f64();
        println!("{name:>24} {:>10.2} {:>10.2} {:>10.2}", ratio(0), ratio(1), ratio(2));
    }
    Ok(())
}

/// Makes a crate with the tests, and returns the ELF file that they are in.
fn build_tests(folder: &Path) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this package lies in the checkout")?;
    let mut new = Command::new("cargo");
    succeed(new.args(["xtask", "new", "--path"]).arg(folder).arg("trivial").current_dir(root))?;
    let mut source = "#![no_std]\n#![no_main]\nuse flatland_guest::test;\n".to_owned();
    for number in 0..TESTS {
        writeln!(source, "#[test]\nfn test_{number}() {{\n    assert_eq!({number}, {number});\n}}")?;
    }
    fs::create_dir(folder.join("tests"))?;
    fs::write(folder.join("tests/many.rs"), source)?;
    println!("building the suite");
    succeed(Command::new("cargo").args(["xtask", "test", "--guest", "many"]).current_dir(folder))?;
    let built = fs::read_dir(folder.join("target/guest/tests"))?;
    let is_suite = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "elf")
            && path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"many-"))
    };
    Ok(built.filter_map(|entry| Some(entry.ok()?.path())).find(is_suite).ok_or("the suite was not built")?)
}

fn compile_yardstick(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("yardstick");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/benches/yardstick.c");
    succeed(Command::new("cc").args(["-O2", "-Wall", "-o"]).arg(&program).arg(source))?;
    Ok(program)
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// From before the start of the process to after its end.
fn time(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    succeed(command)?;
    Ok(start.elapsed())
}

/// Minimum, 10th percentile, median.
fn quantiles(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort();
    [times[0], times[times.len() / 10], times[times.len() / 2]]
}
