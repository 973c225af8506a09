//! Files, pipes, sockets and terminals of Linux, waited for together with interrupts.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::PollFlags;

use crate::interrupt::Shared;
use crate::waker::Waker;

/// Waits until the descriptor is ready. `false` if the run is to come back before that.
fn wait(fd: BorrowedFd, events: PollFlags, shared: &Shared) -> io::Result<bool> {
    loop {
        match shared.wait(|waker| waker.poll(fd, events, None)) {
            None => return Ok(false),
            Some(Ok(false)) => {}
            Some(ready) => return ready,
        }
    }
}

/// Something to read.
#[derive(Debug)]
pub struct InputFile {
    file: File,
    /// Whether it can be asked for what is there without waiting.
    can_be_asked: bool,
}

impl InputFile {
    pub fn new(fd: OwnedFd) -> Self {
        Self { file: fd.into(), can_be_asked: true }
    }

    /// Waits until there is something, and reads it; 0 bytes are the end. `None` if the run is to come back before.
    pub fn read(&mut self, buffer: &mut [u8], shared: &Shared) -> io::Result<Option<usize>> {
        if self.can_be_asked {
            match read_now(&self.file, buffer) {
                Ok(len) => return Ok(Some(len)),
                Err(error) if is_to_be_tried_again(&error) => {}
                // A terminal, or a kernel that is too old. What else there may be the next call finds, too.
                Err(_) => self.can_be_asked = false,
            }
        }
        loop {
            if !wait(self.file.as_fd(), PollFlags::POLLIN, shared)? {
                return Ok(None);
            }
            match self.file.read(buffer) {
                Ok(len) => return Ok(Some(len)),
                // Somebody else took what there was, or a signal came: wait again.
                Err(error) if is_to_be_tried_again(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Where the file's own offset is, if it has one (preadv2(2)).
const HERE: libc::off_t = -1;

/// Reads what is there, in one system call and without waiting (preadv2(2), RWF_NOWAIT).
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

/// Something to write.
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
    /// It takes what there is room for.
    Now,
    /// It is asked whether there is room, and given a little.
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

    /// Writes what can be written in this time, and returns how much that was.
    pub fn write_within(&mut self, bytes: &[u8], time: Duration) -> io::Result<usize> {
        let end = Instant::now() + time;
        let mut written = 0;
        while written < bytes.len() {
            let left = end.saturating_duration_since(Instant::now());
            if !Waker::default().poll(self.file.as_fd(), PollFlags::POLLOUT, Some(left))? {
                if Instant::now() >= end {
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
