//! The clock of the host. On WebAssembly without a system there is none, and `std`'s panics: there time stands still, and
//! no limit of time is ever reached.

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub use std::time::Instant;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub use still::Instant;

use std::time::Duration;

/// The time since 1970. Zero if the host has no clock, or one that is before that.
pub fn since_1970() -> Duration {
    match cfg!(all(target_family = "wasm", target_os = "unknown")) {
        true => Duration::ZERO,
        false => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
    }
}

#[cfg(any(test, all(target_family = "wasm", target_os = "unknown")))]
mod still {
    use std::ops::Add;
    use std::time::Duration;

    /// A point of time where each is the same one, or that much later: it has the methods of [`std::time::Instant`] that
    /// are used here.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Instant(Duration);

    impl Instant {
        pub fn now() -> Self {
            Self(Duration::ZERO)
        }

        pub fn elapsed(&self) -> Duration {
            Self::now().saturating_duration_since(*self)
        }

        pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }

        pub fn checked_add(&self, time: Duration) -> Option<Self> {
            self.0.checked_add(time).map(Self)
        }
    }

    impl Add<Duration> for Instant {
        type Output = Self;

        fn add(self, time: Duration) -> Self {
            Self(self.0 + time)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::still::Instant;

    #[test]
    fn where_time_stands_still_nothing_takes_any_and_a_deadline_is_never_over() {
        let start = Instant::now();
        assert_eq!(start.elapsed(), Duration::ZERO);
        let deadline = start.checked_add(Duration::from_secs(1)).unwrap();
        assert!(Instant::now() < deadline && deadline == start + Duration::from_secs(1));
        assert_eq!(deadline.saturating_duration_since(start), Duration::from_secs(1));
        assert_eq!(start.checked_add(Duration::MAX).and_then(|at| at.checked_add(Duration::MAX)), None);
    }
}
