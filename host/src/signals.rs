//! The signals a person or a system ends a program with: they interrupt the run, so that it ends in good order.

use flatland::{InterruptHandle, Signal};

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

    /// Has Ctrl-C, SIGTERM and SIGHUP interrupt this run instead of ending the process on the spot. A second one of the
    /// same kind does end the process.
    ///
    /// A signal that the parent had ignored, as `nohup` does with SIGHUP, stays ignored.
    pub fn listen(run: InterruptHandle) -> io::Result<()> {
        RUN.get_or_init(|| run);
        // No SA_RESTART: a blocked write must come back.
        let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESETHAND, SigSet::empty());
        for signal in SIGNALS {
            // SAFETY: the handler is async-signal-safe: it stores a number, and an interrupt is.
            let before = unsafe { sigaction(signal, &action) }?;
            if matches!(before.handler(), SigHandler::SigIgn) {
                // SAFETY: this puts back what was there.
                unsafe { sigaction(signal, &before) }?;
            }
        }
        // Whoever started us may have had them blocked.
        SIGNALS.into_iter().collect::<SigSet>().thread_unblock()?;
        Ok(())
    }

    /// The signal that has arrived, if any.
    pub fn received() -> Option<Signal> {
        Signal::from_number(RECEIVED.load(Ordering::Relaxed))
    }
}

/// Does nothing here: the operating system's own way to end a program stays.
#[cfg(not(target_os = "linux"))]
pub fn listen(_: InterruptHandle) -> std::io::Result<()> {
    Ok(())
}

/// None here.
#[cfg(not(target_os = "linux"))]
pub fn received() -> Option<Signal> {
    None
}
