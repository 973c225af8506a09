//! Snapshots: put a machine back to an earlier state, or go on from it elsewhere. For test runners and fuzzers, and to
//! save a run.

pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::ops::Range;

use flatland_x86::{MemoryMap, Position, Processor, RamCopy, Sent};

use crate::file::blocks::{Reader, Writer};
use crate::file::{self, FileKind};
use crate::{FileError, Outcome};

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

/// What a device at these ports has saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceState {
    pub ports: Range<u32>,
    pub state: Vec<u8>,
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
