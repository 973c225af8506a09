//! Writes large blocks of a recording on a thread of their own, so that the run does not wait for the file.
//!
//! The thread begins when a recording has become large, because a thread costs a short run more than it saves.

use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::blocks::{Header, checksum};

/// What a recording is written to.
pub trait Target: Write + Seek + Send {}

impl<T: Write + Seek + Send> Target for T {}

/// A block that is to be written.
pub struct Block<B> {
    /// Where it begins, if that is not where the last write ended.
    pub seek: Option<u64>,
    pub number: u32,
    pub header: Header,
    /// What is stored, one after the other.
    pub stored: [B; 2],
}

impl<B: AsRef<[u8]>> Block<B> {
    /// How many bytes it takes in the file.
    pub fn len(&self) -> u64 {
        let [one, two] = self.stored.each_ref().map(|part| part.as_ref().len() as u64);
        Header::SIZE as u64 + one + two + size_of::<u32>() as u64
    }

    fn write(&self, to: &mut dyn Target) -> io::Result<()> {
        let header = self.header.to_bytes();
        let [one, two] = self.stored.each_ref().map(AsRef::as_ref);
        let sum = checksum(self.number, &[&header, one, two]).to_le_bytes();
        if let Some(at) = self.seek {
            to.seek(SeekFrom::Start(at))?;
        }
        write_all(to, [&header, one, two, &sum])
    }
}

/// Writes blocks one after the other.
pub struct Writer {
    to: Arc<Mutex<Box<dyn Target>>>,
    behind: Option<Behind>,
}

/// The thread. It ends when this is dropped.
struct Behind {
    blocks: SyncSender<Block<Vec<u8>>>,
    /// The result of each, and the buffer of its bytes.
    written: Receiver<(io::Result<()>, Vec<u8>)>,
    /// How many results are still to come.
    waiting: usize,
}

impl Writer {
    /// How many blocks wait or are being written, at most.
    const MOST: usize = 3;

    pub fn new(to: Box<dyn Target>) -> Self {
        Self { to: Arc::new(Mutex::new(to)), behind: None }
    }

    /// Writes bytes at the beginning, before any block.
    pub fn write_first(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut to = self.now()?;
        to.rewind()?;
        to.write_all(bytes)
    }

    /// Writes a block before it returns.
    pub fn write(&mut self, block: &Block<&[u8]>) -> io::Result<()> {
        block.write(&mut **self.now()?)
    }

    /// Takes a block to write it soon. Gives an empty buffer for it. Fails if one before could not be written.
    pub fn write_soon(&mut self, block: Block<Vec<u8>>) -> io::Result<Vec<u8>> {
        let behind = match &mut self.behind {
            Some(behind) => behind,
            none => none.insert(Behind::begin(self.to.clone())?),
        };
        let free = if behind.waiting < Self::MOST { Vec::new() } else { behind.wait()? };
        behind.blocks.send(block).map_err(|_| ended())?;
        behind.waiting += 1;
        Ok(free)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.now()?.flush()
    }

    /// What is written to, when all before has been written.
    fn now(&mut self) -> io::Result<MutexGuard<'_, Box<dyn Target>>> {
        if let Some(behind) = &mut self.behind {
            while behind.waiting > 0 {
                behind.wait()?;
            }
        }
        // A panic of the thread is an error of the wait.
        Ok(self.to.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // What has been taken is written before the process may end. Whoever wants to know of a failure flushes.
        drop(self.now());
    }
}

impl Behind {
    fn begin(to: Arc<Mutex<Box<dyn Target>>>) -> io::Result<Self> {
        let (blocks, to_write) = sync_channel::<Block<Vec<u8>>>(Writer::MOST);
        let (results, written) = sync_channel(Writer::MOST);
        thread::Builder::new().name("recording".into()).spawn(move || {
            // What follows a block that could not be written is not written.
            for block in to_write {
                let result = block.write(&mut **to.lock().unwrap_or_else(PoisonError::into_inner));
                let [_, mut bytes] = block.stored;
                bytes.clear();
                let has_failed = result.is_err();
                if results.send((result, bytes)).is_err() || has_failed {
                    return;
                }
            }
        })?;
        Ok(Self { blocks, written, waiting: 0 })
    }

    /// Waits for the next block that is written.
    fn wait(&mut self) -> io::Result<Vec<u8>> {
        let (result, free) = self.written.recv().map_err(|_| ended())?;
        self.waiting -= 1;
        result.map(|()| free)
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that writes it has ended")
}

/// Writes all of the parts, with few calls.
fn write_all(to: &mut dyn Write, parts: [&[u8]; 4]) -> io::Result<()> {
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
