//! Files, pipes, sockets and terminals on Linux. A wait for one of them also ends at an interrupt.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::PollFlags;

use crate::interrupt::Shared;
use crate::waker::Waker;

/// The process's standard input.
pub fn standard_input() -> io::Result<InputFile> {
    Ok(InputFile::new(io::stdin().as_fd().try_clone_to_owned()?))
}

/// The process's standard output.
pub fn standard_output() -> io::Result<OutputFile> {
    Ok(OutputFile::new(io::stdout().as_fd().try_clone_to_owned()?))
}

/// The process's standard error.
pub fn standard_error() -> io::Result<OutputFile> {
    Ok(OutputFile::new(io::stderr().as_fd().try_clone_to_owned()?))
}

/// Waits until the descriptor is ready. `false` if the wait was interrupted.
fn wait(fd: BorrowedFd, events: PollFlags, shared: &Shared) -> io::Result<bool> {
    let waits_on = match events {
        PollFlags::POLLIN => shared.input_waits_on(),
        _ => Shared::OUTPUT_WAITS_ON,
    };
    loop {
        match shared.wait(waits_on, |waker| waker.poll(fd, events, None)) {
            None => return Ok(false),
            Some(Ok(false)) => {}
            Some(ready) => return ready,
        }
    }
}

/// A file, pipe, socket or terminal to read from.
#[derive(Debug)]
pub struct InputFile {
    file: File,
    /// Whether reads without waiting are supported (RWF_NOWAIT).
    has_nowait: bool,
}

impl InputFile {
    pub fn new(fd: impl Into<OwnedFd>) -> Self {
        Self { file: fd.into().into(), has_nowait: true }
    }

    /// Waits for input and reads it; 0 bytes mean the end. `None` if the wait was interrupted.
    pub fn read(&mut self, buffer: &mut [u8], shared: &Shared) -> io::Result<Option<usize>> {
        if self.has_nowait {
            match read_now(&self.file, buffer) {
                Ok(len) => return Ok(Some(len)),
                Err(error) if should_retry(&error) => {}
                // A terminal, or an old kernel. The next call reports any other error.
                Err(_) => self.has_nowait = false,
            }
        }
        loop {
            if !wait(self.file.as_fd(), PollFlags::POLLIN, shared)? {
                return Ok(None);
            }
            match self.file.read(buffer) {
                Ok(len) => return Ok(Some(len)),
                // Another process has read the input, or a signal came: wait again.
                Err(error) if should_retry(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The file's own offset, if it has one (preadv2(2)).
const HERE: libc::off_t = -1;

/// Reads the available bytes, in one system call without waiting (preadv2(2), RWF_NOWAIT).
fn read_now(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: there is one piece, it is as long as the buffer, and the buffer is ours to write.
    let len = unsafe { libc::preadv2(file.as_raw_fd(), &raw const piece, 1, HERE, libc::RWF_NOWAIT) };
    // Negative on failure.
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}

/// Writes as much as there is room for, in one system call without waiting (pwritev2(2), RWF_NOWAIT).
fn write_now(file: &File, bytes: &[u8]) -> io::Result<usize> {
    let piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: there is one piece, it is as long as the bytes, and they are only read.
    let len = unsafe { libc::pwritev2(file.as_raw_fd(), &raw const piece, 1, HERE, libc::RWF_NOWAIT) };
    // Negative on failure.
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}

/// A file, pipe, socket or terminal to write to.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    way: Way,
}

/// How to write without blocking for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Write at once: a regular file, or a device such as /dev/null, never blocks for long.
    AtOnce,
    /// Write without waiting (RWF_NOWAIT): a call takes as much as there is room for.
    Now,
    /// Poll until there is room, then write at most [`PIPE_BUF`] bytes.
    Polled,
}

impl OutputFile {
    /// A pipe that is ready for writing takes this many bytes without blocking (pipe(7), PIPE_BUF).
    const PIPE_BUF: usize = 4096;

    pub fn new(fd: impl Into<OwnedFd>) -> Self {
        let file = File::from(fd.into());
        let kind = file.metadata().map(|metadata| metadata.file_type());
        let may_block = kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket() || kind.is_char_device());
        Self { file, way: if may_block { Way::Now } else { Way::AtOnce } }
    }

    /// Whether both are the same file, pipe or terminal.
    pub fn is_same(&self, other: &Self) -> bool {
        let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
        identity(&self.file).is_some_and(|own| identity(&other.file) == Some(own))
    }

    /// Whether bytes that [`Self::write`] has taken are not written.
    pub fn is_writing(&self) -> bool {
        false
    }

    /// Waits until all that was taken is written: it is.
    pub fn settle(&mut self, _: &Shared) -> io::Result<bool> {
        Ok(true)
    }

    /// Writes some of the bytes, however long that takes. `None` if the wait was interrupted.
    pub fn write(&mut self, bytes: &[u8], shared: &Shared) -> io::Result<Option<usize>> {
        loop {
            if self.way == Way::Now {
                match write_now(&self.file, bytes) {
                    Ok(len) => return Ok(Some(len)),
                    Err(error) if should_retry(&error) => {}
                    Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => self.way = Way::Polled,
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.way = Way::Polled,
                    Err(error) => return Err(error),
                }
            }
            let piece = match self.way {
                Way::AtOnce => bytes,
                Way::Now | Way::Polled => {
                    if !wait(self.file.as_fd(), PollFlags::POLLOUT, shared)? {
                        return Ok(None);
                    }
                    &bytes[..bytes.len().min(Self::PIPE_BUF)]
                }
            };
            match self.file.write(piece) {
                Ok(len) => return Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.way = Way::Polled,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes as much as possible in this time. Returns the count.
    pub fn write_within(&mut self, bytes: &[u8], time: Duration) -> io::Result<usize> {
        let start = Instant::now();
        let mut written = 0;
        while written < bytes.len() {
            let left = time.saturating_sub(start.elapsed());
            if !Waker::default().poll(self.file.as_fd(), PollFlags::POLLOUT, Some(left))? {
                if start.elapsed() >= time {
                    break;
                }
                continue;
            }
            let piece = &bytes[written..];
            match self.file.write(&piece[..piece.len().min(Self::PIPE_BUF)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => written += len,
                Err(error) if should_retry(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }
}

fn should_retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}
