//! A machine that has run, put back to where it was: for runners of tests, and for fuzzers.

use flatland_x86::{EngineError, EngineSnapshot};

use crate::machine::Unsent;
use crate::{Event, Machine, Outcome, RunError, Streams, Wants};

/// The state of a machine at some time: processor, RAM, and devices. Streams are not part of it: what was written is
/// written.
///
/// It may be restored as often as one likes, also in another machine of the same engine, the same devices and the same
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
    devices: Vec<Vec<u8>>,
    unsent: Option<Unsent>,
}

impl Machine {
    /// The state as it is: at the start, after [`Self::run_until_input`], or after any event.
    pub fn snapshot(&mut self) -> Result<Snapshot, EngineError> {
        Ok(Snapshot {
            engine: self.engine().snapshot()?,
            devices: self.bus.save(),
            unsent: self.unsent().cloned(),
        })
    }

    /// Puts the state back, with these streams behind the devices. Of RAM only what was written since is touched, if this
    /// snapshot was the last one that was taken or restored here; no new VM is made. A time limit counts anew; a limit of
    /// instructions counts what the snapshot had executed.
    ///
    /// The counts of [`Self::stats`] go on. The guest's clock begins anew.
    pub fn restore(&mut self, snapshot: &Snapshot, streams: Streams) -> Result<(), EngineError> {
        self.engine().restore(&snapshot.engine)?;
        self.bus.reset();
        self.bus.restore(&snapshot.devices);
        self.begin_anew(snapshot.unsent.clone(), streams);
        Ok(())
    }

    /// Runs the guest until it asks for input for the first time: for console input, or for how much of it is ready. Then
    /// nothing of the input is taken, and its instruction is the next one: the place for a snapshot, to run it from
    /// there with different inputs. Returns how the run ended, if it did before.
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
