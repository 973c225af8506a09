//! A machine that has run, put back to where it was: for runners of tests, and for fuzzers.

use super::ports::Answers;
use super::{Machine, RunError};
use crate::engine::{Engine, EngineError, EngineSnapshot};
use crate::{Outcome, Stop, Streams};

/// The state of a machine at some time: processor, RAM, and what of the answers at its ports the guest has not read yet.
/// Streams are not part of it: what was written is written.
///
/// It may be restored as often as one likes, also in another machine of the same engine and the same
/// [`MemoryMap`](crate::MemoryMap).
#[derive(Clone, Debug)]
pub struct Snapshot {
    engine: EngineSnapshot,
    answers: Answers,
}

impl<E: Engine> Machine<E> {
    /// The state as it is: at the start, after [`Self::run_until_input`], or at the end of a run.
    pub fn snapshot(&mut self) -> Result<Snapshot, EngineError> {
        Ok(Snapshot { engine: self.engine.snapshot()?, answers: self.ports.answers().clone() })
    }

    /// Puts the state back, with these streams behind the ports. Of RAM only what was written since is touched, if this
    /// snapshot was the last one that was taken or restored here; no new VM is made. A time limit counts anew.
    ///
    /// The counts of [`Self::stats`] go on. The clock of the guest begins with each run.
    pub fn restore(&mut self, snapshot: &Snapshot, streams: Streams) -> Result<(), EngineError> {
        self.engine.restore(&snapshot.engine)?;
        self.ports.restore(&snapshot.answers, streams);
        Ok(())
    }

    /// Runs the guest until it asks for input for the first time: for console input, or for how much of it is ready. Then
    /// nothing of the input is taken, and its instruction is the next one: the place for a snapshot, to run it from
    /// there with different inputs. Returns how the run ended, if it did before.
    pub fn run_until_input(&mut self) -> Result<Option<Outcome>, RunError> {
        self.pause_at_input = true;
        let result = self.run();
        self.pause_at_input = false;
        match result {
            Ok(Outcome::Stopped(Stop::Input, _)) => Ok(None),
            result => result.map(Some),
        }
    }
}
