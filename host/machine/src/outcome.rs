//! How a run ended.

use std::fmt;
use std::time::Duration;

use flatland_contract::status;

use crate::Names;
use crate::fault::{Fault, Location};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest executed `hlt`.
    Halted,
    /// The guest read the console past the end of input.
    EndOfInput,
    /// The guest sent its status to the exit port.
    Exited(u8),
    /// The processor could not go on.
    Fault(Fault),
    /// Somebody or something outside ended it, with the guest here.
    Stopped(Stop, Location),
    /// The reader of the guest's output has gone away.
    OutputClosed,
}

/// What can end a run from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The time limit, which was this long.
    TimeLimit(Duration),
    /// The limit of instructions, which was this many.
    InstructionLimit(u64),
    /// One of the signals that end programs.
    Signal(Signal),
    /// The debugger: it said so, or it has gone without a word.
    Debugger,
    /// The guest asks for input, which is where [`Machine::run_until_input`](crate::Machine::run_until_input) ends.
    Input,
}

/// A signal that ends programs (signal(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// The terminal is gone.
    Hangup = 1,
    /// Ctrl-C.
    Interrupt = 2,
    /// Somebody asked for the end.
    Terminate = 15,
}

impl Signal {
    /// Its number.
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
    /// The exit status of the host program.
    pub fn status(&self) -> u8 {
        match *self {
            Outcome::Halted | Outcome::EndOfInput => status::SUCCESS,
            Outcome::Exited(status) => status,
            Outcome::Fault(_) => status::FAULT,
            Outcome::Stopped(Stop::TimeLimit(_) | Stop::InstructionLimit(_), _) => status::TIME_LIMIT,
            Outcome::Stopped(Stop::Signal(signal), _) => status::SIGNAL + signal.number(),
            Outcome::Stopped(Stop::Debugger, _) => status::KILLED,
            Outcome::Stopped(Stop::Input, _) => status::SUCCESS,
            Outcome::OutputClosed => status::OUTPUT_CLOSED,
        }
    }

    /// Where the guest was, if that is of interest.
    pub fn location(&self) -> Option<Location> {
        match *self {
            Outcome::Fault(Fault { location, .. }) | Outcome::Stopped(_, location) => Some(location),
            Outcome::Halted | Outcome::EndOfInput | Outcome::Exited(_) | Outcome::OutputClosed => None,
        }
    }

    /// What a person is told, or nothing where the guest ended the run itself or the reader of its output
    /// did. `names` are those of this outcome, as far as they are known.
    pub fn message(&self, names: &Names) -> Option<String> {
        let Names { place, section } = names;
        match self {
            Outcome::Halted | Outcome::EndOfInput | Outcome::Exited(_) | Outcome::OutputClosed => None,
            Outcome::Fault(Fault { kind, location }) => {
                let words = kind.words(section.as_deref());
                Some(format!("{words} {location}{place}: {}", kind.advice()))
            }
            Outcome::Stopped(Stop::TimeLimit(limit), location) => Some(format!(
                "time limit of {} s reached, the guest {location}{place}: give it more with --timeout SECONDS",
                limit.as_secs_f64()
            )),
            Outcome::Stopped(Stop::InstructionLimit(limit), location) => Some(format!(
                "limit of {limit} instructions reached, the guest {location}{place}: give it more with \
                 --max-instructions COUNT"
            )),
            Outcome::Stopped(Stop::Signal(Signal::Interrupt), location) => Some(format!(
                "interrupted by Ctrl-C, the guest {location}{place}: --timeout SECONDS ends a run by itself"
            )),
            // Who did it knows.
            Outcome::Stopped(Stop::Debugger | Stop::Input, _) => None,
            Outcome::Stopped(Stop::Signal(signal), location) => Some(format!(
                "ended by {signal}, the guest {location}{place}: run it again if that was not meant"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;
    use crate::fault::FaultKind;

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

    #[test]
    fn who_ends_by_itself_is_not_commented_on() {
        for outcome in [Outcome::Halted, Outcome::EndOfInput, Outcome::Exited(7), Outcome::OutputClosed] {
            assert_eq!(outcome.message(&Names::default()), None);
        }
    }

    #[test]
    fn messages() {
        let at = Location::At(0x12);
        let fault = Fault { kind: FaultKind::Exception { vector: 0, error_code: None }, location: at };
        let place = Place { function: Some("main".into()), line: Some(("main.rs".into(), 7)) };
        let names = Names { place, section: Some(".text".into()) };
        let write = Fault { kind: FaultKind::ReadOnly { address: 0x1000 }, location: at };
        for (outcome, message) in [
            (
                Outcome::Fault(fault),
                "divide error (#DE) at 0x00000012 in main (main.rs:7): correct the instruction there, or \
                 handle the exception with an IDT of the guest's own",
            ),
            (
                Outcome::Fault(write),
                "write to read-only memory (.text) at 0x00001000, by the instruction at 0x00000012 in main \
                 (main.rs:7): mend the pointer; or run the image without --symbols, where all of RAM can be written",
            ),
            (
                Outcome::Stopped(Stop::TimeLimit(Duration::from_millis(500)), at),
                "time limit of 0.5 s reached, the guest at 0x00000012 in main (main.rs:7): give it more \
                 with --timeout SECONDS",
            ),
            (
                Outcome::Stopped(Stop::Signal(Signal::Interrupt), at),
                "interrupted by Ctrl-C, the guest at 0x00000012 in main (main.rs:7): --timeout SECONDS ends \
                 a run by itself",
            ),
        ] {
            assert_eq!(outcome.message(&names).as_deref(), Some(message));
        }
    }
}
