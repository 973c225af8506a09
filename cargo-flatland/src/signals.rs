//! Signals while other processes do the work of this one.

use std::ffi::c_int;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

const SIGHUP: c_int = 1;
const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;

// The C library's, which the standard library is linked to. A crate for them would take longer to compile than xtask.
unsafe extern "C" {
    fn signal(signal: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn kill(process: c_int, signal: c_int) -> c_int;
}

/// Who gets the signals.
static TO: AtomicI32 = AtomicI32::new(0);
/// Whether that has Ctrl-C from the terminal itself.
static HAS_TERMINAL: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(number: c_int) {
    if number == SIGINT && HAS_TERMINAL.load(Ordering::SeqCst) {
        return;
    }
    // SAFETY: `kill` is async-signal-safe and needs nothing of this process.
    unsafe { kill(TO.load(Ordering::SeqCst), number) };
}

/// Passes signals that would end this process on to a child, which has not been waited for. If the terminal is the child's,
/// that sends Ctrl-C to both, and this process ignores it.
pub fn pass_to(child: &Child, has_terminal: bool) {
    TO.store(child.id() as i32, Ordering::SeqCst);
    HAS_TERMINAL.store(has_terminal, Ordering::SeqCst);
    for number in [SIGHUP, SIGINT, SIGTERM] {
        // SAFETY: the handler is async-signal-safe: it reads atomics and calls `kill`.
        unsafe { signal(number, on_signal) };
    }
}
