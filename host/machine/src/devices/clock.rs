//! [`Port::Clock`](flatland_contract::Port::Clock).

use std::fmt;
use std::time::Duration;

use flatland_contract as contract;

use crate::device::Answer;
use crate::time::{Instant, since_1970};
use crate::{Device, Host, Unfinished};

/// The guest's clock.
#[derive(Debug)]
pub struct Clock {
    source: Source,
    answer: Answer,
}

enum Source {
    /// The host's clock, and the time when the run began.
    System(Instant),
    /// Starts at `start` since 1970, and advances by 1 ms at each read.
    Repeatable {
        start: Duration,
        reads: u64,
    },
    Other(Box<dyn FnMut() -> contract::Clock + Send>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::System(_) => "System",
            Self::Repeatable { .. } => "Repeatable",
            Self::Other(_) => "Other",
        })
    }
}

impl Clock {
    /// The host's time.
    pub fn system() -> Self {
        Self { source: Source::System(Instant::now()), answer: Answer::default() }
    }

    /// A clock that returns the times of this function.
    pub fn of(source: impl FnMut() -> contract::Clock + Send + 'static) -> Self {
        Self { source: Source::Other(Box::new(source)), answer: Answer::default() }
    }

    /// A clock with the same times in each run: it starts at `start` since 1970, and advances by 1 ms at each read.
    pub fn repeatable(start: Duration) -> Self {
        Self { source: Source::Repeatable { start, reads: 0 }, answer: Answer::default() }
    }
}

impl Source {
    fn now(&mut self) -> contract::Clock {
        match self {
            Self::System(start) => contract::Clock {
                elapsed: nanoseconds(start.elapsed()),
                unix_time: nanoseconds(since_1970()),
            },
            Self::Repeatable { start, reads } => {
                let elapsed = Duration::from_millis(*reads);
                // A restored count may be any.
                *reads = reads.wrapping_add(1);
                contract::Clock {
                    elapsed: nanoseconds(elapsed),
                    unix_time: nanoseconds(start.saturating_add(elapsed)),
                }
            }
            Self::Other(source) => source(),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Device for Clock {
    fn read_bytes(&mut self, _: u16, bytes: &mut [u8], _: &mut Host) -> Result<(), Unfinished> {
        self.answer.read(bytes, || Ok(self.source.now().to_bytes().into()))
    }

    fn reset(&mut self) {
        match &mut self.source {
            Source::System(start) => *start = Instant::now(),
            Source::Repeatable { reads, .. } => *reads = 0,
            Source::Other(_) => {}
        }
        self.answer = Answer::default();
    }

    /// The number of reads of a repeatable clock, and the unread bytes of its answer.
    fn save(&self) -> Vec<u8> {
        let reads = match self.source {
            Source::Repeatable { reads, .. } => reads,
            Source::System(_) | Source::Other(_) => 0,
        };
        [&reads.to_le_bytes(), self.answer.unread()].concat()
    }

    fn restore(&mut self, state: &[u8]) {
        let Some((saved, unread)) = state.split_first_chunk() else { return };
        if let Source::Repeatable { reads, .. } = &mut self.source {
            *reads = u64::from_le_bytes(*saved);
        }
        self.answer.set_unread(unread);
    }
}
