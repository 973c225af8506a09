//! How fast a small guest is fuzzed: on one processor, and by two jobs.
//!
//! `cargo bench --package flatland-fuzz` runs one job and two in turns, so that a machine whose speed drifts slows both,
//! and prints the best of each. The times are this machine's. It asserts nothing: a timing is not a test.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Reads up to eight bytes, and goes around a loop a hundred times, with two branches by one of the bytes: 1,000
/// instructions, a little more or less by the input.
#[rustfmt::skip]
const GUEST: [u8; 60] = [
    0xe4, 0xeb,                         //  0: in al, 0xeb
    0x0f, 0xb6, 0xc8,                   //  2: movzx ecx, al
    0x83, 0xf9, 8,                      //  5: cmp ecx, 8
    0x76, 5,                            //  8: jbe f
    0xb9, 8, 0, 0, 0,                   //  a: mov ecx, 8
    0xba, 0xe9, 0, 0, 0,                //  f: mov edx, 0xe9
    0xbf, 0, 0x10, 0, 0,                // 14: mov edi, 0x1000
    0xf3, 0x6c,                         // 19: rep insb
    0xb9, 100, 0, 0, 0,                 // 1b: mov ecx, 100
    0x89, 0xc8,                         // 20: mov eax, ecx
    0x83, 0xe0, 7,                      // 22: and eax, 7
    0x8a, 0x80, 0, 0x10, 0, 0,          // 25: mov al, [eax + 0x1000]
    0x3c, 0x80,                         // 2b: cmp al, 0x80
    0x72, 3,                            // 2d: jb 32
    0x43,                               // 2f: inc ebx
    0xeb, 1,                            // 30: jmp 33
    0x4b,                               // 32: dec ebx
    0xa8, 1,                            // 33: test al, 1
    0x74, 2,                            // 35: jz 39
    0x01, 0xc3,                         // 37: add ebx, eax
    0xe2, 0xe5,                         // 39: loop 20
    0xf4,                               // 3b: hlt
];

/// How often each is measured.
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-speed");
    fs::create_dir_all(&folder)?;
    let image = folder.join("guest.bin");
    fs::write(&image, GUEST)?;
    let mut best = [0_u64; 2];
    for _ in 0..ROUNDS {
        for (jobs, best) in ["1", "2"].into_iter().zip(&mut best) {
            *best = (*best).max(runs_a_second(&folder, &image, jobs)?);
        }
    }
    let [one, two] = best;
    println!("one job: {one} runs a second; two jobs: {two}, {:.2} times as many", two as f64 / one as f64);
    Ok(())
}

/// Fuzzes for 5 s from an empty corpus.
fn runs_a_second(folder: &Path, image: &Path, jobs: &str) -> Result<u64, Box<dyn Error>> {
    for name in ["corpus", "findings"] {
        let _ = fs::remove_dir_all(folder.join(name));
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_flatland-fuzz"));
    command.args(["--seconds", "5"]);
    if jobs != "1" {
        command.args(["--jobs", jobs]);
    }
    command.arg("--corpus").arg(folder.join("corpus")).arg("--findings").arg(folder.join("findings"));
    let output = command.arg(image).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = said.lines().find_map(|line| {
        line.split_once(" runs in ")?.1.split_once(", ")?.1.split_once(" a second: ")?.0.parse().ok()
    });
    rate.ok_or_else(|| format!("it does not say how fast it was: {said}").into())
}
