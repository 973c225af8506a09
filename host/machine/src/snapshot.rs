//! Snapshots: put a machine back to an earlier state, or go on from it elsewhere. For test runners and fuzzers, and to
//! save a run.

pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io::{Read, Write};

use flatland_x86::{EngineError, MemoryMap, Position, Processor, RamCopy, Sent};

use crate::bus::DeviceState;
use crate::file::blocks::{Reader, Writer};
use crate::file::{self, FileKind};
use crate::{Event, FileError, Machine, Outcome, RunError, Streams, Wants};

/// The state of a machine: processor, RAM, and devices, without the streams.
///
/// May be restored any number of times, also in another machine with the same devices and the same [`MemoryMap`], and
/// on another engine. [`Builder::build_from`](crate::Builder::build_from) makes such a machine;
/// [`Self::write_to`] keeps the state in a file.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub(crate) map: MemoryMap,
    pub(crate) processor: Processor,
    pub(crate) position: Position,
    pub(crate) ram: RamCopy,
    pub(crate) devices: Vec<DeviceState>,
    pub(crate) unsent: VecDeque<Sent>,
    pub(crate) next: Option<Outcome>,
}

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

impl Snapshot {
    /// How the run has ended, if it has. A machine with this state ends in the same way at once. A run whose input has
    /// ended is not at its end: it reads again.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.next.as_ref()
    }

    /// Writes the snapshot, to be read by [`Self::read_from`]. The file holds the program, since that is in RAM. Pages
    /// of zeros take no room.
    ///
    /// ```
    /// use flatland_machine::{EngineChoice, Machine, Outcome, Program, Snapshot, Wants};
    ///
    /// // inc eax; jmp 0
    /// let program = Program::from_bytes(vec![0x40, 0xeb, 0xfd])?;
    /// let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program)?;
    /// machine.resume(&Wants { instructions: Some(1000), ..Wants::default() })?;
    /// let mut file = Vec::new();
    /// machine.snapshot()?.write_to(&mut file)?;
    ///
    /// // In another process, perhaps on another machine:
    /// let snapshot = Snapshot::read_from(&file[..])?;
    /// let mut machine = Machine::builder().engine(EngineChoice::Soft).build_from(&snapshot)?;
    /// assert_eq!(machine.registers()?.eax, 500);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_to(&self, to: impl Write) -> Result<(), FileError> {
        let mut writer = Writer::new(to);
        file::write_head(FileKind::Snapshot, &mut writer)?;
        state::write(self, &mut writer)?;
        writer.finish()
    }

    /// Reads a snapshot that [`Self::write_to`] has written. The file may be anything: what is no intact snapshot of a
    /// state that a machine can have is an error.
    ///
    /// Takes at most 1 MiB of memory and 600 bytes for each byte of the file. It also takes at most 32 MiB and four times
    /// the RAM that the file declares, which is at most [`MAX_RAM_SIZE`](flatland_contract::memory::MAX_RAM_SIZE): an
    /// endless input is read no further.
    pub fn read_from(from: impl Read) -> Result<Self, FileError> {
        let mut reader = Reader::new(from);
        file::read_head(FileKind::Snapshot, &mut reader)?;
        let snapshot = state::read(&mut reader)?;
        reader.finish()?;
        Ok(snapshot)
    }
}

impl Machine {
    /// The current state: at the start, after [`Self::run_until_input`], or after any event.
    pub fn snapshot(&mut self) -> Result<Snapshot, EngineError> {
        self.settle()?;
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
                Event::Interrupted => return self.stop(crate::Stop::Interrupted).map(Some),
                _ => {}
            }
        }
    }
}
