//! The timer, at [`Port::Timer`](crate::Port::Timer): it raises an interrupt again and again.
//!
//! A guest sends the period as a little-endian u32, in ticks; it begins with the fourth byte, and 0 stops the timer. What is
//! pending stays so. A tick is one executed instruction where the engine counts them, as the soft engine does: each run is
//! the same. It is a nanosecond of the host's clock otherwise, as on KVM, where no period is shorter than
//! [`SHORTEST_BY_CLOCK`].
//!
//! While the guest has halted with interrupts enabled, time goes on to the next interrupt.

/// The vector of the timer's interrupts: the first one that is no exception's.
pub const VECTOR: u8 = 0x20;

/// The shortest period by the clock, in nanoseconds: less would leave a guest on a slow KVM no time between two.
pub const SHORTEST_BY_CLOCK: u32 = 1_000_000;
