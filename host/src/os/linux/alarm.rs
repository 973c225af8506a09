//! A clock that rings the bell, by a timer signal to the thread that set it.

use std::io;
use std::sync::Once;
use std::time::{Duration, Instant};

use nix::libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::gettid;

use super::bell::ring;

pub const ALARM: Signal = Signal::SIGALRM;

/// Rings the bell of the thread that first sets it, at a time. Costs nothing before that.
#[derive(Debug)]
pub struct Alarm {
    timer: Option<Timer>,
    set_to: Option<Instant>,
    /// How often it rings again.
    again: Option<Duration>,
}

impl Alarm {
    /// Rings once each time it is set.
    pub fn once() -> Self {
        Self { timer: None, set_to: None, again: None }
    }

    /// Rings again and again: one ring just before a system call that waits can be missed, two cannot.
    pub fn insistent() -> Self {
        Self { again: Some(Duration::from_millis(50)), ..Self::once() }
    }

    /// Rings at this time, if it is not set to an earlier one already.
    pub fn set(&mut self, at: Instant) -> io::Result<()> {
        if self.set_to.is_some_and(|set_to| set_to <= at) {
            return Ok(());
        }
        // A time of zero would turn the timer off.
        let wait = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => none.insert(new_timer()?),
        };
        let times = match self.again {
            Some(again) => Expiration::IntervalDelayed(wait.into(), again.into()),
            None => Expiration::OneShot(wait.into()),
        };
        timer.set(times, TimerSetTimeFlags::empty())?;
        self.set_to = Some(at);
        Ok(())
    }

    /// It may be set anew, now that it has rung.
    pub fn answered(&mut self) {
        self.set_to = None;
    }
}

extern "C" fn on_alarm(_: c_int) {
    ring();
}

/// Has [`ALARM`] ring the bell of the thread that it is sent to, and lets it come to this one.
pub fn listen() -> io::Result<()> {
    static HANDLER: Once = Once::new();
    let mut result = Ok(());
    HANDLER.call_once(|| {
        let action = SigAction::new(SigHandler::Handler(on_alarm), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler is async-signal-safe.
        result = unsafe { sigaction(ALARM, &action) }.map(drop);
    });
    result?;
    // Whoever started us may have had it blocked.
    SigSet::from(ALARM).thread_unblock()?;
    Ok(())
}

fn new_timer() -> io::Result<Timer> {
    listen()?;
    let thread_id = gettid().as_raw();
    let notify = SigevNotify::SigevThreadId { signal: ALARM, thread_id, si_value: 0 };
    Ok(Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))?)
}
