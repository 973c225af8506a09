//! The signals a person or a system ends a program with, and keeping signals back while one looks.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::libc::c_int;
use nix::sys::signal::{
    self, SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, pthread_sigmask, sigaction,
};

use super::alarm::ALARM;
use super::bell::ring;
use crate::outcome::Signal;

const TERMINATION: [signal::Signal; 3] =
    [signal::Signal::SIGINT, signal::Signal::SIGTERM, signal::Signal::SIGHUP];

/// The termination signal that has arrived, or 0.
static TERMINATED_BY: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_termination(signal: c_int) {
    TERMINATED_BY.store(signal, Ordering::Relaxed);
    ring();
}

/// Has Ctrl-C, SIGTERM and SIGHUP end the run in good order instead of the process on the spot. A second one
/// of the same kind does end the process. Call it on the thread that runs the machine, before there are others.
///
/// A signal that the parent had ignored, as `nohup` does with SIGHUP, stays ignored.
pub fn on_termination_signals() -> io::Result<()> {
    // No SA_RESTART: a blocked read or write must come back.
    let action = SigAction::new(SigHandler::Handler(on_termination), SaFlags::SA_RESETHAND, SigSet::empty());
    for signal in TERMINATION {
        // SAFETY: the handler is async-signal-safe.
        let before = unsafe { sigaction(signal, &action) }?;
        if matches!(before.handler(), SigHandler::SigIgn) {
            // SAFETY: this puts back what was there.
            unsafe { sigaction(signal, &before) }?;
        }
    }
    // Whoever started us may have had them blocked.
    TERMINATION.into_iter().collect::<SigSet>().thread_unblock()?;
    Ok(())
}

/// The termination signal that has arrived, if any.
pub fn terminated_by() -> Option<Signal> {
    Signal::from_number(TERMINATED_BY.load(Ordering::Relaxed))
}

/// Keeps our signals back as long as it lives, so that one between a look at the flags and a system call
/// that waits cannot be missed: the call itself lets them in (ppoll(2)).
pub struct Held {
    before: SigSet,
}

impl Held {
    /// Keeps them back from now on.
    pub fn new() -> io::Result<Self> {
        let mut set: SigSet = TERMINATION.into_iter().collect();
        set.add(ALARM);
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before))?;
        Ok(Self { before })
    }

    /// The mask that lets them in.
    pub fn mask(&self) -> SigSet {
        self.before
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Cannot fail: the mask was handed out by the same call.
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}
