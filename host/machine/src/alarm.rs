//! The alarm: interrupts runs at given times.
//!
//! One thread serves all machines of the process. It starts when the first machine needs it. A machine sets a time by
//! storing a number. It takes a lock to wake the thread only if the new time is before the end of the thread's sleep.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crate::interrupt::{NEVER, Shared, reason};
use crate::time::Instant;

/// How long the alarm waits for an exit, at which a machine flushes by itself, before it interrupts the engine.
pub const FLUSH_GRACE: Duration = Duration::from_millis(10);

struct Alarm {
    epoch: Instant,
    /// When the thread's sleep ends.
    sleeps_until: AtomicU64,
    machines: Mutex<Machines>,
    changed: Condvar,
}

#[derive(Default)]
struct Machines {
    has_thread: bool,
    all: Vec<Weak<Shared>>,
    /// The length of `all` at which dropped machines are removed.
    prune_at: usize,
}

static ALARM: LazyLock<Alarm> = LazyLock::new(|| Alarm {
    epoch: Instant::now(),
    sleeps_until: AtomicU64::new(NEVER),
    machines: Mutex::default(),
    changed: Condvar::new(),
});

/// A time in the alarm's unit: nanoseconds since its first use.
pub fn nanoseconds(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(ALARM.epoch).as_nanos()).unwrap_or(NEVER)
}

/// Sets one of a machine's times, `which`. At that time the alarm raises the reason that belongs to it. An error if
/// the thread cannot be started.
pub fn set(shared: &Arc<Shared>, which: &AtomicU64, at: Instant) -> io::Result<()> {
    if !shared.is_registered.load(Ordering::Relaxed) {
        ALARM.register(shared)?;
    }
    let at = nanoseconds(at);
    // Either the thread sees this time before it sleeps, or this load sees how long the thread sleeps.
    which.store(at, Ordering::SeqCst);
    if at < ALARM.sleeps_until.load(Ordering::SeqCst) {
        let _machines = ALARM.machines();
        ALARM.changed.notify_one();
    }
    Ok(())
}

impl Alarm {
    /// Ignores poisoning: no thread panics while it holds the lock.
    fn machines(&self) -> MutexGuard<'_, Machines> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&'static self, shared: &Arc<Shared>) -> io::Result<()> {
        let mut machines = self.machines();
        if !machines.has_thread {
            // The thread needs little stack.
            thread::Builder::new().name("alarm".into()).stack_size(64 << 10).spawn(|| self.watch())?;
            machines.has_thread = true;
        }
        // The thread also removes them, but it may sleep long.
        if machines.all.len() >= machines.prune_at {
            machines.all.retain(|machine| machine.strong_count() > 0);
            machines.prune_at = 64 + 2 * machines.all.len();
        }
        machines.all.push(Arc::downgrade(shared));
        shared.is_registered.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The thread's loop.
    fn watch(&self) {
        let mut machines = self.machines();
        loop {
            // From here on each new time wakes this thread, because the scan below may have missed it.
            self.sleeps_until.store(NEVER, Ordering::SeqCst);
            let now = nanoseconds(Instant::now());
            let mut next = NEVER;
            machines.all.retain(|machine| {
                let machine = machine.upgrade();
                if let Some(machine) = &machine {
                    next = next.min(raise_due(machine, now));
                }
                machine.is_some()
            });
            self.sleeps_until.store(next, Ordering::SeqCst);
            let wait = Duration::from_nanos(next.saturating_sub(now));
            let waited = match next {
                NEVER => self.changed.wait(machines).map_err(PoisonError::into_inner),
                _ => match self.changed.wait_timeout(machines, wait) {
                    Ok((machines, _)) => Ok(machines),
                    Err(error) => Err(error.into_inner().0),
                },
            };
            machines = waited.unwrap_or_else(|machines| machines);
        }
    }
}

/// Raises the reasons that are due. Returns this machine's next time.
fn raise_due(machine: &Shared, now: u64) -> u64 {
    let mut next = NEVER;
    for (which, reason) in [
        (&machine.limit_at, reason::LIMIT),
        (&machine.clock_at, reason::CLOCK),
        (&machine.flush_at, reason::FLUSH),
        (&machine.look_at, reason::LOOK),
        (&machine.timer_at, reason::TIMER),
    ] {
        let at = which.load(Ordering::SeqCst);
        if at > now {
            next = next.min(at);
            continue;
        }
        // A machine with frequent exits handles the reason within the grace time, and needs no interrupt.
        let again = if reason == reason::FLUSH && !machine.note(reason) {
            now + FLUSH_GRACE.as_nanos() as u64
        } else {
            machine.raise(reason);
            NEVER
        };
        match which.compare_exchange(at, again, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => next = next.min(again),
            // The machine has set a new time meanwhile.
            Err(other) => next = next.min(other),
        }
    }
    next
}
