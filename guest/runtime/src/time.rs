//! The time, as the host's clocks have it.

pub use core::time::Duration;

use core::error;
use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};

use flatland_contract::{Clock, Port};

use crate::port;

/// A time on a clock that never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    since_start: Duration,
}

/// A time on the host's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemTime {
    since_epoch: Duration,
}

/// 1970-01-01 00:00:00 UTC.
pub const UNIX_EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

/// The later of two times was expected to be the earlier one.
#[derive(Clone, Debug)]
pub struct SystemTimeError(Duration);

fn clock() -> Clock {
    Clock::from_bytes(port::read_array(Port::Clock))
}

impl Instant {
    /// The time now.
    pub fn now() -> Self {
        Self { since_start: Duration::from_nanos(clock().elapsed) }
    }

    /// The time since then.
    pub fn elapsed(&self) -> Duration {
        Self::now() - *self
    }

    /// The time between the two; zero if `earlier` is later.
    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.since_start.saturating_sub(earlier.since_start)
    }

    /// The time between the two; zero if `earlier` is later.
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }

    /// The time between the two; `None` if `earlier` is later.
    pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        self.since_start.checked_sub(earlier.since_start)
    }

    /// A later time, if it can be represented.
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        Some(Self { since_start: self.since_start.checked_add(duration)? })
    }

    /// An earlier time, if it can be represented.
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        Some(Self { since_start: self.since_start.checked_sub(duration)? })
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

impl SystemTime {
    /// 1970-01-01 00:00:00 UTC.
    pub const UNIX_EPOCH: Self = Self { since_epoch: Duration::ZERO };

    /// The time now.
    pub fn now() -> Self {
        Self { since_epoch: Duration::from_nanos(clock().unix_time) }
    }

    /// The time since then.
    ///
    /// # Errors
    ///
    /// If the clock has been set back.
    pub fn elapsed(&self) -> Result<Duration, SystemTimeError> {
        Self::now().duration_since(*self)
    }

    /// The time between the two.
    ///
    /// # Errors
    ///
    /// If `earlier` is later.
    pub fn duration_since(&self, earlier: Self) -> Result<Duration, SystemTimeError> {
        let forward = self.since_epoch.checked_sub(earlier.since_epoch);
        forward.ok_or_else(|| SystemTimeError(earlier.since_epoch - self.since_epoch))
    }

    /// A later time, if it can be represented.
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        Some(Self { since_epoch: self.since_epoch.checked_add(duration)? })
    }

    /// An earlier time, if it can be represented: none before 1970.
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        Some(Self { since_epoch: self.since_epoch.checked_sub(duration)? })
    }
}

macro_rules! arithmetic {
    ($Time:ty) => {
        impl Add<Duration> for $Time {
            type Output = Self;

            fn add(self, duration: Duration) -> Self {
                self.checked_add(duration).expect("the time is out of range")
            }
        }

        impl AddAssign<Duration> for $Time {
            fn add_assign(&mut self, duration: Duration) {
                *self = *self + duration;
            }
        }

        impl Sub<Duration> for $Time {
            type Output = Self;

            fn sub(self, duration: Duration) -> Self {
                self.checked_sub(duration).expect("the time is out of range")
            }
        }

        impl SubAssign<Duration> for $Time {
            fn sub_assign(&mut self, duration: Duration) {
                *self = *self - duration;
            }
        }
    };
}

arithmetic!(Instant);
arithmetic!(SystemTime);

impl SystemTimeError {
    /// How much later the time is that was expected to be earlier.
    pub fn duration(&self) -> Duration {
        self.0
    }
}

impl fmt::Display for SystemTimeError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("second time provided was later than self")
    }
}

impl error::Error for SystemTimeError {}
