//! Ringing the bell of another thread.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::bell::Bell;

/// Rings the bell of the thread that made it, from another one.
#[derive(Clone, Debug)]
pub struct Ringer(Arc<Bell>);

impl Ringer {
    /// For the bell of this thread.
    pub fn of_this_thread() -> io::Result<Self> {
        Ok(Self(Bell::of_this_thread()))
    }

    /// Rings.
    pub fn ring(&self) {
        self.0.ring();
    }
}

/// Starts a thread. There are no signals here.
pub fn spawn_without_signals(
    builder: Builder,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    builder.spawn(body)
}
