//! Ringing the bell of another thread.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use super::alarm::{ALARM, listen};

/// Rings the bell of the thread that made it, from another one. Must not be used when that thread has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ringer(Pthread);

impl Ringer {
    /// For the bell of this thread.
    pub fn of_this_thread() -> io::Result<Self> {
        listen()?;
        Ok(Self(pthread_self()))
    }

    /// Rings.
    pub fn ring(&self) {
        // Cannot fail for a thread that lives.
        let _ = pthread_kill(self.0, ALARM);
    }
}

/// Starts a thread that no signal is ever delivered to. One that is meant for the process, such as that of Ctrl-C, must
/// reach a thread that runs a machine: the bell it rings is that thread's.
pub fn spawn_without_signals(
    builder: Builder,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    // It inherits the mask, so there is no time when it has another one.
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before))?;
    let spawned = builder.spawn(body);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    spawned
}
