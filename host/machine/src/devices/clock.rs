//! [`Port::Clock`](flatland_contract::Port::Clock).

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use flatland_contract as contract;

use crate::device::Answer;
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
    Other(Box<dyn FnMut() -> contract::Clock + Send>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::System(_) => "System",
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
        let mut elapsed = Duration::ZERO;
        Self::of(move || {
            let now = elapsed;
            elapsed += Duration::from_millis(1);
            contract::Clock { elapsed: nanoseconds(now), unix_time: nanoseconds(start.saturating_add(now)) }
        })
    }
}

impl Source {
    fn now(&mut self) -> contract::Clock {
        match self {
            Self::System(start) => contract::Clock {
                elapsed: nanoseconds(start.elapsed()),
                // 0 if the host's clock is before 1970.
                unix_time: SystemTime::UNIX_EPOCH.elapsed().map_or(0, nanoseconds),
            },
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
        if let Source::System(start) = &mut self.source {
            *start = Instant::now();
        }
        self.answer = Answer::default();
    }

    fn save(&self) -> Vec<u8> {
        self.answer.unread().into()
    }

    fn restore(&mut self, state: &[u8]) {
        self.answer.set_unread(state);
    }
}
