//! The bell of a thread: a flag that signal handlers set.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

struct Bell {
    rung: AtomicBool,
    /// The engine's flag while it runs on this thread, or null.
    engine_flag: Cell<*const AtomicU8>,
}

thread_local! {
    // Initialized at compile time and without a destructor, so a signal handler may use it: no allocation
    // and no registration on first use.
    static BELL: Bell = const { Bell { rung: AtomicBool::new(false), engine_flag: Cell::new(ptr::null()) } };
}

/// Rings this thread's bell. Runs in signal handlers: does nothing that is not async-signal-safe
/// (signal-safety(7)).
pub fn ring() {
    BELL.with(|bell| {
        bell.rung.store(true, Ordering::Relaxed);
        let flag = bell.engine_flag.get();
        if !flag.is_null() {
            // SAFETY: `arm` put it here, on this very thread, and `Armed` takes it away before it is gone.
            unsafe { &*flag }.store(1, Ordering::Relaxed);
        }
    });
}

/// Whether the bell of this thread was rung since the last time somebody asked.
pub fn answer() -> bool {
    BELL.with(|bell| bell.rung.swap(false, Ordering::Relaxed))
}

/// The same, without an answer.
pub fn is_rung() -> bool {
    BELL.with(|bell| bell.rung.load(Ordering::Relaxed))
}

/// As long as it lives, a ring of this thread's bell sets `engine_flag` to 1; if the bell has been rung
/// already, the flag is set at once. The flag is cleared in the end.
///
/// # Safety
///
/// The flag must be valid as long as the result lives, and whoever else uses it meanwhile must do so
/// atomically.
pub unsafe fn arm(engine_flag: *const AtomicU8) -> Armed {
    BELL.with(|bell| {
        bell.engine_flag.set(engine_flag);
        // After the flag is known to the handler, so that no ring falls between.
        if bell.rung.load(Ordering::Relaxed) {
            // SAFETY: the caller says that it is valid.
            unsafe { &*engine_flag }.store(1, Ordering::Relaxed);
        }
    });
    Armed { engine_flag }
}

/// See [`arm`].
#[derive(Debug)]
pub struct Armed {
    engine_flag: *const AtomicU8,
}

impl Drop for Armed {
    fn drop(&mut self) {
        BELL.with(|bell| bell.engine_flag.set(ptr::null()));
        // SAFETY: the caller of `arm` said that it is valid as long as `self` lives.
        unsafe { &*self.engine_flag }.store(0, Ordering::Relaxed);
    }
}
