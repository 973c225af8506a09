//! Going back in time: a run on the soft engine is executed again from checkpoints, with the same inputs.
//!
//! Nothing runs backward. To go to a point of the past, the run goes back to the last checkpoint before it (`marks`),
//! and forward from there. To find the last time that something happened, it executes one part after the other again,
//! the latest first (`search`). rr's `ReplayTimeline` is the model.

mod marks;
mod register;
mod search;

use flatland_machine::{Checkpoint, Event, Machine, MoveError, RunError, Stopped, Wants};
use flatland_x86::Registers;

use crate::{Observer, Verdict};
use marks::Marks;
pub use register::Register;
pub use search::{Cause, Found, Progress, Search, Target};

/// The past of a run: it can be gone to, and searched.
///
/// As an [`Observer`] it keeps checkpoints while the run goes on. It is for a machine whose registers and memory nobody
/// changes from outside: where somebody does, the past is forgotten, because it cannot be repeated.
///
/// Memory: [`Self::bytes`], at most [`Self::BOUND`] by default, and the inputs of the run.
///
/// ```
/// use flatland_machine::{EngineChoice, Machine, Program};
/// use flatland_tools::timeline::Timeline;
///
/// // inc eax; inc eax; inc eax; hlt
/// let program = Program::from_bytes(vec![0x40, 0x40, 0x40, 0xf4])?;
/// let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program)?;
/// let mut timeline = Timeline::new(&mut machine)?;
/// flatland_tools::observe(&mut machine, &mut [&mut timeline])?;
/// assert_eq!((machine.registers()?.eax, machine.instructions()), (3, Some(4)));
/// timeline.go_to(&mut machine, 1)?;
/// assert_eq!(machine.registers()?.eax, 1);
/// assert!(timeline.step_back(&mut machine)?);
/// assert_eq!(machine.registers()?.eax, 0);
/// assert!(!timeline.step_back(&mut machine)?, "this is the beginning");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Timeline {
    marks: Marks,
    /// The present, while the machine is in the past.
    present: Option<Checkpoint>,
    /// The number of instructions between two checkpoints of the present.
    spacing: u64,
    /// [`Machine::changes`] when this was last looked at: more are somebody else's.
    changes: u64,
}

/// Where a run is: the count of instructions, and the registers, since a delivered exception and a part of a repeated
/// instruction do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Here {
    count: u64,
    registers: Registers,
}

impl Here {
    fn of(machine: &mut Machine) -> Result<Self, RunError> {
        Ok(Self { count: count(machine), registers: machine.registers()? })
    }

    fn of_checkpoint(checkpoint: &Checkpoint) -> Self {
        Self { count: checkpoint.instructions().unwrap_or_default(), registers: checkpoint.registers() }
    }

    /// Whether a run that is here has only to deliver exceptions to be there. Each pushes a frame. If there is none to
    /// push, `there` is in the middle of this repeated instruction.
    fn is_before_exceptions_of(&self, there: &Self) -> bool {
        self.count == there.count && self.registers.esp != there.registers.esp
    }
}

/// The count of instructions. [`Timeline::new`] checks that they are counted.
fn count(machine: &Machine) -> u64 {
    machine.instructions().unwrap_or_default()
}

/// Whether the run has stopped at a breakpoint or a watchpoint.
fn is_stop(stopped: &Stopped) -> bool {
    stopped.breakpoint || stopped.watchpoint.is_some()
}

/// An interrupt that came while a part of the run was executed again. It is for the caller's loop.
#[derive(Debug, Default)]
struct Postponed(bool);

impl Postponed {
    /// Resumes in the past. An interrupt does not end that.
    fn resume(&mut self, machine: &mut Machine, wants: &Wants) -> Result<Event, RunError> {
        loop {
            match machine.resume_in_the_past(wants)? {
                Event::Interrupted => self.0 = true,
                event => return Ok(event),
            }
        }
    }

    fn deliver(self, machine: &Machine) {
        if self.0 {
            machine.interrupt_handle().interrupt();
        }
    }
}

impl Timeline {
    /// The default bound of the memory that checkpoints take: 256 MiB.
    pub const BOUND: usize = 256 << 20;

    /// The default number of instructions between checkpoints: 50 ms of the soft engine.
    pub const SPACING: u64 = 20_000_000;

    /// Going to a point leaves a checkpoint this many instructions before it, because the next step back goes there.
    const NEAR: u64 = 500_000;

    /// The past of this run begins here. The run moves to the soft engine. An error if that cannot go on with it, or
    /// if it has been on KVM, which does not count instructions.
    pub fn new(machine: &mut Machine) -> Result<Self, MoveError> {
        machine.keep_inputs()?;
        machine
            .check(&Wants { instructions: Some(0), ..Wants::default() })
            .map_err(MoveError::Unsupported)?;
        let marks = Marks::new(machine.checkpoint().map_err(MoveError::Engine)?, Self::BOUND);
        Ok(Self { marks, present: None, spacing: Self::SPACING, changes: machine.changes() })
    }

    /// Sets how much memory the checkpoints may take, in bytes. The first and the last one stay in any case.
    pub fn set_bound(&mut self, bytes: usize) {
        self.marks.bound = bytes;
    }

    /// Sets how many instructions lie between two checkpoints of the present.
    pub fn set_spacing(&mut self, instructions: u64) {
        self.spacing = instructions.max(1);
    }

    /// How many bytes of memory the checkpoints take.
    pub fn bytes(&self) -> usize {
        self.marks.bytes() + self.marks.reserved()
    }

    /// How many checkpoints there are.
    pub fn checkpoints(&self) -> usize {
        self.marks.len()
    }

    /// Where the past begins: a count of instructions.
    pub fn beginning(&self) -> u64 {
        Here::of_checkpoint(self.marks.first()).count
    }

    /// Where the run is in the present: a count of instructions.
    pub fn end(&self, machine: &Machine) -> u64 {
        self.present.as_ref().map_or_else(|| count(machine), |present| Here::of_checkpoint(present).count)
    }

    /// Whether the machine is in the past.
    pub fn is_in_the_past(&self) -> bool {
        self.present.is_some()
    }

    /// Goes to the first point with this count of instructions, or to the nearest end of the timeline.
    pub fn go_to(&mut self, machine: &mut Machine, count: u64) -> Result<(), RunError> {
        if count >= self.end(machine) {
            return self.go_to_end(machine);
        }
        self.leave_present(machine)?;
        self.run_to(machine, count.max(self.beginning()))
    }

    /// Goes back to the present.
    pub fn go_to_end(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        if let Some(present) = self.present.take() {
            self.marks.reserve(0);
            self.go_back(machine, &present)?;
        }
        Ok(())
    }

    /// Goes to the instruction before this one. A delivered exception is undone alone, and so is the part of a
    /// repeated instruction that has been executed. Returns `false` at the beginning.
    pub fn step_back(&mut self, machine: &mut Machine) -> Result<bool, RunError> {
        self.leave_present(machine)?;
        let here = Here::of(machine)?;
        let from = here.count.saturating_sub(1).max(self.beginning());
        self.run_to(machine, from)?;
        let start = machine.checkpoint()?;
        let steps = self.steps_to(machine, here, &Wants::nothing())?.len();
        let is_there = Here::of(machine)? == here;
        if steps == 0 && is_there {
            self.return_to_present(machine)?;
            return Ok(false);
        }
        self.go_back(machine, &start)?;
        // If the last step has not come to `here`, that is inside of the next instruction.
        let mut postponed = Postponed::default();
        for _ in 0..steps - usize::from(is_there && steps > 0) {
            postponed.resume(machine, &Wants { steps: true, ..Wants::default() })?;
        }
        postponed.deliver(machine);
        Ok(true)
    }

    /// Runs on in the past, up to an event or to the present, which gives `None`: there the caller resumes the machine
    /// itself. `wants.instructions` is not used.
    pub fn resume_in_the_past(
        &mut self,
        machine: &mut Machine,
        wants: &Wants,
    ) -> Result<Option<Event>, RunError> {
        let Some(present) = self.present.as_ref().map(Here::of_checkpoint) else { return Ok(None) };
        let start = Here::of(machine)?;
        let event = match start.count < present.count {
            true => {
                // A step that begins at its limit makes none.
                let wants = Wants { instructions: Some(present.count), ..wants.clone() };
                let event = machine.resume_in_the_past(&wants)?;
                // A breakpoint here is no news, also at the beginning, which nothing has reported.
                let is_here = matches!(event, Event::Stopped(_)) && Here::of(machine)? == start;
                Some(if is_here { machine.resume_in_the_past(&wants)? } else { event })
            }
            false => None,
        };
        let here = Here::of(machine)?;
        if here.count < present.count {
            // The end of a run is in the present.
            return Ok(event.filter(|event| !matches!(event, Event::Ended(_))));
        }
        let is_stop = |event: &Event| {
            matches!(event, Event::Stopped(stopped)
                if is_stop(stopped) || (wants.steps && stopped.stepped))
        };
        let mut event = event;
        if here != present && !event.as_ref().is_some_and(is_stop) {
            event = self.steps_to(machine, present, wants)?.pop().filter(is_stop);
        }
        if Here::of(machine)? == present || !event.as_ref().is_some_and(is_stop) {
            self.go_to_end(machine)?;
        }
        Ok(event.filter(is_stop))
    }

    /// Steps in the past until the run is there, at most to where the next instruction would go beyond that. Returns
    /// the events of these steps, up to one that is wanted.
    fn steps_to(&self, machine: &mut Machine, there: Here, wants: &Wants) -> Result<Vec<Event>, RunError> {
        let (mut events, mut postponed) = (Vec::new(), Postponed::default());
        let wants_steps = wants.steps;
        let wants = Wants { steps: true, instructions: None, clock: None, transfers: false, ..wants.clone() };
        loop {
            let here = Here::of(machine)?;
            let is_before = here.count < there.count || here.is_before_exceptions_of(&there);
            if here == there || !is_before {
                break;
            }
            let event = postponed.resume(machine, &wants)?;
            let ends = match &event {
                Event::Stopped(stopped) => is_stop(stopped) || wants_steps,
                _ => true,
            };
            events.push(event);
            if ends {
                break;
            }
        }
        postponed.deliver(machine);
        Ok(events)
    }

    /// Runs to the first point with this count, which is not behind the present.
    fn run_to(&mut self, machine: &mut Machine, to: u64) -> Result<(), RunError> {
        let now = count(machine);
        let mark = self.marks.at_or_before(to);
        let from = mark.instructions().unwrap_or_default();
        // From here it is nearer.
        if !(from..to).contains(&now) {
            machine.go_back(mark)?;
        }
        let mut postponed = Postponed::default();
        let near = to.saturating_sub(Self::NEAR);
        if near > count(machine).saturating_add(2 * Self::NEAR) {
            postponed.resume(machine, &Wants { instructions: Some(near), ..Wants::default() })?;
            self.marks.insert(machine.checkpoint()?);
        }
        while count(machine) < to {
            let event = postponed.resume(machine, &Wants { instructions: Some(to), ..Wants::default() })?;
            if let Event::Ended(_) = event {
                break;
            }
        }
        postponed.deliver(machine);
        self.changes = machine.changes();
        Ok(())
    }

    /// Keeps the present, if the machine is there.
    fn leave_present(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        self.forget_if_changed(machine)?;
        if self.present.is_none() {
            let present = machine.checkpoint()?;
            let near = self.marks.at_or_before(Here::of_checkpoint(&present).count);
            let bytes = present.bytes_not_in(&[near]);
            self.present = Some(present);
            self.marks.reserve(bytes);
        }
        Ok(())
    }

    /// Goes back to the present if the machine is where it left it.
    fn return_to_present(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        let here = Here::of(machine)?;
        if self.present.as_ref().is_some_and(|present| Here::of_checkpoint(present) == here) {
            self.go_to_end(machine)?;
        }
        Ok(())
    }

    fn go_back(&mut self, machine: &mut Machine, to: &Checkpoint) -> Result<(), RunError> {
        machine.go_back(to)?;
        self.changes = machine.changes();
        Ok(())
    }

    /// What somebody has changed by hand cannot be repeated: the past begins behind it.
    fn forget_if_changed(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        if machine.changes() != self.changes {
            self.present = None;
            self.marks.reserve(0);
            let first = machine.checkpoint()?;
            self.marks.begin_anew(first);
            self.changes = machine.changes();
        }
        Ok(())
    }
}

impl Observer for Timeline {
    fn resumes(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        self.forget_if_changed(machine)?;
        self.go_to_end(machine)
    }

    fn wants(&self) -> Wants {
        let next = self.marks.last_count().saturating_add(self.spacing);
        Wants { instructions: Some(next), ..Wants::default() }
    }

    fn observe(&mut self, machine: &mut Machine, _: &Event) -> Result<Verdict, RunError> {
        if !self.is_in_the_past()
            && machine.changes() == self.changes
            && count(machine) >= self.marks.last_count().saturating_add(self.spacing)
        {
            self.marks.insert(machine.checkpoint()?);
        }
        Ok(Verdict::Continue)
    }
}
