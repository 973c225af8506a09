//! The signals that end a program: they interrupt the run, so that its output and its report are written.

use crate::{InterruptHandle, Signal};

#[cfg(unix)]
pub use unix::{listen, received};
#[cfg(windows)]
pub use windows::{listen, received};

#[cfg(unix)]
mod unix {
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

/// Windows has no signals: it calls a handler of the process's console, in a thread of its own.
#[cfg(windows)]
mod windows {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::{io, thread};

    use super::{InterruptHandle, Signal};

    // What the handler is called for (wincon.h).
    const CTRL_C_EVENT: u32 = 0;
    const CTRL_BREAK_EVENT: u32 = 1;
    const CTRL_CLOSE_EVENT: u32 = 2;
    const CTRL_LOGOFF_EVENT: u32 = 5;
    const CTRL_SHUTDOWN_EVENT: u32 = 6;

    static RUN: OnceLock<InterruptHandle> = OnceLock::new();

    /// The number of the signal that has arrived, or 0.
    static RECEIVED: AtomicU8 = AtomicU8::new(0);

    type Handler = extern "system" fn(u32) -> i32;

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn SetConsoleCtrlHandler(handler: Handler, add: i32) -> i32;
    }

    extern "system" fn on_event(event: u32) -> i32 {
        let signal = match event {
            CTRL_C_EVENT | CTRL_BREAK_EVENT => Signal::Interrupt,
            CTRL_CLOSE_EVENT => Signal::Hangup,
            CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT => Signal::Terminate,
            _ => return 0,
        };
        let before = RECEIVED.swap(signal.number(), Ordering::Relaxed);
        if before == signal.number() {
            // Not handled, so the system ends the process (STATUS_CONTROL_C_EXIT).
            return 0;
        }
        if let Some(run) = RUN.get() {
            run.interrupt();
        }
        if signal != Signal::Interrupt {
            // The system ends the process when this returns, or some seconds later; the run ends before that.
            loop {
                thread::park();
            }
        }
        1
    }

    /// Makes Ctrl-C, Ctrl-Break, and the end of the console or the session interrupt this run instead of ending the
    /// process at once. A second Ctrl-C ends the process.
    pub fn listen(run: InterruptHandle) -> io::Result<()> {
        RUN.get_or_init(|| run);
        // SAFETY: the handler lives as long as the process, and may be called in any thread.
        match unsafe { SetConsoleCtrlHandler(on_event, 1) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// What has arrived, as the signal that it would be elsewhere.
    pub fn received() -> Option<Signal> {
        Signal::from_number(RECEIVED.load(Ordering::Relaxed).into())
    }
}
