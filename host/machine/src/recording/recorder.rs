//! Writes a recording while the run goes on.

use std::io::{self, Cursor, IoSlice, Seek, SeekFrom, Write};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use flatland_x86::Registers;
use lz4_flex::block::{compress_into, get_maximum_output_size};

use super::blocks::{BLOCK, Header, Holds, Mark, Places, RUN_HEAD, checksum, write_run_head};
use super::sum::Sum;
use super::{End, Place, Start};
use crate::FileError::{self, Write as CannotWrite};
use crate::Outcome;

/// What a recording is written to.
trait Target: Write + Seek + Send {}

impl<T: Write + Seek + Send> Target for T {}

/// A block that is at least this long when it is written is complete. A shorter one is written again when more has come:
/// so a run that reads little at a time makes a small file.
const COMPLETE: usize = 4096;

/// A run shorter than this on average makes a block that is worth compressing.
const SHORT_RUN: usize = 64;

/// Writes a recording. [`Machine::record`](crate::Machine::record) takes it.
///
/// After a write that failed it writes nothing more: the run and the end of the recording fail with the first error. What
/// was written before replays up to there.
pub struct Recorder {
    to: Box<dyn Target>,
    has_image: bool,
    is_late: bool,
    program: String,
    /// What the run begins with, if that is not written yet.
    start: Option<Start>,
    /// Where the open block begins.
    block_at: u64,
    /// Where the next write goes.
    at: u64,
    /// How many blocks are complete.
    blocks: u32,
    /// What stands before the bytes of the open block: the heads of its complete runs.
    heads: Vec<u8>,
    /// How many they are.
    runs: usize,
    /// The bytes of the open block.
    bytes: Vec<u8>,
    /// How many of them are of the run that may still grow.
    run: usize,
    place: Option<Place>,
    places: Places,
    read: u64,
    sum: Sum,
    /// The last mark that was written.
    written: Mark,
    /// Why nothing more is written. What a failed write has left of a block counts as its part only where nothing follows.
    failed: Option<io::Error>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Recorder").field("read", &self.read).field("sent", &self.sum).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Writes to a file, or anything that can be written at any place.
    pub fn new(to: impl Write + Seek + Send + 'static) -> Self {
        Self {
            to: Box::new(to),
            has_image: true,
            is_late: false,
            program: String::new(),
            start: None,
            block_at: 0,
            at: 0,
            blocks: 0,
            heads: Vec::new(),
            runs: 0,
            bytes: Vec::new(),
            run: 0,
            place: None,
            places: Places::default(),
            read: 0,
            sum: Sum::default(),
            written: Mark::default(),
            failed: None,
        }
    }

    /// Writes to memory. The second value gives the bytes.
    pub fn to_memory() -> (Self, RecordedBytes) {
        let bytes = RecordedBytes::default();
        (Self::new(bytes.clone()), bytes)
    }

    /// Leaves the program's bytes out. Whoever replays the recording then needs the program.
    #[must_use]
    pub fn without_image(mut self) -> Self {
        self.has_image = false;
        self
    }

    /// Writes nothing before 64 KiB have been read, or the run has ended; and nothing at all if it is dropped before. For
    /// many short runs, few of which are to be kept.
    #[must_use]
    pub fn late(mut self) -> Self {
        self.is_late = true;
        self
    }

    /// The program's path, which a reader of the recording looks for names in.
    #[must_use]
    pub fn program(mut self, path: &str) -> Self {
        self.program = path.into();
        self
    }

    /// Takes what the run begins with, and writes it if it is not to be late.
    pub(crate) fn begin(&mut self, mut start: Start) -> Result<(), FileError> {
        start.program = mem::take(&mut self.program);
        if !self.has_image {
            start.leave_image_out();
        }
        self.start = Some(start);
        if self.is_late { Ok(()) } else { self.write_start() }
    }

    /// Writes what the run begins with, if that is not written yet.
    fn write_start(&mut self) -> Result<(), FileError> {
        let Some(start) = self.start.take() else { return Ok(()) };
        let mut bytes = Vec::new();
        if let Err(error) = start.write(&mut bytes) {
            // No block without a start.
            self.failed = Some(io::Error::other(error.to_string()));
            return Err(error);
        }
        let written = self.to.rewind().and_then(|()| self.to.write_all(&bytes));
        self.keep_error(written)?;
        self.block_at = bytes.len() as u64;
        self.at = self.block_at;
        Ok(())
    }

    /// The guest has read these bytes.
    #[inline]
    pub(crate) fn took(&mut self, place: Place, bytes: &[u8]) -> Result<(), FileError> {
        if self.place == Some(place) && bytes.len() <= self.room() {
            self.add(bytes);
            return Ok(());
        }
        self.took_elsewhere(place, bytes)
    }

    /// How many bytes the open block can still take, with another run's head and that of the last one.
    fn room(&self) -> usize {
        (BLOCK - 2 * RUN_HEAD).saturating_sub(self.heads.len() + self.bytes.len())
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.run += bytes.len();
        self.read += bytes.len() as u64;
    }

    #[cold]
    fn took_elsewhere(&mut self, place: Place, mut bytes: &[u8]) -> Result<(), FileError> {
        self.check()?;
        if self.place != Some(place) {
            self.end_run();
            self.place = Some(place);
        }
        loop {
            let (now, later) = bytes.split_at(bytes.len().min(self.room()));
            // Only these: the mark of a block is of what the blocks up to it hold.
            self.add(now);
            bytes = later;
            if bytes.is_empty() {
                return Ok(());
            }
            self.write_block(Holds::Input, true)?;
        }
    }

    /// The guest has sent these bytes.
    #[inline]
    pub(crate) fn sent(&mut self, place: Place, bytes: &[u8]) {
        self.sum.add(place, bytes);
    }

    /// Whether something has happened that is to be written and is not.
    pub(crate) fn is_due(&self) -> bool {
        self.start.is_none() && (self.read != self.written.read || self.sum.total() != self.written.sent)
    }

    /// Writes what has happened so far.
    pub(crate) fn flush(&mut self) -> Result<(), FileError> {
        match self.is_due() {
            true => self.write_block(Holds::Input, self.heads.len() + self.bytes.len() >= COMPLETE),
            false => Ok(()),
        }
    }

    /// Writes the end of the run. The recording is complete.
    pub(crate) fn end(
        &mut self,
        outcome: &Outcome,
        instructions: Option<u64>,
        registers: Registers,
        ram: u64,
    ) -> Result<(), FileError> {
        self.write_block(Holds::Input, true)?;
        let end = End { outcome: outcome.clone(), instructions, registers, ram, mark: self.written };
        end.write(&mut self.bytes)?;
        self.write_block(Holds::End, true)?;
        let flushed = self.to.flush();
        self.keep_error(flushed)
    }

    /// The error of the first write that failed, if one has.
    fn check(&self) -> Result<(), FileError> {
        match &self.failed {
            Some(error) => Err(CannotWrite(same_error(error))),
            None => Ok(()),
        }
    }

    /// Writes nothing more if this write has failed.
    fn keep_error(&mut self, written: io::Result<()>) -> Result<(), FileError> {
        if let Err(error) = written {
            self.failed = Some(error);
            // So that the next read is not added to a block that cannot be written.
            self.place = None;
        }
        self.check()
    }

    fn end_run(&mut self) {
        if let Some(place) = self.place.filter(|_| self.run > 0) {
            write_run_head(self.run, place, &mut self.places, &mut self.heads);
            self.run = 0;
            self.runs += 1;
        }
    }

    /// Writes the open block. If it is complete, another one begins.
    fn write_block(&mut self, holds: Holds, is_complete: bool) -> Result<(), FileError> {
        self.check()?;
        self.write_start()?;
        // The run that may still grow has no head yet.
        let mut head = Vec::new();
        if let Some(place) = self.place.filter(|_| self.run > 0) {
            let mut places = self.places.clone();
            write_run_head(self.run, place, &mut places, &mut head);
            if is_complete {
                self.places = places;
                self.runs += 1;
            }
        }
        let len = self.heads.len() + head.len() + self.bytes.len();
        let mark = Mark { read: self.read, sent: self.sum.total(), sum: self.sum.value() };
        let mut header = Header { holds, len: len as u32, stored: len as u32, mark };
        let mut packed = Vec::new();
        // A block that is there already must not become shorter.
        let is_new = self.at == self.block_at;
        if holds == Holds::Input && is_complete && is_new && self.runs * SHORT_RUN > len {
            let plain = [&self.heads[..], &head, &self.bytes].concat();
            packed.resize(get_maximum_output_size(len), 0);
            let size = compress_into(&plain, &mut packed).expect("the output has the maximum size");
            packed.truncate(size);
            if size < len {
                (header.holds, header.stored) = (Holds::PackedInput, size as u32);
            }
        }
        let header_bytes = header.to_bytes();
        let parts: [&[u8]; 4] = match header.holds {
            Holds::PackedInput => [&header_bytes, &packed, &[], &[]],
            _ => [&header_bytes, &self.heads, &head, &self.bytes],
        };
        let sum = checksum(self.blocks, &parts).to_le_bytes();
        let [header, one, two, three] = parts;
        let size: usize = parts.iter().map(|part| part.len()).sum::<usize>() + sum.len();
        let sought = match self.at == self.block_at {
            true => Ok(()),
            false => self.to.seek(SeekFrom::Start(self.block_at)).map(drop),
        };
        let written = sought.and_then(|()| write_all(&mut self.to, [header, one, two, three, &sum]));
        self.keep_error(written)?;
        self.at = self.block_at + size as u64;
        self.written = mark;
        if is_complete {
            self.block_at = self.at;
            self.blocks += 1;
            self.heads.clear();
            self.bytes.clear();
            (self.runs, self.run) = (0, 0);
        }
        Ok(())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Whoever wants to know whether it is complete ends the recording. After a failed write this writes nothing.
        let _ = self.flush();
    }
}

/// An error with the same words.
fn same_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Writes all of the parts, with few calls.
fn write_all(to: &mut dyn Write, parts: [&[u8]; 5]) -> io::Result<()> {
    let mut slices = parts.map(IoSlice::new);
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match to.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A recording in memory, which a [`Recorder`] writes.
#[derive(Clone, Debug, Default)]
pub struct RecordedBytes(Arc<Mutex<Cursor<Vec<u8>>>>);

impl RecordedBytes {
    /// What has been written so far.
    pub fn take(&self) -> Vec<u8> {
        mem::take(self.lock().get_mut())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cursor<Vec<u8>>> {
        // A panic between two writes leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for RecordedBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.lock().write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for RecordedBytes {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.lock().seek(to)
    }
}
