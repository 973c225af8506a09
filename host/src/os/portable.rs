//! With threads and nothing else: the bell is rung by a thread that sleeps, and input is read by a thread
//! that blocks. Ctrl-C ends the process on the spot.

mod alarm;
mod bell;
mod files;
mod ringer;

use std::io;

use crate::outcome::Signal;

pub use alarm::Alarm;
pub use bell::{Armed, answer, arm, is_rung};
pub(crate) use files::{InputFile, OutputFile};
pub(crate) use ringer::{Ringer, spawn_without_signals};

/// Does nothing here: the operating system's own way to end a program stays.
pub fn on_termination_signals() -> io::Result<()> {
    Ok(())
}

/// None here.
pub fn terminated_by() -> Option<Signal> {
    None
}
