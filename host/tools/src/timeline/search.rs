//! Searches the past for the last time that something happened.

use flatland_machine::{Checkpoint, Event, Machine, RunError, Stopped, Wants};
use flatland_x86::{Access, Location, Watchpoint};

use super::register::Writes;
use super::{Here, Register, Timeline, count};

/// What is searched.
#[derive(Clone, Debug)]
pub enum Target {
    /// The last arrival at one of these addresses, or access to one of these ranges.
    Stops {
        /// The addresses of instructions.
        breakpoints: Vec<u32>,
        /// The ranges.
        watchpoints: Vec<Watchpoint>,
    },
    /// The last instruction that wrote this register, if only with the value that it had.
    Register(Register),
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub cause: Cause,
    /// The instruction: the one at the breakpoint, or the one that made the access.
    pub instruction: Location,
    /// The point at the breakpoint, or behind the access.
    here: Here,
}

impl Found {
    /// The count of instructions there: at the breakpoint, or behind the access.
    pub fn count(&self) -> u64 {
        self.here.count
    }
}

/// Why a point was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The run comes to one of the breakpoints.
    Breakpoint,
    /// An instruction accesses a watched range: the first watched byte, and the kind of access.
    Watchpoint(u32, Access),
    /// An instruction writes the register.
    Register,
}

/// How far a search has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on.
    Searching,
    /// This is the last time before the search's start.
    Found(Found),
    /// It never happened since the beginning of the timeline.
    NotFound,
}

/// A search, in parts that are executed again, the latest first.
#[derive(Debug)]
pub struct Search {
    target: Target,
    /// Where it began, and the machine returns to at its end.
    origin: Checkpoint,
    here: Here,
    /// The part that is searched: counts of instructions.
    from: u64,
    to: u64,
    /// The machine is in this part, and the register has this value there.
    inside: Option<u32>,
    /// The last one in this part so far.
    last: Option<Found>,
    writes: Writes,
}

/// How many instructions are executed before somebody may end the search: 5 ms of the soft engine.
const CHUNK: u64 = 2_000_000;

/// The same where each is a step.
const STEPS: u64 = 50_000;

/// How many instructions before its start are searched for a register first. Most are changed there.
const FIRST_STEPS: u64 = 64;

/// The largest part in which instructions are executed one by one.
const MOST_STEPS: u64 = 4_000_000;

impl Timeline {
    /// Begins a search before this point. The machine is somewhere in the past until [`Self::end_search`].
    pub fn search(&mut self, machine: &mut Machine, target: Target) -> Result<Search, RunError> {
        self.leave_present(machine)?;
        let origin = machine.checkpoint()?;
        let here = Here::of(machine)?;
        let to = here.count;
        let mut search = Search {
            target,
            origin,
            here,
            from: to,
            to,
            inside: None,
            last: None,
            writes: Writes::default(),
        };
        self.next_part(&mut search);
        Ok(search)
    }

    /// Searches for a few milliseconds.
    pub fn search_on(&mut self, machine: &mut Machine, search: &mut Search) -> Result<Progress, RunError> {
        let wants = match &search.target {
            Target::Stops { breakpoints, watchpoints } => Wants {
                breakpoints: breakpoints.clone(),
                watchpoints: watchpoints.clone(),
                ..Wants::default()
            },
            Target::Register(_) => Wants { steps: true, ..Wants::default() },
        };
        let chunk = if wants.steps { STEPS } else { CHUNK };
        if search.inside.is_none() {
            self.run_to(machine, search.from)?;
            search.see(machine)?;
        }
        let pause = search.to.min(count(machine).saturating_add(chunk));
        let wants = Wants { instructions: Some(pause), ..wants };
        while count(machine) < pause {
            match machine.resume_in_the_past(&wants)? {
                Event::Stopped(stopped) => search.consider(machine, &stopped)?,
                Event::Ended(_) => break,
                Event::Interrupted => {
                    machine.interrupt_handle().interrupt();
                    return Ok(Progress::Searching);
                }
                _ => {}
            }
        }
        if pause < search.to {
            return Ok(Progress::Searching);
        }
        // The exceptions that are delivered before the point where the search began.
        while search.to == search.here.count
            && Here::of(machine)? != search.here
            && Here::of(machine)?.is_before_exceptions_of(&search.here)
        {
            let wants = Wants { steps: true, instructions: None, ..wants.clone() };
            let Event::Stopped(stopped) = machine.resume_in_the_past(&wants)? else { break };
            search.consider(machine, &stopped)?;
        }
        if search.to == search.here.count {
            search.consider_part(machine)?;
        }
        if let Some(found) = search.last {
            return Ok(Progress::Found(found));
        }
        if search.from <= self.beginning() {
            return Ok(Progress::NotFound);
        }
        self.next_part(search);
        Ok(Progress::Searching)
    }

    /// The part before this one.
    fn next_part(&self, search: &mut Search) {
        let to = search.from;
        let from = match search.target {
            Target::Stops { .. } => Here::of_checkpoint(self.marks.at_or_before(to.saturating_sub(1))).count,
            Target::Register(_) => {
                let len = (4 * (search.to - search.from)).clamp(FIRST_STEPS, MOST_STEPS);
                to.saturating_sub(len).max(self.beginning())
            }
        };
        (search.from, search.to, search.inside) = (from, to, None);
    }

    /// Goes back to where the search began.
    pub fn end_search(&mut self, machine: &mut Machine, search: Search) -> Result<(), RunError> {
        self.go_back(machine, &search.origin)?;
        self.return_to_present(machine)
    }

    /// Goes to what was found: to the breakpoint, or before the instruction that made the access.
    pub fn go_to_found(&mut self, machine: &mut Machine, found: &Found) -> Result<(), RunError> {
        self.leave_present(machine)?;
        self.run_to(machine, found.here.count.saturating_sub(1).max(self.beginning()))?;
        self.steps_to(machine, found.here, &Wants::nothing())?;
        // It may be in the middle of a repeated instruction, which is the next one here.
        if found.cause != Cause::Breakpoint && Here::of(machine)? == found.here {
            self.step_back(machine)?;
        }
        Ok(())
    }

    /// The last time that something happened before this point. The machine stays where it is. `None` also if the
    /// machine was interrupted.
    pub fn find(&mut self, machine: &mut Machine, target: Target) -> Result<Option<Found>, RunError> {
        let mut search = self.search(machine, target)?;
        let found = loop {
            match self.search_on(machine, &mut search)? {
                Progress::Searching if !machine.is_interrupted() => {}
                Progress::Searching | Progress::NotFound => break None,
                Progress::Found(found) => break Some(found),
            }
        };
        self.end_search(machine, search)?;
        Ok(found)
    }
}

impl Search {
    /// If the search began in the middle of a repeated instruction, that may have changed the register already.
    fn consider_part(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        if let Target::Register(register) = self.target
            && self.inside != Some(register.value(&self.here.registers))
        {
            let instruction = Location::At(machine.registers()?.eip);
            self.last = Some(Found { cause: Cause::Register, instruction, here: self.here });
        }
        Ok(())
    }

    /// The register's value now.
    fn see(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        let registers = machine.registers()?;
        self.inside = Some(match self.target {
            Target::Register(register) => register.value(&registers),
            Target::Stops { .. } => 0,
        });
        Ok(())
    }

    /// Keeps this point if it is one that is searched.
    fn consider(&mut self, machine: &mut Machine, stopped: &Stopped) -> Result<(), RunError> {
        let here = Here::of(machine)?;
        let before = self.inside;
        self.see(machine)?;
        let cause = match (&self.target, stopped) {
            (Target::Register(register), _) => {
                if self.inside == before && !self.writes.executed(machine, *register)? {
                    return Ok(());
                }
                Cause::Register
            }
            (_, Stopped { watchpoint: Some((address, access)), .. }) => Cause::Watchpoint(*address, *access),
            (_, Stopped { breakpoint: true, .. }) if here != self.here => Cause::Breakpoint,
            _ => return Ok(()),
        };
        let instruction = match cause {
            Cause::Breakpoint => Location::At(here.registers.eip),
            _ => machine.location()?,
        };
        self.last = Some(Found { cause, instruction, here });
        // The next instruction may be at a breakpoint, too.
        if stopped.breakpoint && cause != Cause::Breakpoint && here != self.here {
            let instruction = Location::At(here.registers.eip);
            self.last = Some(Found { cause: Cause::Breakpoint, instruction, here });
        }
        Ok(())
    }
}
