//! From an edit to the answer: `hello` is touched, built and run again, as a person does it all day.
//!
//! `cargo bench --package flatland-test --bench edit [RUNS]`. The times are those of `cargo xtask run hello` as a whole,
//! beside those with nothing to build, and those of a `cargo build` of the same with nothing to build, which is the
//! least that anything can take that asks cargo. It asserts nothing: a timing is not a test.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    // cargo hands on `--bench`.
    let runs = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(10);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this package lies in the checkout")?;
    let source = root.join("guest/src/bin/hello.rs");
    let cargo = |line: &str| -> Result<Duration> {
        let start = Instant::now();
        let arguments = line.split_whitespace();
        let output = Command::new("cargo").args(arguments).current_dir(root).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(format!("cargo {line} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(start.elapsed())
    };
    cargo("xtask run hello")?; // not counted: everything is built
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..runs {
        File::options().append(true).open(&source)?.set_modified(SystemTime::now())?;
        times[0].push(cargo("xtask run hello")?);
        times[1].push(cargo("xtask run hello")?);
        times[2].push(cargo("build --quiet --release --package flatland")?);
    }
    println!("seconds, {runs} runs each, in turn{:>12} {:>10}", "minimum", "median");
    for (name, mut times) in ["touch and run", "run again", "cargo build, alone"].into_iter().zip(times) {
        times.sort();
        let [minimum, median] = [times[0], times[times.len() / 2]].map(|time| time.as_secs_f64());
        println!("{name:>30} {minimum:>12.2} {median:>10.2}");
    }
    Ok(())
}
