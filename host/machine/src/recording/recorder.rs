//! Writes a recording while the run goes on.

use std::io::{self, Cursor, IoSlice, Seek, SeekFrom, Write};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use flatland_x86::Registers;
use lz4_flex::block::{compress_into, get_maximum_output_size};

use super::blocks::{BLOCK, Header, Holds, Mark, Places, RUN_HEAD, write_run_head};
use super::sink::Sink;
use super::sum::Sum;
use super::{End, Place, Start};
use crate::{FileError, Outcome};

/// A block that is at least this long when it is written is complete. A shorter one is written again when more has come:
/// so a run that reads little at a time makes a small file.
const COMPLETE: usize = 4096;

/// The most bytes of a block, besides heads: there is always room for those of two more runs.
const MOST: usize = BLOCK - 2 * RUN_HEAD;

/// A run shorter than this on average makes a block that is worth compressing.
const SHORT_RUN: usize = 64;

/// Writes a recording. [`Machine::record`](crate::Machine::record) takes it.
///
/// After a write that failed it writes nothing more: the run and the end of the recording fail with the first error. What
/// was written before replays up to there.
pub struct Recorder {
    sink: Sink,
    has_image: bool,
    is_late: bool,
    program: String,
    /// What the run begins with, if that is not written yet.
    start: Option<Start>,
    /// What stands before the bytes of the open block: the heads of its complete runs.
    heads: Vec<u8>,
    /// How many they are.
    runs: usize,
    /// The bytes of the open block.
    bytes: Vec<u8>,
    /// How many it can have.
    most: usize,
    /// Where among them the run begins that may still grow.
    run: usize,
    place: Option<Place>,
    places: Places,
    /// How many bytes the blocks before have.
    read_before: u64,
    sum: Sum,
    /// The last mark that was written.
    written: Mark,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("read", &self.read())
            .field("sent", &self.sum)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Writes to a file, or anything that can be written at any place.
    pub fn new(to: impl Write + Seek + Send + 'static) -> Self {
        Self {
            sink: Sink::new(Box::new(to)),
            has_image: true,
            is_late: false,
            program: String::new(),
            start: None,
            heads: Vec::new(),
            runs: 0,
            bytes: Vec::new(),
            most: MOST,
            run: 0,
            place: None,
            places: Places::default(),
            read_before: 0,
            sum: Sum::default(),
            written: Mark::default(),
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

    /// Writes nothing before 256 KiB have been read, or the run has ended; and nothing at all if it is dropped before. For
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
        let made = start.write(&mut bytes);
        self.sink.write_start(made.map(|()| bytes))
    }

    /// The guest has read these bytes.
    #[inline(always)]
    pub(crate) fn took(&mut self, place: Place, bytes: &[u8]) -> Result<(), FileError> {
        match bytes {
            // A copy of one byte is a call.
            [byte] if self.place == Some(place) && self.bytes.len() < self.most => {
                self.bytes.push(*byte);
                Ok(())
            }
            _ => self.took_much(place, bytes),
        }
    }

    fn took_much(&mut self, place: Place, mut bytes: &[u8]) -> Result<(), FileError> {
        self.sink.check()?;
        if self.place != Some(place) {
            self.end_run();
            self.place = Some(place);
        }
        loop {
            let room = self.most.saturating_sub(self.bytes.len());
            // Only these: the mark of a block is of what the blocks up to it hold.
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.bytes.extend_from_slice(now);
            bytes = later;
            if bytes.is_empty() {
                return Ok(());
            }
            self.write_block(true)?;
        }
    }

    /// How many bytes have been read.
    fn read(&self) -> u64 {
        self.read_before + self.bytes.len() as u64
    }

    /// The guest has sent these bytes.
    #[inline(always)]
    pub(crate) fn sent(&mut self, place: Place, bytes: &[u8]) {
        self.sum.add(place, bytes);
    }

    /// Whether something has happened that is to be written and is not.
    pub(crate) fn is_due(&self) -> bool {
        self.start.is_none() && (self.read() != self.written.read || self.sum.total() != self.written.sent)
    }

    /// Writes what has happened so far.
    pub(crate) fn flush(&mut self) -> Result<(), FileError> {
        match self.is_due() {
            true => self.write_block(self.heads.len() + self.bytes.len() >= COMPLETE),
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
        self.write_block(true)?;
        let mark = self.written;
        let mut bytes = Vec::new();
        End { outcome: outcome.clone(), instructions, registers, ram, mark }.write(&mut bytes)?;
        let len = bytes.len() as u32;
        self.sink.write_block(
            Header { holds: Holds::End, len, stored: len, mark },
            Vec::new(),
            &mut bytes,
            true,
        )?;
        self.sink.flush()
    }

    fn end_run(&mut self) {
        let len = self.bytes.len() - self.run;
        if let Some(place) = self.place.filter(|_| len > 0) {
            write_run_head(len, place, &mut self.places, &mut self.heads);
            self.run = self.bytes.len();
            self.most = MOST.saturating_sub(self.heads.len());
            self.runs += 1;
        }
    }

    /// Writes the open block. If it is complete, another one begins.
    fn write_block(&mut self, is_complete: bool) -> Result<(), FileError> {
        let written = self.write_start().and_then(|()| self.write_open_block(is_complete));
        if written.is_err() {
            // So that the next read is not added to a block that cannot be written.
            self.place = None;
        }
        written
    }

    fn write_open_block(&mut self, is_complete: bool) -> Result<(), FileError> {
        // The run that may still grow has no head yet.
        let (mut head, mut places) = (Vec::new(), self.places.clone());
        let run = self.bytes.len() - self.run;
        if let Some(place) = self.place.filter(|_| run > 0) {
            write_run_head(run, place, &mut places, &mut head);
        }
        let heads = [&self.heads[..], &head].concat();
        let len = heads.len() + self.bytes.len();
        let mark = Mark { read: self.read(), sent: self.sum.total(), sum: self.sum.value() };
        let mut header = Header { holds: Holds::Input, len: len as u32, stored: len as u32, mark };
        // A block that is there already must not become shorter.
        let is_packed = is_complete && self.sink.is_new() && (self.runs + 1) * SHORT_RUN > len;
        match is_packed.then(|| pack(&[&heads[..], &self.bytes].concat())).flatten() {
            Some(mut packed) => {
                (header.holds, header.stored) = (Holds::PackedInput, packed.len() as u32);
                self.sink.write_block(header, Vec::new(), &mut packed, true)?;
            }
            None => self.sink.write_block(header, heads, &mut self.bytes, is_complete)?,
        }
        self.written = mark;
        if is_complete {
            self.places = places;
            self.read_before = mark.read;
            self.heads.clear();
            self.bytes.clear();
            (self.runs, self.run, self.most) = (0, 0, MOST);
        }
        Ok(())
    }
}

/// A block in fewer bytes, if that can be.
fn pack(block: &[u8]) -> Option<Vec<u8>> {
    let mut packed = vec![0; get_maximum_output_size(block.len())];
    let size = compress_into(block, &mut packed).expect("the output has the maximum size");
    packed.truncate(size);
    (size < block.len()).then_some(packed)
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Whoever wants to know whether it is complete ends the recording. After a failed write this writes nothing.
        let _ = self.flush();
    }
}

/// A recording in memory, which a [`Recorder`] writes.
#[derive(Clone, Debug, Default)]
pub struct RecordedBytes(Arc<Mutex<Cursor<Vec<u8>>>>);

impl RecordedBytes {
    /// Takes what has been written so far. What is written later cannot be read, so call this when the recording has ended.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Recording;
    use crate::{EngineChoice, Machine, Program};

    /// What was read, byte by byte.
    type Read = Vec<(Place, u8)>;

    fn read(recording: &Recording) -> Read {
        let (mut read, mut run) = (Read::new(), 0);
        while let Some((place, bytes)) = recording.recorded.tape.from(read.len(), &mut run) {
            read.extend(bytes.iter().map(|byte| (place, *byte)));
        }
        read
    }

    #[test]
    fn what_is_written_in_any_order_is_read_in_order_up_to_where_the_file_is_cut() {
        let program = Program::from_bytes(vec![0xf4]).unwrap();
        let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program).unwrap();
        let (state, registers) = (machine.snapshot().unwrap(), machine.registers().unwrap());
        let (mut packed, mut blocks) = (0, 0);
        for seed in 1..30_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut below = |end: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % end
            };
            let (mut recorder, file) = Recorder::to_memory();
            let bytes = || file.lock().get_ref().clone();
            let start =
                Start { program: String::new(), engine: "soft".into(), left_out: None, state: state.clone() };
            recorder.begin(start).unwrap();
            let start_len = bytes().len();
            let (mut expected, mut sent) = (Read::new(), 0);
            // Few ports at a time and more than have a number, few bytes and more than a block holds.
            let (ports, lens) = (1 + below(10), [[1; 5], [1, 1, 2, 3, 300], [1, 64, 5000, 70_000, 300_000]]);
            let lens = lens[below(3) as usize];
            let is_regular = lens == [1; 5];
            for number in
                0..if is_regular { [20, 50_000, 150_000] } else { [20, 200, 3000] }[below(3) as usize]
            {
                // Ports in turn compress.
                let port = if is_regular { number % ports } else { below(ports) };
                let place = Place { port: port as u16 * 0x1111, width: 1 << (port % 2) };
                let len = lens[below(5) as usize];
                if expected.len() > 700_000 {
                    break;
                }
                match below(if is_regular { 20_000 } else { 20 }) {
                    0 => {
                        recorder.flush().unwrap();
                        if below(50) == 0 {
                            let recording = Recording::read_from(&bytes()[..]).unwrap();
                            assert!(read(&recording) == expected, "seed {seed}");
                            assert_eq!(recording.output_len(), sent, "seed {seed}");
                        }
                    }
                    1 => {
                        recorder.sent(place, &vec![seed as u8; len]);
                        sent += len as u64;
                    }
                    _ => {
                        let data: Vec<u8> = (0..len).map(|_| below(256) as u8).collect();
                        recorder.took(place, &data).unwrap();
                        expected.extend(data.iter().map(|byte| (place, *byte)));
                    }
                }
            }
            recorder.end(&Outcome::Halted, Some(1), registers, 2).unwrap();
            let whole = bytes();
            let recording = Recording::read_from(&whole[..]).unwrap();
            assert!(read(&recording) == expected, "seed {seed}");
            assert_eq!((recording.output_len(), recording.outcome()), (sent, Some(&Outcome::Halted)));
            blocks += recording.recorded.marks.len();
            packed += usize::from(is_regular && whole.len() < start_len + 100 + expected.len() * 5 / 4);
            for _ in 0..5 {
                let cut = start_len + below((whole.len() - start_len) as u64) as usize;
                let recording = Recording::read_from(&whole[..cut]).unwrap();
                assert!(expected.starts_with(&read(&recording)) && recording.end().is_none(), "seed {seed}");
            }
        }
        assert!(blocks > 100 && packed > 1, "{blocks} blocks, {packed} packed");
    }

    /// A recording of this many bytes in pieces of any size, so large that a thread writes it; and these bytes.
    fn record_much(recorder: &mut Recorder, len: usize) -> Result<Vec<u8>, FileError> {
        let program = Program::from_bytes(vec![0xf4]).unwrap();
        let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program).unwrap();
        let state = machine.snapshot().unwrap();
        recorder.begin(Start { program: String::new(), engine: "soft".into(), left_out: None, state })?;
        let bytes: Vec<u8> = (0..len as u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        let (mut rest, mut turn) = (&bytes[..], 0_usize);
        while !rest.is_empty() {
            let piece = [65_536, 1, 300_000, 5000, 40_000][turn % 5].min(rest.len());
            recorder.took(Place { port: 0xe9, width: 1 }, rest.split_off(..piece).unwrap())?;
            if turn % 3 == 1 {
                recorder.flush()?;
            }
            turn += 1;
        }
        let registers = machine.registers().unwrap();
        recorder.end(&Outcome::Halted, None, registers, 0)?;
        Ok(bytes)
    }

    #[test]
    fn a_large_recording_is_written_in_order() {
        let (mut recorder, file) = Recorder::to_memory();
        let bytes = record_much(&mut recorder, 3 << 20).unwrap();
        let recording = Recording::read_from(&file.take()[..]).unwrap();
        assert!(read(&recording).into_iter().map(|(_, byte)| byte).eq(bytes));
        assert!(recording.end().is_some());
    }

    /// A disk that is soon full, and slow enough for several blocks to wait.
    struct SoonFull {
        to: RecordedBytes,
        left: usize,
    }

    impl Write for SoonFull {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            std::thread::sleep(std::time::Duration::from_millis(1));
            if self.left < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.left -= bytes.len();
            self.to.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for SoonFull {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.to.seek(to)
        }
    }

    #[test]
    fn a_disk_that_becomes_full_fails_the_run_and_leaves_a_recording_up_to_there() {
        for left in [1_200_000, 2_000_000, 3 << 20] {
            let to = RecordedBytes::default();
            let mut recorder = Recorder::new(SoonFull { to: to.clone(), left });
            let error = record_much(&mut recorder, 3 << 20).unwrap_err();
            assert!(error.to_string().contains(&io::ErrorKind::StorageFull.to_string()), "{error}");
            // The run may go on to where it looks; it fails there again.
            let place = Place { port: 0xe9, width: 1 };
            assert!(recorder.took(place, &[0; 300_000]).is_err());
            drop(recorder);
            let written = to.take();
            let recording = Recording::read_from(&written[..]).unwrap();
            let read = read(&recording);
            assert!(recording.end().is_none() && read.len() + 1_000_000 > left.min(written.len()), "{left}");
            let same = read
                .iter()
                .zip(0_u32..)
                .all(|((_, byte), n)| *byte == (n.wrapping_mul(0x9e37_79b9) >> 24) as u8);
            assert!(same, "{left}");
        }
    }
}
