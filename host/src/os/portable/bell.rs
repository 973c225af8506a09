//! The bell of a thread: a flag that other threads set.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A thread's bell, which other threads may hold.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicBool,
    /// The engine's flag while it runs on that thread. The lock keeps it valid while it is set.
    engine_flag: Mutex<Option<EngineFlag>>,
}

#[derive(Clone, Copy, Debug)]
struct EngineFlag(*const AtomicU8);

// SAFETY: it points to an atomic, and is used under the lock only, where it is valid.
unsafe impl Send for EngineFlag {}

impl Bell {
    /// This thread's.
    pub fn of_this_thread() -> Arc<Self> {
        thread_local! {
            static BELL: Arc<Bell> = Arc::default();
        }
        BELL.with(Arc::clone)
    }

    /// Rings it.
    pub fn ring(&self) {
        let flag = self.flag();
        self.rung.store(true, Ordering::Relaxed);
        if let Some(EngineFlag(flag)) = *flag {
            // SAFETY: `arm` put it here, and `Armed` takes it away, under this lock, before it is gone.
            unsafe { &*flag }.store(1, Ordering::Relaxed);
        }
    }

    fn flag(&self) -> MutexGuard<'_, Option<EngineFlag>> {
        // Nobody panics with it half done.
        self.engine_flag.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Whether the bell of this thread was rung since the last time somebody asked.
pub fn answer() -> bool {
    Bell::of_this_thread().rung.swap(false, Ordering::Relaxed)
}

/// The same, without an answer.
pub fn is_rung() -> bool {
    Bell::of_this_thread().rung.load(Ordering::Relaxed)
}

/// As long as it lives, a ring of this thread's bell sets `engine_flag` to 1; if the bell has been rung
/// already, the flag is set at once. The flag is cleared in the end.
///
/// # Safety
///
/// The flag must be valid as long as the result lives, and whoever else uses it meanwhile must do so
/// atomically.
pub unsafe fn arm(engine_flag: *const AtomicU8) -> Armed {
    let bell = Bell::of_this_thread();
    let mut flag = bell.flag();
    *flag = Some(EngineFlag(engine_flag));
    if bell.rung.load(Ordering::Relaxed) {
        // SAFETY: the caller says that it is valid.
        unsafe { &*engine_flag }.store(1, Ordering::Relaxed);
    }
    drop(flag);
    Armed { engine_flag, bell }
}

/// See [`arm`].
#[derive(Debug)]
pub struct Armed {
    engine_flag: *const AtomicU8,
    bell: Arc<Bell>,
}

impl Drop for Armed {
    fn drop(&mut self) {
        *self.bell.flag() = None;
        // SAFETY: the caller of `arm` said that it is valid as long as `self` lives.
        unsafe { &*self.engine_flag }.store(0, Ordering::Relaxed);
    }
}
