//! What makes a run come back before the guest does anything: the clock and the signals that end programs.
//!
//! An engine may be inside the kernel for hours (`jmp $`), and only a signal on its own thread fetches it. A
//! signal that arrives just before the engine enters the kernel must not be lost either, so the handler
//! rings a bell: it sets a flag of its thread, and through [`arm`] the engine's own "return at once" flag
//! (KVM's `immediate_exit`, KVM API 5).
//!
//! The bell is a thread's own, so machines on several threads do not wake each other. The signals that end
//! programs are the process's: whoever wants them calls [`on_termination_signals`].

use std::cell::Cell;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::c_int;
use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, SigmaskHow, Signal, pthread_sigmask,
    sigaction,
};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::gettid;

/// The signals a person or a system ends a program with.
const TERMINATION: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
/// The signal of [`Alarm`].
const ALARM: Signal = Signal::SIGALRM;

/// The termination signal that has arrived, or 0.
static TERMINATED_BY: AtomicI32 = AtomicI32::new(0);

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

/// Runs in signal handlers: does nothing that is not async-signal-safe (signal-safety(7)).
fn ring() {
    BELL.with(|bell| {
        bell.rung.store(true, Ordering::Relaxed);
        let flag = bell.engine_flag.get();
        if !flag.is_null() {
            // SAFETY: `arm` put it here, on this very thread, and `Armed` takes it away before it is gone.
            unsafe { &*flag }.store(1, Ordering::Relaxed);
        }
    });
}

extern "C" fn on_alarm(_: c_int) {
    ring();
}

extern "C" fn on_termination(signal: c_int) {
    TERMINATED_BY.store(signal, Ordering::Relaxed);
    ring();
}

/// Has Ctrl-C, SIGTERM and SIGHUP end the run in good order instead of the process on the spot. A second one
/// of the same kind does end the process. Call it on the thread that runs the machine, before there are others.
///
/// A signal that the parent had ignored, as `nohup` does with SIGHUP, stays ignored.
pub fn on_termination_signals() -> Result<(), Errno> {
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
    Ok(())
}

/// The termination signal that has arrived, if any.
pub fn terminated_by() -> Option<Signal> {
    Signal::try_from(TERMINATED_BY.load(Ordering::Relaxed)).ok()
}

/// Whether the bell of this thread was rung since the last time somebody asked.
pub fn answer() -> bool {
    BELL.with(|bell| bell.rung.swap(false, Ordering::Relaxed))
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

/// Rings the bell of the thread that first sets it, at a time. Costs nothing before that.
#[derive(Debug, Default)]
pub struct Alarm {
    timer: Option<Timer>,
    set_to: Option<Instant>,
}

impl Alarm {
    /// How often it rings again until somebody [answers](Self::answered): a ring just before a system call
    /// that waits can be missed, two of them cannot.
    const AGAIN: Duration = Duration::from_millis(50);

    /// Rings at this time, if it is not set to an earlier one already.
    pub fn set(&mut self, at: Instant) -> Result<(), Errno> {
        if self.set_to.is_some_and(|set_to| set_to <= at) {
            return Ok(());
        }
        // A time of zero would turn the timer off.
        let wait = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => none.insert(new_timer()?),
        };
        let times = Expiration::IntervalDelayed(wait.into(), Self::AGAIN.into());
        timer.set(times, TimerSetTimeFlags::empty())?;
        self.set_to = Some(at);
        Ok(())
    }

    /// Stops ringing; to be called when the bell was rung.
    pub fn answered(&mut self) -> Result<(), Errno> {
        if let (Some(timer), Some(_)) = (&mut self.timer, self.set_to.take()) {
            timer.set(Expiration::OneShot(Duration::ZERO.into()), TimerSetTimeFlags::empty())?;
        }
        Ok(())
    }
}

fn new_timer() -> Result<Timer, Errno> {
    static HANDLER: Once = Once::new();
    let mut result = Ok(());
    HANDLER.call_once(|| {
        let action = SigAction::new(SigHandler::Handler(on_alarm), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler is async-signal-safe.
        result = unsafe { sigaction(ALARM, &action) }.map(drop);
    });
    result?;
    let thread_id = gettid().as_raw();
    let notify = SigevNotify::SigevThreadId { signal: ALARM, thread_id, si_value: 0 };
    Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))
}

/// Keeps this module's signals back as long as it lives, so that one between a look at the flags and a
/// system call that waits cannot be missed: the call itself lets them in (ppoll(2)).
pub struct Held {
    before: SigSet,
}

impl Held {
    /// Keeps them back from now on.
    pub fn new() -> Result<Self, Errno> {
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
