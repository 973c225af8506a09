//! Outcomes as signals. gdb keeps the program after a signal, so that its state can be examined.

use flatland_contract::status;
use flatland_machine::{Outcome, Stop};
use flatland_x86::{Fault, FaultKind};
use gdbstub::common::Signal;

/// The signal that an operating system would send for this outcome. None if the state needs no examination.
pub fn signal(outcome: &Outcome) -> Option<Signal> {
    Some(match outcome {
        Outcome::Fault(Fault { kind, .. }) => match kind {
            // As in Linux (arch/x86/kernel/traps.c).
            FaultKind::Exception { vector: 0 | 16 | 19, .. } => Signal::SIGFPE,
            FaultKind::Exception { vector: 1 | 3, .. } => Signal::SIGTRAP,
            FaultKind::Exception { vector: 6, .. } | FaultKind::Unsupported { .. } => Signal::SIGILL,
            FaultKind::Exception { vector: 11 | 12 | 17, .. } => Signal::SIGBUS,
            // Bad system call: the device does not exist.
            FaultKind::Port { .. } => Signal::SIGSYS,
            FaultKind::TripleFault => Signal::SIGABRT,
            // Another exception, or an access that memory refuses.
            _ => Signal::SIGSEGV,
        },
        Outcome::Exited(status::PANIC) => Signal::SIGABRT,
        Outcome::Stopped(Stop::TimeLimit(_) | Stop::InstructionLimit(_), _) => Signal::SIGXCPU,
        _ => return None,
    })
}
