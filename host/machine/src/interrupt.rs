//! Interrupts a run from outside.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use flatland_x86::Interrupt;

use crate::waker::Waker;

/// A time that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// Why a run is interrupted: a set of these bits.
pub(crate) mod reason {
    /// [`InterruptHandle::interrupt`](super::InterruptHandle::interrupt) was called.
    pub const REQUESTED: u8 = 1 << 0;
    /// The time limit may have passed.
    pub const LIMIT: u8 = 1 << 1;
    /// The time of [`Wants::clock`](crate::Wants::clock) may have passed.
    pub const CLOCK: u8 = 1 << 2;
    /// Output is buffered and must be written.
    pub const FLUSH: u8 = 1 << 3;
    /// It is time to see whether the run goes on better in the other engine.
    pub const LOOK: u8 = 1 << 4;
}

/// Interrupts one machine's run: [`Machine::resume`](crate::Machine::resume) then returns
/// [`Event::Interrupted`](crate::Event::Interrupted). If the machine is not running, the next call returns it at
/// once.
///
/// It may be used from any thread and in a signal handler: it takes no lock and allocates nothing. It installs no signal
/// handler.
///
/// ```
/// use std::thread;
/// use flatland_machine::{EngineChoice, Event, Machine, Program, Wants};
///
/// // jmp $
/// let program = Program::from_bytes(vec![0xeb, 0xfe])?;
/// let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program)?;
/// let handle = machine.interrupt_handle();
/// let interrupting = thread::spawn(move || handle.interrupt());
/// assert_eq!(machine.resume(&Wants::nothing())?, Event::Interrupted);
/// # interrupting.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct InterruptHandle(Arc<Shared>);

impl InterruptHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Interrupts the current run, or else the next one. Several calls may count as one.
    pub fn interrupt(&self) {
        self.0.raise(reason::REQUESTED);
    }
}

/// The state that a machine shares with its handles and the alarm's thread.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The handle of each engine. The second one may be made later.
    engines: [OnceLock<Arc<dyn Interrupt>>; 2],
    /// The bits of [`reason`] that the machine has not handled yet.
    reasons: AtomicU8,
    /// Whether the machine is waiting for a stream.
    is_waiting: AtomicBool,
    /// Whether a flush that is due ends a wait for input. All output is written before such a wait, but a recording is not.
    pub flush_ends_wait: AtomicBool,
    waker: Waker,
    /// When the alarm raises each reason, in the alarm's unit (nanoseconds).
    pub limit_at: AtomicU64,
    pub clock_at: AtomicU64,
    pub flush_at: AtomicU64,
    pub look_at: AtomicU64,
    /// Whether this machine is in the alarm's list.
    pub is_registered: AtomicBool,
}

impl Shared {
    pub fn new(engine: Arc<dyn Interrupt>) -> Self {
        Self {
            engines: [OnceLock::from(engine), OnceLock::new()],
            reasons: AtomicU8::new(0),
            is_waiting: AtomicBool::new(false),
            flush_ends_wait: AtomicBool::new(false),
            waker: Waker::default(),
            limit_at: AtomicU64::new(NEVER),
            clock_at: AtomicU64::new(NEVER),
            flush_at: AtomicU64::new(NEVER),
            look_at: AtomicU64::new(NEVER),
            is_registered: AtomicBool::new(false),
        }
    }

    /// Adds the machine's second engine.
    pub fn add_engine(&self, engine: Arc<dyn Interrupt>) {
        // The second one is made only once.
        let _ = self.engines[1].set(engine);
    }

    /// The reasons. Costs one relaxed load.
    #[inline]
    pub fn reasons(&self) -> u8 {
        self.reasons.load(Ordering::Relaxed)
    }

    /// Clears a reason. Returns whether it was set.
    pub fn clear(&self, reason: u8) -> bool {
        self.reasons.load(Ordering::Relaxed) & reason != 0
            && self.reasons.fetch_and(!reason, Ordering::SeqCst) & reason != 0
    }

    /// Sets a reason, which the machine handles at the next exit. Returns whether it was set already.
    pub fn note(&self, reason: u8) -> bool {
        self.reasons.fetch_or(reason, Ordering::SeqCst) & reason != 0
    }

    /// Sets a reason, and interrupts the run.
    pub fn raise(&self, reason: u8) {
        self.note(reason);
        // The engine that does not run returns once more when it runs next, which does no harm.
        self.engines.iter().filter_map(OnceLock::get).for_each(|engine| engine.interrupt());
        // Either this load sees that the machine waits, or the machine sees the reason before it waits.
        if self.is_waiting.load(Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// The reasons that a wait for output does not end for.
    pub const OUTPUT_WAITS_ON: u8 = reason::FLUSH | reason::LOOK;

    /// The reasons that a wait for input does not end for.
    pub fn input_waits_on(&self) -> u8 {
        match self.flush_ends_wait.load(Ordering::Relaxed) {
            true => reason::LOOK,
            false => reason::FLUSH | reason::LOOK,
        }
    }

    /// Calls `wait`, which returns early if the waker is woken. Returns `None` at once if a reason is set
    /// that a wait must end for: one that is not in `waits_on`.
    pub fn wait<T>(&self, waits_on: u8, wait: impl FnOnce(&Waker) -> T) -> Option<T> {
        self.waker.prepare();
        self.is_waiting.store(true, Ordering::SeqCst);
        let result = (self.reasons.load(Ordering::SeqCst) & !waits_on == 0).then(|| wait(&self.waker));
        self.is_waiting.store(false, Ordering::SeqCst);
        result
    }
}
