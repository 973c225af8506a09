//! Measures machines made by the library, in this process.

use std::time::Instant;

use flatland::{EngineChoice, Input, Machine, Outcome, Program, Streams};

use crate::{Result, images};

/// Makes `count` machines on KVM, one after another, and runs one `hlt` in each. Returns the time for one, in microseconds.
pub fn fresh(count: u32) -> Result<f64> {
    let program = Program::from_bytes(images::HALT.to_vec())?;
    each(count, || halts(&mut make(&program)?))
}

/// Restores one machine on KVM `count` times, and runs one `hlt` each time. Returns the time for one round, in microseconds.
pub fn put_back(count: u32) -> Result<f64> {
    let mut machine = make(&Program::from_bytes(images::HALT.to_vec())?)?;
    let snapshot = machine.snapshot()?;
    each(count, || {
        machine.restore(&snapshot, Streams::none())?;
        halts(&mut machine)
    })
}

/// Runs a guest that answers one byte `count` times from one snapshot, which was taken where it asks. Returns the time
/// for one run, in microseconds.
pub fn many_runs(engine: EngineChoice, count: u32) -> Result<f64> {
    let program = Program::from_bytes(images::ANSWER.to_vec())?;
    let mut machine = Machine::builder().engine(engine).many_runs().build(&program)?;
    if let Some(outcome) = machine.run_until_input()? {
        return Err(format!("the guest ended before it asked: {outcome:?}").into());
    }
    let asking = machine.snapshot()?;
    let mut byte = 0_u8;
    each(count, || {
        byte = byte.wrapping_add(1);
        let input = Input::from(&[byte]);
        machine.restore(&asking, Streams { input, ..Streams::none() })?;
        halts(&mut machine)?;
        match machine.streams().output.bytes() {
            [answer] if *answer == byte.wrapping_add(1) => Ok(()),
            other => Err(format!("{byte} was answered by {other:?}").into()),
        }
    })
}

fn each(count: u32, mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    (0..count).try_for_each(|_| once())?;
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

fn make(program: &Program) -> Result<Machine> {
    Ok(Machine::builder().engine(EngineChoice::Kvm).build(program)?)
}

fn halts(machine: &mut Machine) -> Result<()> {
    match machine.run()? {
        Outcome::Halted => Ok(()),
        other => Err(format!("a `hlt` ended with {other:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_runs_answer_each_time() {
        for engine in [EngineChoice::Auto, EngineChoice::Soft] {
            assert!(many_runs(engine, 300).unwrap() > 0.0);
        }
    }
}
