//! The signals that end a program: they interrupt the run, so that its output and its report are written.

use crate::{InterruptHandle, Signal};

#[cfg(target_os = "linux")]
pub use linux::{listen, received};

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI32, Ordering};

    use nix::libc::c_int;
    use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, sigaction};

    use super::{InterruptHandle, Signal};

    const SIGNALS: [signal::Signal; 3] =
        [signal::Signal::SIGINT, signal::Signal::SIGTERM, signal::Signal::SIGHUP];

    static RUN: OnceLock<InterruptHandle> = OnceLock::new();

    /// The signal that has arrived, or 0.
    static RECEIVED: AtomicI32 = AtomicI32::new(0);

    extern "C" fn on_signal(signal: c_int) {
        RECEIVED.store(signal, Ordering::Relaxed);
        if let Some(run) = RUN.get() {
            run.interrupt();
        }
    }

    /// Makes Ctrl-C, SIGTERM and SIGHUP interrupt this run instead of ending the process at once. A second signal of
    /// the same kind ends the process.
    ///
    /// A signal that the parent process ignored, as `nohup` does with SIGHUP, stays ignored.
    pub fn listen(run: InterruptHandle) -> io::Result<()> {
        RUN.get_or_init(|| run);
        // Without SA_RESTART, so that a blocked write returns.
        let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESETHAND, SigSet::empty());
        for signal in SIGNALS {
            // SAFETY: the handler is async-signal-safe: it stores a number and calls `InterruptHandle::interrupt`.
            let before = unsafe { sigaction(signal, &action) }?;
            if matches!(before.handler(), SigHandler::SigIgn) {
                // SAFETY: this restores the previous action.
                unsafe { sigaction(signal, &before) }?;
            }
        }
        // The parent process may have blocked the signals.
        SIGNALS.into_iter().collect::<SigSet>().thread_unblock()?;
        Ok(())
    }

    /// The signal that has arrived, if any.
    pub fn received() -> Option<Signal> {
        Signal::from_number(RECEIVED.load(Ordering::Relaxed))
    }
}

/// Does nothing: on other systems a signal ends the process at once.
#[cfg(not(target_os = "linux"))]
pub fn listen(_: InterruptHandle) -> std::io::Result<()> {
    Ok(())
}

/// On other systems signals are not recorded.
#[cfg(not(target_os = "linux"))]
pub fn received() -> Option<Signal> {
    None
}
