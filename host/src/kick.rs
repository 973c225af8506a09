//! What makes a run come back before the guest does anything: the clock and the signals that end programs.
//!
//! An engine may be inside the kernel for hours (`jmp $`), and only a signal on its own thread fetches it. A
//! signal that arrives just before the engine enters the kernel must not be lost either, so the handler
//! rings a bell: it sets a flag of its thread, and through [`arm`] the engine's own "return at once" flag
//! (KVM's `immediate_exit`, KVM API 5).
//!
//! The bell is a thread's own, so machines on several threads do not wake each other. The signals that end
//! programs are the process's: whoever wants them calls [`on_termination_signals`], and from the first one on every
//! run of the process stops at once.
//!
//! On Linux, a run with a time limit or with a terminal, file or pipe behind its streams takes SIGALRM for itself.

pub use crate::os::{Alarm, Armed, answer, arm, is_rung, on_termination_signals, terminated_by};
pub(crate) use crate::os::{Ringer, spawn_without_signals};
