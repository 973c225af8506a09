//! Sees to it that a person sees output in time, and costs a run that talks all the time next to nothing.
//!
//! Output waits for more, but not for long ([`Output::PATIENCE`]). A guest that comes back again and again for other
//! things can be asked for it then, at the price of a look at a flag; one that only computes must be fetched by ringing the
//! bell ([`kick`](crate::kick)), which interrupts KVM_RUN. Nobody knows beforehand which of them a guest will be.
//!
//! So a thread does in two steps what a timer does in one: half of the time after output has begun to wait it raises the
//! flag, and rings, half of the time later, only if nobody has answered. To wait for output, to write it and to wait
//! again then takes no system call but the write.
//!
//! A thread takes a while to start, and many runs are over by then. The first time it is a timer that rings.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Output;
use crate::kick::{Alarm, Ringer, spawn_without_signals};

/// Reminds one run, on its thread, that output waits.
#[derive(Debug)]
pub(crate) struct Reminder {
    /// Whether it is to remind.
    is_set: bool,
    /// Rings the first time.
    alarm: Alarm,
    /// Reminds from then on.
    watchman: Option<Watchman>,
}

impl Reminder {
    /// Costs nothing before it is set.
    pub fn new() -> Self {
        Self { is_set: false, alarm: Alarm::once(), watchman: None }
    }

    /// Output has begun to wait, or may have: from now on it is due within [`Output::PATIENCE`].
    pub fn set(&mut self) -> io::Result<()> {
        if self.is_set {
            return Ok(());
        }
        match &self.watchman {
            Some(watchman) => watchman.set(),
            None => self.alarm.set(Instant::now() + Output::PATIENCE)?,
        }
        self.is_set = true;
        Ok(())
    }

    /// Whether what waits is to be written now. To be asked after each exit.
    pub fn is_due(&self) -> bool {
        self.watchman.as_ref().is_some_and(Watchman::is_due)
    }

    /// The bell was rung, maybe by this, and what waited is written. `waited` says whether anything did.
    pub fn rang(&mut self, waited: bool) {
        self.alarm.answered();
        if waited && self.watchman.is_none() {
            // Where there can be no more threads, the timer goes on.
            self.watchman = Watchman::start(Output::PATIENCE / 2).ok();
        }
        self.clear();
    }

    /// What waited is written.
    pub fn clear(&mut self) {
        if let Some(watchman) = &self.watchman {
            watchman.clear();
        }
        self.is_set = false;
    }
}

/// The thread.
#[derive(Debug)]
struct Watchman {
    shared: Arc<Shared>,
    /// None only while it is dropped.
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the run tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// One of [`state`].
    state: AtomicU8,
    /// Whether the thread sleeps until it is woken.
    sleeps: AtomicBool,
    is_over: AtomicBool,
}

mod state {
    /// Nothing waits.
    pub const CLEAR: u8 = 0;
    /// Something has begun to wait since the thread last looked.
    pub const WAITING: u8 = 1;
    /// It is to be written at the next exit.
    pub const DUE: u8 = 2;
    /// There was no next exit, so the bell was rung.
    pub const RUNG: u8 = 3;
}

impl Watchman {
    /// After so many looks with nothing to do the thread sleeps, so that a guest that waits for a person costs nothing.
    const LOOKS_FOR_NOTHING: u32 = 25;

    /// Starts the thread, which looks once in a period.
    fn start(period: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ringer = Ringer::of_this_thread()?;
        // It calls nothing that needs much of a stack.
        let builder = thread::Builder::new().name("output".into()).stack_size(64 << 10);
        let thread = spawn_without_signals(builder, {
            let shared = shared.clone();
            move || watch(&shared, &ringer, period)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    fn set(&self) {
        // All of these are sequentially consistent: either the thread sees the state before it sleeps, or it is seen here
        // that it sleeps.
        self.shared.state.store(state::WAITING, Ordering::SeqCst);
        if self.shared.sleeps.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    fn clear(&self) {
        self.shared.state.store(state::CLEAR, Ordering::SeqCst);
    }

    fn is_due(&self) -> bool {
        self.shared.state.load(Ordering::Relaxed) >= state::DUE
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // When this returns it rings no more. It does not panic.
            let _ = thread.join();
        }
    }
}

/// The thread's work.
fn watch(shared: &Shared, ringer: &Ringer, period: Duration) {
    let advance =
        |from, to| shared.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    let is_over = || shared.is_over.load(Ordering::SeqCst);
    let mut looks_for_nothing = 0;
    loop {
        thread::park_timeout(period);
        if is_over() {
            // A run that has ended is not to hear of it: its thread may be in another one.
            return;
        }
        if advance(state::WAITING, state::DUE) {
            looks_for_nothing = 0;
        } else if advance(state::DUE, state::RUNG) {
            ringer.ring();
        } else {
            looks_for_nothing += 1;
        }
        if looks_for_nothing == Watchman::LOOKS_FOR_NOTHING {
            looks_for_nothing = 0;
            shared.sleeps.store(true, Ordering::SeqCst);
            // Until somebody sets it.
            while shared.state.load(Ordering::SeqCst) != state::WAITING
                && shared.sleeps.load(Ordering::SeqCst)
                && !is_over()
            {
                thread::park();
            }
            shared.sleeps.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kick;

    /// Waits until this is so. A minute is for ever.
    #[track_caller]
    fn until(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(60), "it does not happen");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// One that has rung once, so that the thread is there.
    fn watched() -> Reminder {
        let mut reminder = Reminder::new();
        reminder.set().unwrap();
        assert!(!reminder.is_due());
        until(kick::answer);
        reminder.rang(true);
        assert!(reminder.watchman.is_some());
        reminder
    }

    #[test]
    fn a_run_that_has_nothing_to_say_when_it_rings_gets_no_thread() {
        let mut reminder = Reminder::new();
        reminder.set().unwrap();
        until(kick::answer);
        reminder.rang(false);
        assert!(reminder.watchman.is_none());
        reminder.set().unwrap();
        until(kick::answer);
    }

    #[test]
    fn it_asks_and_whoever_answers_hears_no_bell() {
        let mut reminder = watched();
        for _ in 0..5 {
            assert!(!reminder.is_due());
            reminder.set().unwrap();
            until(|| reminder.is_due());
            reminder.clear();
        }
        // Where this test was slow to answer it has rung.
        thread::sleep(Output::PATIENCE);
        kick::answer();
        thread::sleep(3 * Output::PATIENCE);
        assert!(!kick::answer(), "it rings although nothing waits");
    }

    #[test]
    fn it_rings_if_nobody_answers_and_only_once() {
        let mut reminder = watched();
        for _ in 0..3 {
            reminder.set().unwrap();
            until(kick::answer);
            assert!(reminder.is_due());
            thread::sleep(3 * Output::PATIENCE);
            assert!(!kick::answer());
            reminder.rang(true);
        }
    }

    #[test]
    fn who_has_gone_hears_no_bell() {
        // Where this test is slow it rings before.
        until(|| {
            let mut reminder = watched();
            reminder.set().unwrap();
            until(|| reminder.is_due());
            kick::answer();
            drop(reminder);
            !kick::answer()
        });
    }

    #[test]
    fn the_thread_sleeps_when_nothing_waits_for_long_and_wakes_up() {
        let mut reminder = watched();
        for answer in [true, false] {
            let sleeps = &reminder.watchman.as_ref().unwrap().shared.sleeps;
            until(|| sleeps.load(Ordering::SeqCst));
            reminder.set().unwrap();
            until(kick::answer);
            if answer {
                reminder.rang(true);
            }
        }
    }
}
