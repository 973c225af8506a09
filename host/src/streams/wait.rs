//! Waiting for a descriptor, for the time limit and for signals, all at once.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};

use crate::kick::Held;
use crate::machine::Limits;
use crate::outcome::Stop;

/// Waits until the descriptor is ready, or has failed so that a read or write will say how; or until the run
/// must stop.
pub fn wait(fd: BorrowedFd, events: PollFlags, limits: &Limits) -> Result<Option<Stop>, Errno> {
    loop {
        let held = Held::new()?;
        if let Some(stop) = limits.stop() {
            return Ok(Some(stop));
        }
        let timeout = limits.remaining().map(Into::into);
        match ppoll(&mut [PollFd::new(fd, events)], timeout, Some(held.mask())) {
            // On a time-out the next look at the limits stops the run.
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}
