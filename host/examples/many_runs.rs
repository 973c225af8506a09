//! Runs a guest 10,000 times on different inputs from one snapshot, without a new machine for each: as a fuzzer or a
//! test runner does it.
//!
//! `cargo run --release --package flatland-vmm --example many_runs [RUNS] [ENGINE]`

use std::error::Error;
use std::time::Instant;

use flatland::{EngineChoice, Input, Machine, Outcome, Program, Streams};

/// Divides 100 by each byte of its input, and sends the quotient back: it faults if the byte is 0.
#[rustfmt::skip]
const GUEST: [u8; 14] = [
    0xe4, 0xe9,       // 0: in al, 0xe9
    0x88, 0xc1,       // 2: mov cl, al
    0x66, 0xb8, 100, 0, //  4: mov ax, 100
    0xf6, 0xf1,       // 8: div cl
    0xe6, 0xe9,       // a: out 0xe9, al
    0xeb, 0xf2,       // c: jmp 0
];

fn main() -> Result<(), Box<dyn Error>> {
    let runs: u32 = std::env::args().nth(1).map_or(Ok(10_000), |count| count.parse())?;
    let program = Program::from_bytes(GUEST.to_vec())?;
    let engine = std::env::args().nth(2).map_or(Ok(EngineChoice::Auto), |name| name.parse())?;
    let mut machine = Machine::builder().engine(engine).many_runs().build(&program)?;

    // The guest's work before its first request for input is done only once.
    if let Some(outcome) = machine.run_until_input()? {
        return Err(format!("the guest ended before it asked for input: {outcome:?}").into());
    }
    let asking = machine.snapshot()?;

    let start = Instant::now();
    let mut faults = 0;
    for run in 0..runs {
        let input = run.to_le_bytes().map(|byte| byte ^ 0x5a);
        machine.restore(&asking, Streams { input: Input::from(&input), ..Streams::none() })?;
        let outcome = machine.run()?;
        let good: Vec<u8> = input.iter().take_while(|byte| **byte != 0).map(|byte| 100 / byte).collect();
        assert_eq!(machine.streams().output.bytes(), good, "what the guest sent");
        faults += u32::from(matches!(outcome, Outcome::Fault(_)));
    }
    let time = start.elapsed();
    println!(
        "{runs} runs on {} in {:.3} s, {:.1} us each; {faults} faults",
        machine.engine().name(),
        time.as_secs_f64(),
        time.as_secs_f64() * 1e6 / f64::from(runs.max(1))
    );
    Ok(())
}
