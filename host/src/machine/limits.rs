//! How long a run may take.

use std::time::{Duration, Instant};

use crate::kick;
use crate::outcome::Stop;

/// What ends a run from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The length of the time limit, and when it is over.
    time: Option<(Duration, Instant)>,
}

impl Limits {
    /// The limits of a run that starts now. A limit beyond what the clock can count is none.
    pub fn from_now(time: Option<Duration>) -> Self {
        Self { time: time.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?))) }
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
