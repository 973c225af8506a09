//! Interrupts a run from outside.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use flatland_x86::{Interrupt, PendingInterrupts, Vector};

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
    /// A device has raised an interrupt.
    pub const RAISED: u8 = 1 << 5;
    /// The timer was set, or may be due.
    pub const TIMER: u8 = 1 << 6;
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

/// The line by which a device raises interrupts of the guest's processor: see [`Device`](crate::Device). It may be used from any
/// thread.
#[derive(Clone, Debug)]
pub struct InterruptLine(Arc<Shared>);

impl InterruptLine {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Raises an interrupt. It is pending until the guest takes it; one that is raised twice before comes once.
    pub fn raise(&self, vector: Vector) {
        self.0.add_raised(vector);
        self.0.raise(reason::RAISED);
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
    pub timer_at: AtomicU64,
    /// The interrupts that devices have raised and the engine does not know: a bit for each vector.
    raised: [AtomicU64; 4],
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
            timer_at: AtomicU64::new(NEVER),
            raised: Default::default(),
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

    /// Keeps an interrupt that a device raises. [`reason::RAISED`] comes after it.
    pub fn add_raised(&self, vector: Vector) {
        let number = vector.number();
        self.raised[usize::from(number / 64)].fetch_or(1 << (number % 64), Ordering::SeqCst);
    }

    /// Takes the interrupts that were raised.
    pub fn take_raised(&self) -> PendingInterrupts {
        let bits = self.raised.each_ref().map(|word| word.swap(0, Ordering::SeqCst));
        PendingInterrupts::from_bits(bits).expect("each is a vector of a device")
    }

    /// The reasons that a wait for output does not end for.
    pub const OUTPUT_WAITS_ON: u8 = reason::FLUSH | Self::ANY_WAITS_ON;

    /// The reasons that no wait for a stream ends for: nothing runs that would notice.
    const ANY_WAITS_ON: u8 = reason::LOOK | reason::RAISED | reason::TIMER;

    /// The reasons that a wait for input does not end for.
    pub fn input_waits_on(&self) -> u8 {
        match self.flush_ends_wait.load(Ordering::Relaxed) {
            true => Self::ANY_WAITS_ON,
            false => Self::OUTPUT_WAITS_ON,
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
