//! Machines made by the library, in this process.

use std::time::Instant;

use flatland::EngineChoice;
use flatland::x86::Stops;
use flatland::{Image, Machine, MemorySize, Outcome, Streams};

use crate::{Result, images};

/// Puts one machine back so often, and runs it on one `hlt` each time. Returns what once takes, in microseconds.
pub fn put_back(count: u32) -> Result<f64> {
    let engine = EngineChoice::Kvm.open(MemorySize::default(), &Stops::default())?.0;
    let mut machine = Machine::new(engine, &Image::from_bytes(images::halt())?, Streams::none())?;
    let snapshot = machine.snapshot()?;
    let start = Instant::now();
    for _ in 0..count {
        machine.restore(&snapshot, Streams::none())?;
        halts(&mut machine)?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

/// Makes so many machines, one after the other, and runs each on one `hlt`. Returns what one takes, in microseconds.
pub fn fresh(count: u32) -> Result<f64> {
    let image = Image::from_bytes(images::halt())?;
    let start = Instant::now();
    for _ in 0..count {
        let engine = EngineChoice::Kvm.open(MemorySize::default(), &Stops::default())?.0;
        let mut machine = Machine::new(engine, &image, Streams::none())?;
        halts(&mut machine)?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

fn halts(machine: &mut Machine) -> Result<()> {
    match machine.run()? {
        Outcome::Halted => Ok(()),
        other => Err(format!("a `hlt` ended with {other:?}").into()),
    }
}
