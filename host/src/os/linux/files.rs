//! Files, pipes and terminals, waited for together with the time limit and with signals.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, poll, ppoll};

use super::bell::is_rung;
use super::termination::Held;
use crate::machine::Limits;
use crate::os::{Transfer, TransferResult};
use crate::outcome::Stop;

/// Something to read.
#[derive(Debug)]
pub struct InputFile {
    file: File,
    /// Whether it can be asked for what is there without waiting.
    can_be_asked: bool,
}

impl InputFile {
    /// Standard input.
    pub fn standard() -> io::Result<Self> {
        Ok(Self::new(io::stdin().as_fd().try_clone_to_owned()?.into()))
    }

    /// A file, pipe or terminal.
    pub fn new(file: File) -> Self {
        Self { file, can_be_asked: true }
    }

    /// Waits until there is something, and reads it.
    pub fn read(&mut self, buffer: &mut [u8], limits: &Limits) -> TransferResult {
        if self.can_be_asked {
            match read_now(&self.file, buffer) {
                Ok(len) => return Ok(Transfer::Bytes(len)),
                Err(error) if is_to_be_tried_again(&error) => {}
                // A terminal, or a kernel that is too old. What else there may be the next call finds, too.
                Err(_) => self.can_be_asked = false,
            }
        }
        loop {
            match wait(self.file.as_fd(), PollFlags::POLLIN, limits, limits.comes_back())? {
                Waited::Ready => {}
                Waited::Stopped(stop) => return Ok(Transfer::Stopped(stop)),
                Waited::Kicked => return Ok(Transfer::Kicked),
            }
            match self.file.read(buffer) {
                Ok(len) => return Ok(Transfer::Bytes(len)),
                // Somebody else took what there was, or a signal came: wait again.
                Err(error) if is_to_be_tried_again(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Reads what is there, in one system call and without waiting (preadv2(2), RWF_NOWAIT).
fn read_now(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    /// Where the file's own offset is, if it has one.
    const HERE: libc::off_t = -1;
    let piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: there is one piece, it is as long as the buffer, and the buffer is ours to write.
    let len = unsafe { libc::preadv2(file.as_raw_fd(), &raw const piece, 1, HERE, libc::RWF_NOWAIT) };
    // Negative if it failed.
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}

/// Something to write.
#[derive(Debug)]
pub struct OutputFile(File);

impl OutputFile {
    /// What a pipe that is ready for writing takes without blocking (pipe(7), PIPE_BUF).
    const PIPE_BUF: usize = 4096;

    /// Standard output.
    pub fn standard_output() -> io::Result<Self> {
        Ok(Self(io::stdout().as_fd().try_clone_to_owned()?.into()))
    }

    /// Standard error.
    pub fn standard_error() -> io::Result<Self> {
        Ok(Self(io::stderr().as_fd().try_clone_to_owned()?.into()))
    }

    /// Writes some of it, waiting as long as it takes or the run may last.
    pub fn write(&mut self, bytes: &[u8], limits: &Limits) -> TransferResult {
        loop {
            let stop = match self.0.write(bytes) {
                Ok(len) => return Ok(Transfer::Bytes(len)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => limits.stop(),
                // Whoever opened it made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match wait(self.0.as_fd(), PollFlags::POLLOUT, limits, false)? {
                        Waited::Stopped(stop) => Some(stop),
                        Waited::Ready | Waited::Kicked => None,
                    }
                }
                Err(error) => return Err(error),
            };
            if let Some(stop) = stop {
                return Ok(Transfer::Stopped(stop));
            }
        }
    }

    /// Writes what can be written in this time, and returns how much that was.
    pub fn write_within(&mut self, bytes: &[u8], time: Duration) -> io::Result<usize> {
        let end = Instant::now() + time;
        let mut written = 0;
        while written < bytes.len() {
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            let left = u16::try_from(left).unwrap_or(u16::MAX);
            match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)], left) {
                Ok(0) => break,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
                Ok(_) => {}
            }
            let piece = &bytes[written..];
            match self.0.write(&piece[..piece.len().min(Self::PIPE_BUF)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => written += len,
                Err(error) if is_to_be_tried_again(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }
}

fn is_to_be_tried_again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// What came of waiting.
enum Waited {
    Ready,
    Stopped(Stop),
    Kicked,
}

/// Waits until the descriptor is ready, or has failed so that a read or write will say how; or until the run
/// must stop; or for a kick, if that is wanted.
fn wait(fd: BorrowedFd, events: PollFlags, limits: &Limits, comes_back: bool) -> io::Result<Waited> {
    loop {
        let held = Held::new()?;
        if let Some(stop) = limits.stop() {
            return Ok(Waited::Stopped(stop));
        }
        if comes_back && is_rung() {
            return Ok(Waited::Kicked);
        }
        let timeout = limits.remaining().map(Into::into);
        match ppoll(&mut [PollFd::new(fd, events)], timeout, Some(held.mask())) {
            // On a time-out the next look at the limits stops the run.
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(Waited::Ready),
            Err(errno) => return Err(errno.into()),
        }
    }
}
