//! A clock that rings the bell, by a thread that sleeps until then.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use super::bell::Bell;

/// Rings the bell of the thread that first sets it, at a time. Costs nothing before that.
#[derive(Debug)]
pub struct Alarm {
    /// To the thread that sleeps, which ends when this does.
    sleeper: Option<Sender<Instant>>,
    set_to: Option<Instant>,
}

impl Alarm {
    /// Rings once each time it is set.
    pub fn once() -> Self {
        Self { sleeper: None, set_to: None }
    }

    /// The same here: no ring can be missed.
    pub fn insistent() -> Self {
        Self::once()
    }

    /// Rings at this time, if it is not set to an earlier one already.
    pub fn set(&mut self, at: Instant) -> io::Result<()> {
        if self.set_to.is_some_and(|set_to| set_to <= at) {
            return Ok(());
        }
        let sleeper = match &mut self.sleeper {
            Some(sleeper) => sleeper,
            none => {
                let (sender, times) = channel();
                let bell = Bell::of_this_thread();
                thread::Builder::new().name("alarm".into()).spawn(move || sleep_and_ring(&times, &bell))?;
                none.insert(sender)
            }
        };
        sleeper.send(at).map_err(io::Error::other)?;
        self.set_to = Some(at);
        Ok(())
    }

    /// It may be set anew, now that it has rung.
    pub fn answered(&mut self) {
        self.set_to = None;
    }
}

/// Rings at the time sent last, until nobody can send one any more.
fn sleep_and_ring(times: &Receiver<Instant>, bell: &Bell) {
    while let Ok(mut at) = times.recv() {
        loop {
            match times.recv_timeout(at.saturating_duration_since(Instant::now())) {
                Ok(other) => at = other,
                Err(RecvTimeoutError::Timeout) => break bell.ring(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::time::Duration;

    use super::super::bell::{answer, arm};
    use super::*;

    #[test]
    fn an_alarm_sets_the_flag_of_the_engine_that_runs_on_its_thread() {
        let flag = AtomicU8::new(0);
        let mut alarm = Alarm::once();
        {
            // SAFETY: the flag lives longer.
            let _armed = unsafe { arm(&flag) };
            alarm.set(Instant::now() + Duration::from_secs(3600)).unwrap();
            alarm.set(Instant::now() + Duration::from_millis(1)).unwrap();
            while flag.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
        }
        assert_eq!(flag.load(Ordering::Relaxed), 0);
        assert!(answer());
        assert!(!answer());
    }

    #[test]
    fn a_ring_before_the_engine_runs_is_not_lost() {
        Bell::of_this_thread().ring();
        let flag = AtomicU8::new(0);
        // SAFETY: the flag lives longer.
        let _armed = unsafe { arm(&flag) };
        assert_eq!(flag.load(Ordering::Relaxed), 1);
    }
}
