//! Snapshots: put a machine back to an earlier state. For test runners and fuzzers.

use flatland_x86::{EngineError, EngineSnapshot};

use crate::bus::DeviceState;
use crate::machine::Unsent;
use crate::{Event, Machine, Outcome, RunError, Streams, Wants};

/// The state of a machine: processor, RAM, and devices, without the streams.
///
/// May be restored any number of times, also in another machine with the same engine, the same devices and the same
/// [`MemoryMap`](flatland_x86::MemoryMap).
///
/// ```
/// use flatland_machine::{EngineChoice, Input, Machine, Outcome, Program, Streams};
///
/// // in al, 0xe9; out 0xf4, al
/// let program = Program::from_bytes(vec![0xe4, 0xe9, 0xe6, 0xf4])?;
/// let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program)?;
/// let start = machine.snapshot()?;
/// for status in 0..3 {
///     let input = Input::from_bytes(vec![status]);
///     machine.restore(&start, Streams { input, ..Streams::none() })?;
///     assert_eq!(machine.run()?, Outcome::Exited(status));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot {
    engine: EngineSnapshot,
    devices: Vec<DeviceState>,
    unsent: Option<Unsent>,
    next: Option<Outcome>,
}

impl Machine {
    /// The current state: at the start, after [`Self::run_until_input`], or after any event.
    pub fn snapshot(&mut self) -> Result<Snapshot, EngineError> {
        Ok(Snapshot {
            engine: self.engine().snapshot()?,
            devices: self.bus.save(),
            unsent: self.unsent().cloned(),
            next: self.next().cloned(),
        })
    }

    /// Restores the state, with these streams. Makes no new VM. If this snapshot was the last one to be taken or
    /// restored here, restores only the memory that was written since. The time limit and the guest's clock begin
    /// anew; the instruction limit includes the instructions of the snapshot; the counts of [`Self::stats`] continue.
    /// What the old streams have buffered is written first, as far as that can be done in a second.
    pub fn restore(&mut self, snapshot: &Snapshot, streams: Streams) -> Result<(), EngineError> {
        self.engine().restore(&snapshot.engine)?;
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
                Event::Interrupted => return self.stop(crate::Stop::Interrupted).map(Some),
                _ => {}
            }
        }
    }
}
