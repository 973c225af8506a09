//! The time, as the host tells it.

use core::time::Duration;

use flatland_contract::{Clock, Port};

use crate::port;

/// How long the run has lasted. Never goes back.
pub fn elapsed() -> Duration {
    Duration::from_nanos(now().elapsed)
}

/// The time since 1970-01-01 00:00:00 UTC, as the host's clock has it.
pub fn since_unix_epoch() -> Duration {
    Duration::from_nanos(now().unix_time)
}

fn now() -> Clock {
    Clock::from_bytes(port::read_array(Port::Clock))
}
