//! How long a run may take.

use std::time::{Duration, Instant};

use crate::kick;
use crate::outcome::Stop;

/// What ends a run from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The length of the time limit, and when it is over.
    time: Option<(Duration, Instant)>,
    /// How long somebody has held the guest.
    held: Duration,
    comes_back: bool,
}

impl Limits {
    /// The limits of a run that starts now. A limit beyond what the clock can count is none.
    pub fn from_now(time: Option<Duration>) -> Self {
        let time = time.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?)));
        Self { time, held: Duration::ZERO, comes_back: false }
    }

    /// The same, and waits for input come back at each kick.
    pub fn coming_back(self) -> Self {
        Self { comes_back: true, ..self }
    }

    /// Whether a wait for input comes back at a kick.
    pub fn comes_back(&self) -> bool {
        self.comes_back
    }

    /// Somebody has held the guest for so long: that time does not count.
    pub fn add_held(&mut self, time: Duration) {
        self.held += time;
        if let Some((_, end)) = &mut self.time {
            // What the clock cannot count is far enough away as it is.
            *end = end.checked_add(time).unwrap_or(*end);
        }
    }

    /// How long somebody has held the guest.
    pub fn held(&self) -> Duration {
        self.held
    }

    /// When the time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.time.map(|(_, end)| end)
    }

    /// How much time is left.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Whether the run must stop now, and why.
    pub fn stop(&self) -> Option<Stop> {
        if let Some(signal) = kick::terminated_by() {
            return Some(Stop::Signal(signal));
        }
        self.time.and_then(|(limit, end)| (Instant::now() >= end).then_some(Stop::TimeLimit(limit)))
    }
}
