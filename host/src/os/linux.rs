//! On Linux, signals do it: they reach a thread inside KVM_RUN, and system calls that wait return.

mod alarm;
mod bell;
mod files;
mod ringer;
mod termination;

pub use alarm::Alarm;
pub use bell::{Armed, answer, arm, is_rung};
pub(crate) use files::{InputFile, OutputFile};
pub(crate) use ringer::{Ringer, spawn_without_signals};
pub use termination::{on_termination_signals, terminated_by};
