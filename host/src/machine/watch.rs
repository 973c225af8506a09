//! Watching a run: what a tracer and a debugger are built on, whatever the engine.

use crate::Outcome;
use crate::engine::{DebugStop, Engine, EngineError};
use flatland_contract::Direction;

/// Somebody who looks at a run while it goes on, and may change the guest's registers, memory and stops. With nobody
/// watching, which is [`Nobody`], a run costs nothing more (`benches/watching`).
pub trait Watcher {
    /// Whether [`Self::transferred`] wants to be told.
    const WANTS_TRANSFERS: bool = false;

    /// Whether a call may take as long as a person thinks. Then the time it takes does not count for the time limit,
    /// what the guest has sent until then is written first, and a wait for input comes back at each kick.
    const HOLDS: bool = false;

    /// The run is about to begin: the place to set stops.
    fn begins(&mut self, engine: &mut dyn Engine) -> Result<(), EngineError>;

    /// What was set has stopped the processor. The run goes on when this returns.
    fn stopped(&mut self, engine: &mut dyn Engine, stop: DebugStop) -> Result<(), EngineError>;

    /// The machine has done a transfer at a port: what the guest sent is on its way, or what it waits for is there.
    fn transferred(&mut self, _: &mut dyn Engine, _: &Transfer) -> Result<(), EngineError> {
        Ok(())
    }

    /// The clock or a signal has fetched the processor. Not for each kick is there something to do.
    fn kicked(&mut self, _: &mut dyn Engine) -> Result<(), EngineError> {
        Ok(())
    }

    /// Whether the run is to end here. Asked after each call.
    fn ends(&self) -> bool {
        false
    }

    /// The run has ended like this, and the processor is as it was then.
    fn ended(&mut self, _: &mut dyn Engine, _: &Outcome) -> Result<(), EngineError> {
        Ok(())
    }
}

/// Transfers at a port, of one exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The port's number.
    pub port: u16,
    /// Bytes of each.
    pub width: u8,
    /// Which way.
    pub direction: Direction,
    /// All of them, one after the other.
    pub data: Vec<u8>,
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Watcher for Nobody {
    fn begins(&mut self, _: &mut dyn Engine) -> Result<(), EngineError> {
        Ok(())
    }

    fn stopped(&mut self, _: &mut dyn Engine, _: DebugStop) -> Result<(), EngineError> {
        Ok(())
    }
}

// What the benchmark takes away, to compare with what is left.
#[cfg(test)]
#[path = "../../benches/watching/unwatched.rs"]
mod unwatched;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_can_take_watching_out_of_the_run_loop() {
        let text = unwatched::unwatched(include_str!("../machine.rs")).unwrap();
        let (_, run_loop) = text.split_once("fn run_to_end").unwrap();
        let (run_loop, _) = run_loop.split_once("\n    }\n").unwrap();
        assert_eq!(run_loop.matches("watche").count(), 1, "its parameter, and nothing else:\n{run_loop}");
    }
}
