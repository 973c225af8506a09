//! Machines made by the library, in this process.

use std::time::Instant;

use flatland::engine::Stops;
use flatland::engine::choice::{self, Choice};
use flatland::{Image, Machine, MemorySize, Outcome, Streams};

use crate::{Result, images};

/// Makes so many machines, one after the other, and runs each on one `hlt`. Returns what one takes, in microseconds.
pub fn fresh(count: u32) -> Result<f64> {
    let image = Image::from_bytes(images::halt())?;
    let start = Instant::now();
    for _ in 0..count {
        let engine = choice::open(Choice::Kvm, MemorySize::default(), &Stops::default())?.engine;
        let mut machine = Machine::new(engine, &image, Streams::none())?;
        match machine.run()? {
            Outcome::Halted => {}
            other => return Err(format!("a `hlt` ended with {other:?}").into()),
        }
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}
