//! Recordings: all that goes into a run, so that it can be run again.
//!
//! What a guest reads at ports is all that its run depends on. So a recording is the state at the start, these bytes in
//! order, and marks of how much had been sent where, to find a run that goes another way at once.
//!
//! # The format, version 1
//!
//! All integers are little-endian.
//!
//! 1. The head: `\x89flatland\r\n\n`, `reco`, and the version as a u32.
//! 2. The start, in compressed blocks with checksums as in a snapshot's file (`file::blocks`): the program's path and
//!    the engine's name, each as a u32 and that many bytes of UTF-8; whether the program was left out, and the hash of
//!    its pages; and the state (`snapshot::state`).
//! 3. Blocks of input, and at last one of the end (`blocks`). Each has a mark: how many bytes have been read and sent so
//!    far, and the hash of what has been sent (`sum`). The last block may be written again when more has come, until it is
//!    complete. So a run that was killed leaves a recording without an end, and perhaps a part of a block, which does
//!    not count.

mod behind;
mod blocks;
mod diverged;
mod end;
mod playback;
mod recorder;
mod sink;
mod sum;
mod tape;

use std::error::Error;
use std::fmt;
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::sync::Arc;

use flatland_contract::memory::PAGE_SIZE;
use flatland_x86::{MemorySize, RamCopy};
use lz4_flex::block::decompress_into;
use twox_hash::XxHash3_64;

use crate::FileError::{self, Damaged, Impossible};
use crate::file::blocks::{Reader, Writer};
use crate::file::values::{read_bool, read_count, write_bool, write_count};
use crate::file::{self, FileKind};
use crate::{Image, Outcome, Snapshot, snapshot};
use blocks::{BLOCK, Header, Holds, Places, checksum, split_runs};
pub use diverged::Diverged;
pub use end::End;
pub(crate) use end::HashOfRam;
use playback::Recorded;
pub(crate) use playback::{Answer, Playback, Point};
pub use recorder::{RecordedBytes, Recorder};
use sum::Sum;

/// A port, and the bytes of each transfer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub port: u16,
    pub width: u8,
}

impl From<Place> for (u16, u8) {
    fn from(Place { port, width }: Place) -> Self {
        (port, width)
    }
}

/// What a recorded run begins with.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// Where the program was, or nothing.
    pub program: String,
    pub engine: String,
    /// The hash of the program's pages, if they are left out of the state.
    pub left_out: Option<u64>,
    pub state: Snapshot,
}

/// The longest path or name.
const MOST_TEXT: usize = 4096;

impl Start {
    fn leave_image_out(&mut self) {
        self.left_out = Some(HashOfRam::of(&self.state.ram));
        self.state.ram = RamCopy::of(&[]);
    }

    fn write(&self, to: impl Write) -> Result<(), FileError> {
        let mut to = Writer::new(to);
        file::write_head(FileKind::Recording, &mut to)?;
        for text in [&self.program, &self.engine] {
            write_count(text.len(), MOST_TEXT, "a longer path of the program", &mut to)?;
            to.bytes(text.as_bytes())?;
        }
        write_bool(self.left_out.is_some(), &mut to)?;
        to.u64(self.left_out.unwrap_or(0))?;
        snapshot::state::write(&self.state, &mut to)?;
        to.finish()
    }

    fn read<R: Read>(from: &mut Reader<R>) -> Result<Self, FileError> {
        file::read_head(FileKind::Recording, from)?;
        let mut text = || {
            const TEXT: &str = "a name";
            let len = read_count(MOST_TEXT, TEXT, from)?;
            String::from_utf8(from.vec(len)?).map_err(|_| Impossible(TEXT))
        };
        let (program, engine) = (text()?, text()?);
        let is_left_out = read_bool("the program", from)?;
        let left_out = Some(from.u64()?).filter(|_| is_left_out);
        let state = snapshot::state::read(from)?;
        if left_out.is_some() && state.ram.pages().next().is_some() {
            return Err(Impossible("the program"));
        }
        Ok(Self { program, engine, left_out, state })
    }
}

/// A recorded run. [`Builder::replay`](crate::Builder::replay) runs it again.
#[derive(Clone, Debug)]
pub struct Recording {
    pub(crate) start: Start,
    /// Shared with the machines that replay it.
    recorded: Arc<Recorded>,
}

/// The program is not the one that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherProgram;

impl fmt::Display for OtherProgram {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("it is not the program that was recorded: give that one, or record this one")
    }
}

impl Error for OtherProgram {}

impl Recording {
    /// Reads a recording that a [`Recorder`] has written. The file may be anything.
    ///
    /// Takes at most 2 MiB of memory and 2,400 bytes for each byte of the file: so well can runs of one byte at two ports be
    /// compressed. About half of it is free again afterwards. The state at the start takes at most 32 MiB and four times the
    /// RAM that the file declares, as with [`Snapshot::read_from`]. The input has no limit of its own: a run may read for as
    /// long as it goes on.
    pub fn read_from(from: impl Read) -> Result<Self, FileError> {
        let mut from = Reader::new(from);
        let start = Start::read(&mut from)?;
        let mut from = from.end_of_section()?;
        let mut recorded = Recorded::default();
        let mut places = Places::default();
        for number in 0..=u32::MAX {
            let Some((header, stored)) = read_block(&mut from, number)? else { break };
            let before = recorded.marks.last().copied().unwrap_or_default();
            let mark = header.mark;
            if header.holds == Holds::End {
                recorded.end = Some(End::read(&stored[..], mark)?);
                match read_some(&mut from, &mut [0])? {
                    0 => break,
                    _ => return Err(Damaged),
                }
            }
            let mut unpacked = Vec::new();
            let runs = match header.holds {
                Holds::PackedInput => {
                    unpacked.resize(header.len as usize, 0);
                    let len = decompress_into(&stored, &mut unpacked).ok();
                    let is_all = len == Some(unpacked.len());
                    if is_all { &unpacked[..] } else { return Err(Impossible("the compressed data")) }
                }
                _ => &stored[..],
            };
            split_runs(runs, &mut places, |place, bytes| recorded.tape.push(place, bytes))
                .ok_or(Impossible("the input"))?;
            let read = recorded.tape.len() as u64;
            if mark.read != read || mark.sent < before.sent {
                return Err(Impossible("the marks"));
            }
            recorded.marks.push(mark);
        }
        match &recorded.end {
            Some(end) if recorded.marks.last() != Some(&end.mark) => Err(Impossible("the marks")),
            _ => Ok(Self { start, recorded: Arc::new(recorded) }),
        }
    }

    /// Answers the reads of a run that is executed again.
    pub(crate) fn playback(&self) -> Playback {
        Playback::recorded(self.recorded.clone())
    }

    /// Where the program was when it was recorded, if that is known.
    pub fn program(&self) -> Option<&str> {
        Some(&*self.start.program).filter(|path| !path.is_empty())
    }

    /// The engine that the run began with.
    pub fn engine(&self) -> &str {
        &self.start.engine
    }

    /// The size of RAM.
    pub fn memory(&self) -> MemorySize {
        self.start.state.map.ram()
    }

    /// How many bytes the guest had sent, as far as was recorded.
    pub fn output_len(&self) -> u64 {
        self.recorded.marks.last().map_or(0, |mark| mark.sent)
    }

    /// How the run ended. `None` if it was killed.
    pub fn end(&self) -> Option<&End> {
        self.recorded.end.as_ref()
    }

    /// How the run ended, if it is known.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.recorded.end.as_ref().map(|end| &end.outcome)
    }

    /// How many bytes the guest read.
    pub fn input_len(&self) -> usize {
        self.recorded.tape.len()
    }

    /// A hash of all that the guest read and sent, with the ports and in order. It is the same for two runs in which that
    /// was the same, whichever engines they ran on and however their transfers were grouped.
    pub fn digest(&self) -> u64 {
        let Recorded { tape, marks, .. } = &*self.recorded;
        let (mut read, mut at, mut run) = (Sum::default(), 0, 0);
        while let Some((place, bytes)) = tape.from(at, &mut run) {
            read.add(place, bytes);
            at += bytes.len();
        }
        let sent = marks.last().copied().unwrap_or_default();
        let mut hash = XxHash3_64::with_seed(0);
        for number in [read.total(), read.value(), sent.sent, sent.sum] {
            hash.write(&number.to_le_bytes());
        }
        hash.finish()
    }

    /// Whether the recording has no program, so that [`Self::set_program`] must come before a replay.
    pub fn lacks_program(&self) -> bool {
        self.start.left_out.is_some()
    }

    /// Gives a recording that was made without the program's bytes its program.
    pub fn set_program(&mut self, image: &Image) -> Result<(), OtherProgram> {
        let mut bytes = image.bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(PAGE_SIZE as usize), 0);
        let ram = RamCopy::of(&bytes);
        let hash = HashOfRam::of(&ram);
        let fits = bytes.len() as u64 <= u64::from(self.start.state.map.ram().bytes());
        match self.start.left_out {
            Some(left_out) if left_out == hash && fits => {
                self.start.state.ram = ram;
                self.start.left_out = None;
                Ok(())
            }
            Some(_) => Err(OtherProgram),
            None => Ok(()),
        }
    }
}

/// Reads the next block. `None` at the end of the file, also in the middle of a block: so ends the recording of a run that
/// was killed.
fn read_block(from: &mut impl Read, number: u32) -> Result<Option<(Header, Vec<u8>)>, FileError> {
    let mut header = [0; Header::SIZE];
    if read_some(from, &mut header)? < header.len() {
        return Ok(None);
    }
    let Some(fields) = Header::from_bytes(&header) else { return Err(Damaged) };
    let mut stored = vec![0; (fields.stored as usize).min(BLOCK)];
    let mut sum = [0; 4];
    if read_some(from, &mut stored)? < stored.len() || read_some(from, &mut sum)? < sum.len() {
        return Ok(None);
    }
    match checksum(number, &[&header, &stored]) == u32::from_le_bytes(sum) {
        true => Ok(Some((fields, stored))),
        false => Err(Damaged),
    }
}

/// Fills the slice, or as much of it as there is before the end.
fn read_some(from: &mut impl Read, bytes: &mut [u8]) -> Result<usize, FileError> {
    let mut filled = 0;
    while filled < bytes.len() {
        match from.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileError::Read(error)),
        }
    }
    Ok(filled)
}
