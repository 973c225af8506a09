//! The events of a run, and how to request them.

use flatland_contract::Direction;
use flatland_x86::{Access, DebugStop, Stops, Watchpoint};
use std::time::Duration;

use crate::Outcome;

/// The events that [`Machine::resume`](crate::Machine::resume) returns for. It always returns for the end of a run and for an
/// interrupt. Events that are not wanted cost nothing. Fields may be added: end with `..Wants::default()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Each transfer at a port, after it was made.
    pub transfers: bool,
    /// Each instruction, after it was executed.
    pub steps: bool,
    /// Before the instruction at each of these addresses.
    pub breakpoints: Vec<u32>,
    /// After an instruction that accesses one of these ranges. Only `soft` can do it.
    pub watchpoints: Vec<Watchpoint>,
    /// After this many instructions since entry. Only `soft` can do it.
    pub instructions: Option<u64>,
    /// Before the guest reads input, or asks how much of it is ready. No input has been taken yet.
    pub input: bool,
    /// After this much time of running or waiting.
    pub clock: Option<Duration>,
}

impl Wants {
    /// No events but the end and interrupts.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// The events that either of the two wants.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        let Self { transfers, steps, breakpoints, watchpoints, instructions, input, clock } = other;
        self.transfers |= transfers;
        self.steps |= steps;
        self.input |= input;
        for address in breakpoints {
            if !self.breakpoints.contains(address) {
                self.breakpoints.push(*address);
            }
        }
        for watchpoint in watchpoints {
            if !self.watchpoints.contains(watchpoint) {
                self.watchpoints.push(*watchpoint);
            }
        }
        self.instructions = self.instructions.into_iter().chain(*instructions).min();
        self.clock = self.clock.into_iter().chain(*clock).min();
        self
    }

    /// The engine's stops for these events. `limit` is the run's own instruction limit.
    pub(crate) fn stops(&self, limit: Option<u64>) -> Stops {
        Stops {
            step: self.steps,
            breakpoints: self.breakpoints.clone(),
            watchpoints: self.watchpoints.clone(),
            each_transfer: self.transfers,
            instructions: self.instructions.into_iter().chain(limit).min(),
        }
    }
}

/// Why [`Machine::resume`](crate::Machine::resume) has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The guest made a transfer. The device has taken the data, or the guest has its input.
    Transfer(Transfer),
    /// The processor stopped at a step, a breakpoint, a watchpoint or an instruction count.
    Stopped(Stopped),
    /// The guest is about to read input. Its instruction is not complete.
    InputWanted,
    /// The time of [`Wants::clock`] has passed.
    Clock,
    /// [`InterruptHandle::interrupt`](crate::InterruptHandle::interrupt) was called.
    Interrupted,
    /// The run has ended, and all of its output has been written. Each further call returns the same, unless a limit ended the
    /// run.
    Ended(Outcome),
}

/// A transfer that an instruction made at a port: one, or several of the same width if it was a string instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transfer {
    /// The port's number.
    pub port: u16,
    /// The size of each transfer in bytes.
    pub width: u8,
    /// The direction.
    pub direction: Direction,
    /// The bytes of all transfers, in order.
    pub data: Vec<u8>,
}

/// All wanted stops that apply where the processor has stopped. Several may apply, because several observers may
/// share one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// An instruction was executed, and steps are wanted.
    pub stepped: bool,
    /// The next instruction is at a breakpoint.
    pub breakpoint: bool,
    /// The last instruction accessed a watched range: the first watched byte, and the kind of access
    /// ([`Access::Write`] if it both read and wrote).
    pub watchpoint: Option<(u32, Access)>,
    /// The number of [`Wants::instructions`] has been executed.
    pub instructions: bool,
}

impl Stopped {
    /// Adds to the engine's one reason all others that apply at this address.
    pub(crate) fn new(stop: DebugStop, wants: &Wants, eip: u32) -> Self {
        Self {
            stepped: wants.steps && matches!(stop, DebugStop::Step | DebugStop::Watchpoint { .. }),
            breakpoint: wants.breakpoints.contains(&eip),
            watchpoint: match stop {
                DebugStop::Watchpoint { address, access } => Some((address, access)),
                _ => None,
            },
            instructions: stop == DebugStop::InstructionLimit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_either_are_wanted() {
        let one = Wants { steps: true, breakpoints: vec![1, 2], instructions: Some(9), ..Wants::default() };
        let other = Wants {
            breakpoints: vec![2, 3],
            instructions: Some(7),
            clock: Some(Duration::from_millis(20)),
            input: true,
            ..Wants::default()
        };
        let both = Wants {
            steps: true,
            breakpoints: vec![1, 2, 3],
            instructions: Some(7),
            clock: Some(Duration::from_millis(20)),
            input: true,
            ..Wants::default()
        };
        assert_eq!(one.clone().or(&other), both);
        assert_eq!(one.clone().or(&Wants::nothing()), one);
        assert_eq!(both.stops(Some(5)).instructions, Some(5));
        assert_eq!(Wants::nothing().stops(None), Stops::default());
    }

    #[test]
    fn all_reasons_of_a_stop_are_reported() {
        let wants = Wants { steps: true, breakpoints: vec![0x10], ..Wants::default() };
        let at_breakpoint = Stopped { stepped: true, breakpoint: true, ..Stopped::default() };
        assert_eq!(Stopped::new(DebugStop::Step, &wants, 0x10), at_breakpoint);
        let watch = DebugStop::Watchpoint { address: 4, access: Access::Read };
        let watched = Stopped { stepped: true, watchpoint: Some((4, Access::Read)), ..Stopped::default() };
        assert_eq!(Stopped::new(watch, &wants, 0x12), watched);
        let begins = Stopped { breakpoint: true, ..Stopped::default() };
        assert_eq!(Stopped::new(DebugStop::Breakpoint, &wants, 0x10), begins);
    }
}
