//! Takes snapshots of a machine, and puts it back to them.

use std::error::Error;
use std::fmt;

use flatland_x86::{EngineError, Position};

use super::{Machine, RunError};
use crate::{Event, Outcome, Snapshot, Stop, Streams, Wants};

/// Why a snapshot cannot be restored in a machine.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// The machines have other memory maps.
    OtherMemory,
    /// The engine failed, or cannot go on from the snapshot.
    Engine(EngineError),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::OtherMemory => f.write_str(
                "the snapshot is of a machine with another memory: take one in a machine like this, or make this one \
                 like that",
            ),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl Error for RestoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::OtherMemory => None,
            Self::Engine(error) => error.source(),
        }
    }
}

impl From<EngineError> for RestoreError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl Machine {
    /// The current state: at the start, after [`Self::run_until_input`], or after any event.
    pub fn snapshot(&mut self) -> Result<Snapshot, EngineError> {
        // What the engine does not take is told when the run goes on.
        let _ = self.take_raised();
        self.settle()?;
        self.park_timer();
        let engine = self.engine();
        let (processor, position) = engine.processor()?;
        let ram = engine.save_ram()?;
        Ok(Snapshot {
            map: engine.memory_map().clone(),
            processor,
            // A breakpoint stops where a snapshot goes on.
            position: Position { was_reported: false, ..position },
            ram,
            devices: self.bus.save(),
            unsent: self.unsent.clone(),
            // The instruction that found no input is the next one, and may find some, also where a replay has ended.
            next: self
                .next
                .clone()
                .filter(|outcome| !matches!(outcome, Outcome::EndOfInput | Outcome::Stopped(..))),
        })
    }

    /// Restores the state, with these streams. Makes no new VM. If this snapshot was the last one to be taken or
    /// restored here, restores only the memory that was written since; the soft engine restores any other by the pages
    /// that the two do not share. The time limit and the guest's clock begin
    /// anew; the instruction limit includes the instructions of the snapshot; the counts of [`Self::stats`] continue. The
    /// guest's arguments are those of the snapshot.
    /// What the old streams have buffered is written first, as far as that can be done in a second.
    ///
    /// With [`EngineChoice::Auto`](crate::EngineChoice::Auto) the run goes on with the soft engine, which puts back a
    /// hundred times faster than KVM, and with KVM if it computes for long.
    pub fn restore(&mut self, snapshot: &Snapshot, streams: Streams) -> Result<(), RestoreError> {
        if snapshot.map != *self.memory_map() {
            return Err(RestoreError::OtherMemory);
        }
        self.restore_engine(snapshot)?;
        self.bus.reset();
        self.bus.restore(&snapshot.devices);
        self.begin_anew(snapshot.unsent.clone(), snapshot.next.clone(), streams);
        Ok(())
    }

    /// Runs the guest until it first reads input, or asks how much input is ready. No input has been taken then, and
    /// this instruction is the next one: take a snapshot here to run the guest with different inputs. Returns the
    /// outcome if the run ended before.
    pub fn run_until_input(&mut self) -> Result<Option<Outcome>, RunError> {
        let wants = Wants { input: true, ..Wants::default() };
        loop {
            match self.resume(&wants)? {
                Event::InputWanted => return Ok(None),
                Event::Ended(outcome) => return Ok(Some(outcome)),
                Event::Interrupted => return self.stop(Stop::Interrupted).map(Some),
                _ => {}
            }
        }
    }
}
