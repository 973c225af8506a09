//! Files, pipes and terminals where a wait for one cannot be interrupted: a thread of its own waits instead.

use std::fmt;
#[cfg(any(unix, windows))]
use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

pub use super::any::AnyReader as InputFile;
use super::any::write_all;
use crate::interrupt::Shared;
use crate::time::Instant;

/// The process's standard input.
pub fn standard_input() -> io::Result<InputFile> {
    Ok(InputFile::new(io::stdin()))
}

/// The process's standard output.
pub fn standard_output() -> io::Result<OutputFile> {
    standard(io::stdout())
}

/// The process's standard error.
pub fn standard_error() -> io::Result<OutputFile> {
    standard(io::stderr())
}

#[cfg(unix)]
fn standard(stream: impl std::os::fd::AsFd) -> io::Result<OutputFile> {
    Ok(OutputFile::new(File::from(stream.as_fd().try_clone_to_owned()?)))
}

/// std refuses what is not UTF-8 at a console, so [`Lossy`] is before it.
#[cfg(windows)]
fn standard(
    stream: impl Write + Send + io::IsTerminal + std::os::windows::io::AsHandle + 'static,
) -> io::Result<OutputFile> {
    match stream.is_terminal() {
        true => Ok(OutputFile::new(super::lossy::Lossy::new(stream))),
        false => Ok(OutputFile::new(File::from(stream.as_handle().try_clone_to_owned()?))),
    }
}

#[cfg(not(any(unix, windows)))]
fn standard(stream: impl Write + Send + 'static) -> io::Result<OutputFile> {
    Ok(OutputFile::new(stream))
}

/// What tells one file from another, where that can be known.
pub trait Identify {
    /// Equal for the same file, pipe or terminal.
    fn identity(&self) -> Option<Identity> {
        None
    }
}

/// The device and the number of a file.
#[cfg(not(windows))]
type Identity = (u64, u64);

#[cfg(unix)]
impl<T: std::os::fd::AsFd> Identify for T {
    fn identity(&self) -> Option<Identity> {
        use std::os::unix::fs::MetadataExt;

        let metadata = File::from(self.as_fd().try_clone_to_owned().ok()?).metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
}

#[cfg(windows)]
use windows::Identity;

#[cfg(windows)]
mod windows {
    use std::io::IsTerminal;
    use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle, RawHandle};

    use super::Identify;

    /// What a handle is of.
    pub enum Identity {
        /// A process has one, by any number of handles.
        Console,
        Object(OwnedHandle),
    }

    #[link(name = "kernelbase", kind = "raw-dylib")]
    unsafe extern "system" {
        fn CompareObjectHandles(first: RawHandle, second: RawHandle) -> i32;
    }

    impl PartialEq for Identity {
        fn eq(&self, other: &Self) -> bool {
            match (self, other) {
                (Self::Console, Self::Console) => true,
                (Self::Object(first), Self::Object(second)) => {
                    // SAFETY: both are open, because they are owned.
                    unsafe { CompareObjectHandles(first.as_raw_handle(), second.as_raw_handle()) != 0 }
                }
                _ => false,
            }
        }
    }

    impl<T: AsHandle> Identify for T {
        fn identity(&self) -> Option<Identity> {
            let handle = self.as_handle();
            match handle.is_terminal() {
                true => Some(Identity::Console),
                false => handle.try_clone_to_owned().ok().map(Identity::Object),
            }
        }
    }
}

#[cfg(not(any(unix, windows)))]
impl<T> Identify for T {}

/// A file, pipe or terminal to write to. Its thread may still be writing when a call returns after an interrupt.
pub struct OutputFile {
    /// The file, until its thread starts.
    file: Option<Box<dyn Write + Send>>,
    thread: Option<Writing>,
    /// Whether the thread has bytes that it has not written.
    is_writing: bool,
    identity: Option<Identity>,
}

/// A thread that writes each piece, and says how that went.
struct Writing {
    pieces: SyncSender<Vec<u8>>,
    results: Receiver<io::Result<()>>,
}

impl OutputFile {
    /// How often a wait checks for an interrupt.
    const CHECK_EVERY: Duration = Duration::from_millis(5);

    /// A limited wait counts its bytes in pieces of this size.
    const PIECE: usize = 4096;

    pub fn new(file: impl Write + Send + Identify + 'static) -> Self {
        let identity = file.identity();
        Self { file: Some(Box::new(file)), thread: None, is_writing: false, identity }
    }

    /// Whether both are the same file, pipe or terminal.
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity.is_some() && self.identity == other.identity
    }

    /// Whether bytes that [`Self::write`] has taken are not written.
    pub fn is_writing(&self) -> bool {
        self.is_writing
    }

    /// Takes the bytes and writes them, however long that takes. `None` if the wait was interrupted and none were taken.
    pub fn write(&mut self, bytes: &[u8], shared: &Shared) -> io::Result<Option<usize>> {
        if !self.settle(shared)? {
            return Ok(None);
        }
        self.hand_over(bytes)?;
        self.settle(shared)?;
        Ok(Some(bytes.len()))
    }

    /// Waits until all that was taken is written. `false` if the wait was interrupted.
    pub fn settle(&mut self, shared: &Shared) -> io::Result<bool> {
        while self.is_writing {
            match shared.wait(Shared::OUTPUT_WAITS_ON, |_| self.settle_within(Self::CHECK_EVERY)) {
                None => return Ok(false),
                Some(result) => result?,
            };
        }
        Ok(true)
    }

    /// Writes as much as possible in this time. Returns the count, with a last piece that may still be on its way.
    pub fn write_within(&mut self, bytes: &[u8], time: Duration) -> io::Result<usize> {
        let start = Instant::now();
        let mut written = 0;
        for piece in bytes.chunks(Self::PIECE) {
            if !self.settle_within(time.saturating_sub(start.elapsed()))? {
                return Ok(written);
            }
            self.hand_over(piece)?;
            written += piece.len();
        }
        self.settle_within(time.saturating_sub(start.elapsed()))?;
        Ok(written)
    }

    /// Waits for the thread. `false` if it needs more time.
    fn settle_within(&mut self, time: Duration) -> io::Result<bool> {
        let Some(thread) = self.thread.as_ref().filter(|_| self.is_writing) else { return Ok(true) };
        let result = match thread.results.recv_timeout(time) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the thread that writes has ended")),
        };
        self.is_writing = false;
        result.map(|()| true)
    }

    fn hand_over(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            self.thread = Some(start(file)?);
        }
        let is_taken = self.thread.as_ref().is_some_and(|thread| thread.pieces.send(bytes.into()).is_ok());
        self.is_writing = is_taken;
        is_taken.then_some(()).ok_or_else(|| io::Error::other("the thread that writes has ended"))
    }
}

impl fmt::Debug for OutputFile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("OutputFile").field("is_writing", &self.is_writing).finish_non_exhaustive()
    }
}

/// Starts a thread that writes until its sender is dropped.
fn start(mut file: Box<dyn Write + Send>) -> io::Result<Writing> {
    let (pieces, to_write) = sync_channel::<Vec<u8>>(1);
    let (said, results) = sync_channel(1);
    thread::Builder::new().name("output".into()).spawn(move || {
        for piece in to_write {
            if said.send(write_all(&mut file, &piece)).is_err() {
                return;
            }
        }
    })?;
    Ok(Writing { pieces, results })
}
