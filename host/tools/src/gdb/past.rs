//! The debugger in the past of a run: backward, and forward again up to the present.

use std::time::Duration;

use flatland_machine::{Event, Machine, RunError, Wants};
use gdbstub::common::Signal;
use gdbstub::target::ext::base::reverse_exec::ReplayLogPosition;

use super::Debugger;
use super::guest::Resume;
use super::stub::StopReason;
use crate::timeline::{Cause, Found, Progress, Search, Target};

/// What goes on in the past, while the debugger waits for a stop. The machine is not resumed by the loop of the
/// observers then.
#[derive(Debug)]
pub enum Move {
    Forward,
    Back(Box<Search>),
}

impl Debugger {
    /// How long to run in the past before checking for packets.
    const SLICE: Duration = Duration::from_millis(20);

    /// The debugger resumes the guest: backward, forward in the past, or in the present.
    pub(super) fn resume(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        let Some(timeline) = &mut self.timeline else {
            self.is_held = false;
            return Ok(());
        };
        match self.state.resume {
            Resume::StepBack => {
                let reason = match timeline.step_back(machine)? {
                    true => StopReason::DoneStep,
                    false => BEGINNING,
                };
                self.report(machine, reason)
            }
            Resume::ContinueBack => {
                let breakpoints = self.state.breakpoints();
                let watchpoints = self.state.watchpoints().to_vec();
                if breakpoints.is_empty() && watchpoints.is_empty() {
                    return self.go_to_beginning(machine);
                }
                let search = timeline.search(machine, Target::Stops { breakpoints, watchpoints })?;
                self.in_the_past = Some(Move::Back(Box::new(search)));
                Ok(())
            }
            Resume::Continue | Resume::Step | Resume::Range(..) => {
                match timeline.is_in_the_past() {
                    true => self.in_the_past = Some(Move::Forward),
                    false => self.is_held = false,
                }
                Ok(())
            }
        }
    }

    fn go_to_beginning(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        if let Some(timeline) = &mut self.timeline {
            let beginning = timeline.beginning();
            timeline.go_to(machine, beginning)?;
        }
        self.report(machine, BEGINNING)
    }

    /// Runs in the past for a while.
    pub(super) fn move_on(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        let Some(timeline) = &mut self.timeline else { return Ok(()) };
        match self.in_the_past.take() {
            None => Ok(()),
            Some(Move::Back(search)) if self.is_interrupted => {
                timeline.end_search(machine, *search)?;
                self.interrupt(machine)
            }
            Some(Move::Forward) if self.is_interrupted => self.interrupt(machine),
            Some(Move::Back(mut search)) => match timeline.search_on(machine, &mut search)? {
                Progress::Searching => {
                    self.in_the_past = Some(Move::Back(search));
                    Ok(())
                }
                Progress::Found(found) => {
                    timeline.go_to_found(machine, &found)?;
                    let reason = self.reason_of(machine, &found)?;
                    self.report(machine, reason)
                }
                Progress::NotFound => self.go_to_beginning(machine),
            },
            Some(Move::Forward) => {
                let wants = Wants { clock: Some(Self::SLICE), ..self.state.wants() };
                match timeline.resume_in_the_past(machine, &wants)? {
                    None => self.at_present(machine),
                    Some(Event::Stopped(stopped)) => match self.reason(machine, &stopped)? {
                        Some(reason) => self.report(machine, reason),
                        None => {
                            self.in_the_past = Some(Move::Forward);
                            Ok(())
                        }
                    },
                    Some(event) => {
                        if event == Event::Interrupted {
                            machine.interrupt_handle().interrupt();
                        }
                        self.in_the_past = Some(Move::Forward);
                        Ok(())
                    }
                }
            }
        }
    }

    /// The run has come back to where it was. If it had ended there, it ends again.
    fn at_present(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        match self.end {
            Some(reason) => self.report(machine, reason),
            None => {
                self.is_held = false;
                Ok(())
            }
        }
    }

    fn interrupt(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        self.is_interrupted = false;
        self.report(machine, StopReason::Signal(Signal::SIGINT))
    }

    fn reason_of(&mut self, machine: &mut Machine, found: &Found) -> Result<StopReason, RunError> {
        let eip = machine.registers()?.eip;
        let of_watchpoint = match found.cause {
            Cause::Watchpoint(address, access) => self
                .state
                .watchpoint_at(address, access)
                .map(|kind| StopReason::Watch { tid: (), kind, addr: address }),
            _ => None,
        };
        Ok(match (of_watchpoint, self.state.breakpoint_at(eip)) {
            (Some(reason), _) => reason,
            (None, Some(false)) => StopReason::HwBreak(()),
            (None, _) => StopReason::SwBreak(()),
        })
    }
}

/// gdb says that there is no more history.
const BEGINNING: StopReason = StopReason::ReplayLog { tid: None, pos: ReplayLogPosition::Begin };
