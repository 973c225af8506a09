//! Files, pipes, sockets and terminals of Linux, waited for together with interrupts.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::PollFlags;

use crate::interrupt::Shared;
use crate::waker::Waker;

/// Waits until the descriptor is ready. `false` if it was interrupted before.
fn wait(fd: BorrowedFd, events: PollFlags, shared: &Shared) -> io::Result<bool> {
    loop {
        match shared.wait(|waker| waker.poll(fd, events, None)) {
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
    /// Whether it can be read without waiting (RWF_NOWAIT).
    can_be_asked: bool,
}

impl InputFile {
    pub fn new(fd: OwnedFd) -> Self {
        Self { file: fd.into(), can_be_asked: true }
    }

    /// Waits for input and reads it; 0 bytes are the end. `None` if it was interrupted before.
    pub fn read(&mut self, buffer: &mut [u8], shared: &Shared) -> io::Result<Option<usize>> {
        if self.can_be_asked {
            match read_now(&self.file, buffer) {
                Ok(len) => return Ok(Some(len)),
                Err(error) if is_to_be_tried_again(&error) => {}
                // A terminal, or an old kernel. The next call reports any other error.
                Err(_) => self.can_be_asked = false,
            }
        }
        loop {
            if !wait(self.file.as_fd(), PollFlags::POLLIN, shared)? {
                return Ok(None);
            }
            match self.file.read(buffer) {
                Ok(len) => return Ok(Some(len)),
                // Another process has read it, or a signal came: wait again.
                Err(error) if is_to_be_tried_again(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The file's own offset, if it has one (preadv2(2)).
const HERE: libc::off_t = -1;

/// Reads what is available, in one system call and without waiting (preadv2(2), RWF_NOWAIT).
fn read_now(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: there is one piece, it is as long as the buffer, and the buffer is ours to write.
    let len = unsafe { libc::preadv2(file.as_raw_fd(), &raw const piece, 1, HERE, libc::RWF_NOWAIT) };
    // Negative if it failed.
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}

/// Writes what there is room for, in one system call and without waiting (pwritev2(2), RWF_NOWAIT).
fn write_now(file: &File, bytes: &[u8]) -> io::Result<usize> {
    let piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: there is one piece, it is as long as the bytes, and they are only read.
    let len = unsafe { libc::pwritev2(file.as_raw_fd(), &raw const piece, 1, HERE, libc::RWF_NOWAIT) };
    // Negative if it failed.
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}

/// A file, pipe, socket or terminal to write to.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    way: Way,
}

/// How to write without being blocked for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It never blocks for long: a regular file, or a device such as /dev/null.
    AtOnce,
    /// A write takes as much as there is room for.
    Now,
    /// Wait until there is room, then write a little.
    Asked,
}

impl OutputFile {
    /// What a pipe that is ready for writing takes without blocking (pipe(7), PIPE_BUF).
    const PIPE_BUF: usize = 4096;

    pub fn new(fd: OwnedFd) -> Self {
        let file = File::from(fd);
        let kind = file.metadata().map(|metadata| metadata.file_type());
        let may_block = kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket() || kind.is_char_device());
        Self { file, way: if may_block { Way::Now } else { Way::AtOnce } }
    }

    /// Whether both are the same file, pipe or terminal.
    pub fn is_same(&self, other: &Self) -> bool {
        let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
        identity(&self.file).is_some_and(|own| identity(&other.file) == Some(own))
    }

    /// Writes some of it, waiting as long as it takes. `None` if the run is to come back before.
    pub fn write(&mut self, bytes: &[u8], shared: &Shared) -> io::Result<Option<usize>> {
        loop {
            if self.way == Way::Now {
                match write_now(&self.file, bytes) {
                    Ok(len) => return Ok(Some(len)),
                    Err(error) if is_to_be_tried_again(&error) => {}
                    Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => self.way = Way::Asked,
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.way = Way::Asked,
                    Err(error) => return Err(error),
                }
            }
            let piece = match self.way {
                Way::AtOnce => bytes,
                Way::Now | Way::Asked => {
                    if !wait(self.file.as_fd(), PollFlags::POLLOUT, shared)? {
                        return Ok(None);
                    }
                    &bytes[..bytes.len().min(Self::PIPE_BUF)]
                }
            };
            match self.file.write(piece) {
                Ok(len) => return Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.way = Way::Asked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes as much as possible in this time, and returns how much that was.
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
