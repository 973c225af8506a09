//! Measures machines made by the library, in this process.

use std::time::Instant;

use flatland::{EngineChoice, Machine, Outcome, Program, Streams};

use crate::{Result, images};

/// Makes `count` machines, one after another, and runs one `hlt` in each. Returns the time for one, in microseconds.
pub fn fresh(count: u32) -> Result<f64> {
    let program = Program::from_bytes(images::HALT.to_vec())?;
    each(count, || halts(&mut make(&program)?))
}

/// Restores one machine `count` times, and runs one `hlt` each time. Returns the time for one round, in microseconds.
pub fn put_back(count: u32) -> Result<f64> {
    let mut machine = make(&Program::from_bytes(images::HALT.to_vec())?)?;
    let snapshot = machine.snapshot()?;
    each(count, || {
        machine.restore(&snapshot, Streams::none())?;
        halts(&mut machine)
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
