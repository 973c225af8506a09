//! How a run ended.

use std::fmt;
use std::time::Duration;

use flatland_contract::status;

use flatland_x86::{Fault, Location};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The guest executed `hlt`.
    Halted,
    /// The guest read the console past the end of input.
    EndOfInput,
    /// The guest sent its status to the exit port.
    Exited(u8),
    /// The processor could not continue.
    Fault(Fault),
    /// The run was ended from outside, with the guest at this location.
    Stopped(Stop, Location),
    /// The reader of the guest's output has closed it.
    OutputClosed,
}

/// Why a run was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The time limit, of this length.
    TimeLimit(Duration),
    /// The instruction limit, of this many instructions.
    InstructionLimit(u64),
    /// [`InterruptHandle::interrupt`](crate::InterruptHandle::interrupt).
    Interrupted,
    /// A signal. The machine itself handles no signals: a program that does replaces [`Self::Interrupted`] by this.
    Signal(Signal),
    /// The debugger sent `kill`, or disconnected without a way to reconnect.
    Debugger,
    /// The recording of a run that was killed ends here.
    EndOfRecording,
}

/// A signal that ends programs (signal(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Signal {
    /// The terminal was closed.
    Hangup = 1,
    /// Ctrl-C.
    Interrupt = 2,
    /// A request to terminate.
    Terminate = 15,
}

impl Signal {
    /// The signal's number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The signal of this number.
    pub fn from_number(number: i32) -> Option<Self> {
        let all = [Self::Hangup, Self::Interrupt, Self::Terminate];
        all.into_iter().find(|signal| i32::from(signal.number()) == number)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

impl Outcome {
    /// Whether it was not the guest that ended the run.
    pub(crate) fn is_from_outside(&self) -> bool {
        matches!(self, Outcome::Stopped(..) | Outcome::OutputClosed)
    }

    /// The exit status of the host program.
    pub fn status(&self) -> u8 {
        match *self {
            Outcome::Halted | Outcome::EndOfInput => status::SUCCESS,
            Outcome::Exited(status) => status,
            Outcome::Fault(_) => status::FAULT,
            Outcome::Stopped(Stop::TimeLimit(_) | Stop::InstructionLimit(_), _) => status::TIME_LIMIT,
            Outcome::Stopped(Stop::Signal(signal), _) => status::SIGNAL + signal.number(),
            Outcome::Stopped(Stop::Debugger | Stop::Interrupted | Stop::EndOfRecording, _) => status::KILLED,
            Outcome::OutputClosed => status::OUTPUT_CLOSED,
        }
    }

    /// Where the guest was, if the run ended with a fault or from outside.
    pub fn location(&self) -> Option<Location> {
        match *self {
            Outcome::Fault(Fault { location, .. }) | Outcome::Stopped(_, location) => Some(location),
            Outcome::Halted | Outcome::EndOfInput | Outcome::Exited(_) | Outcome::OutputClosed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flatland_x86::FaultKind;

    #[test]
    fn statuses_of_the_contract() {
        let at = Location::At(0);
        for (outcome, status) in [
            (Outcome::Halted, 0),
            (Outcome::EndOfInput, 0),
            (Outcome::Exited(0), 0),
            (Outcome::Exited(101), 101),
            (Outcome::Exited(255), 255),
            (Outcome::Fault(Fault { kind: FaultKind::TripleFault, location: at }), 134),
            (Outcome::Stopped(Stop::TimeLimit(Duration::from_secs(1)), at), 124),
            (Outcome::Stopped(Stop::InstructionLimit(9), at), 124),
            (Outcome::Stopped(Stop::Signal(Signal::Interrupt), at), 130),
            (Outcome::Stopped(Stop::Signal(Signal::Terminate), at), 143),
            (Outcome::Stopped(Stop::Debugger, at), 137),
            (Outcome::OutputClosed, 141),
        ] {
            assert_eq!(outcome.status(), status, "{outcome:?}");
        }
    }
}
