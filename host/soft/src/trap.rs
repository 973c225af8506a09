//! Debug exceptions of the guest's own (SDM volume 3, section 19.3.1), and the host's stops after an instruction.

use flatland_x86::{DebugStop, Location};

use super::cpu::{DEBUG_EXCEPTION, debug_bits};
use super::event::{Event, EventKind};
use super::flags::{RF, TF};
use super::{BlockEnd, SoftEngine, Stopped};

/// What the checks after an instruction need to know about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AfterInstruction {
    /// The instruction's address.
    pub eip: u32,
    /// Whether TF was set before it.
    pub trap: bool,
    /// Whether it is complete; a repeated one may not be.
    pub complete: bool,
}

impl SoftEngine {
    /// The checks after the instruction that was just completed, if any are needed.
    pub(super) fn one_by_one(&self, eip: u32, complete: bool) -> Option<AfterInstruction> {
        let trap = self.cpu.control_flags & TF != 0;
        (self.limit() == 0).then_some(AfterInstruction { eip, trap, complete })
    }

    /// Stops at the guest's own breakpoint at the next instruction, if there is one. `None` if there is none.
    pub(super) fn stop_at_breakpoint(&mut self) -> Option<BlockEnd> {
        let causes = self.cpu.breakpoints_here();
        (causes != 0).then(|| self.debug_exception(causes, EventKind::Fault))
    }

    /// The next instruction is executed without its breakpoints, if RF is set. Returns RF.
    pub(super) fn take_resume_flag(&mut self) -> u32 {
        let resume = self.cpu.control_flags & RF;
        self.cpu.control_flags &= !RF;
        resume
    }

    /// An instruction has been left in this way, which may have to be executed again: then without its breakpoints, if it has
    /// begun, or if RF was set.
    pub(super) fn keep_resume_flag(&mut self, end: &BlockEnd, eip: u32, resume: u32) {
        let waits = match end {
            BlockEnd::Again => RF,
            BlockEnd::Stopped(Stopped::In(_)) => resume,
            BlockEnd::Stopped(Stopped::Out { .. }) if self.cpu.eip == eip => RF,
            _ => 0,
        };
        if self.cpu.has_breakpoints() {
            self.cpu.control_flags |= waits;
        }
    }

    /// The transfers that an instruction has waited for are made, and it is complete or goes on.
    pub(super) fn input_completed(&mut self, complete: bool) {
        self.take_resume_flag();
        if !complete && self.cpu.has_breakpoints() {
            self.cpu.control_flags |= RF;
        }
    }

    fn debug_exception(&mut self, causes: u32, kind: EventKind) -> BlockEnd {
        self.cpu.note_debug_exception(causes);
        let event = Event { vector: DEBUG_EXCEPTION, error_code: None, kind };
        // A trap is between two instructions: its location is the next one.
        self.on_event(event, self.cpu.eip, self.cpu.eip)
    }

    /// A debug exception was delivered, so its handler may access the debug registers (SDM volume 3, section 19.2.4).
    pub(super) fn entered_handler(&mut self, event: Event) {
        if event.vector == DEBUG_EXCEPTION && event.kind != EventKind::Software {
            self.cpu.debug[7] &= !debug_bits::DR7_DETECT;
        }
    }

    /// The checks after an instruction: the guest's own traps, and the host's stops.
    pub(super) fn after_instruction(&mut self, after: AfterInstruction) -> Option<Stopped> {
        let AfterInstruction { eip, trap, mut complete } = after;
        let causes = self.cpu.causes_of_trap(trap);
        if causes != 0 {
            if let BlockEnd::Stopped(stopped) = self.debug_exception(causes, EventKind::Trap) {
                return Some(stopped);
            }
            // The handler runs even if the repeated instruction is not complete.
            complete = true;
        }
        if !complete {
            return None;
        }
        let location = Location::At(eip);
        if let Some((address, access)) = self.cpu.memory.watch.take_hit() {
            return Some(self.debug_stop(DebugStop::Watchpoint { address, access }, location));
        }
        self.stops.step.then(|| self.debug_stop(DebugStop::Step, location))
    }

    pub(super) fn debug_stop(&mut self, stop: DebugStop, location: Location) -> Stopped {
        self.location = location;
        self.reported = Some(self.cpu.eip);
        Stopped::Debug(stop)
    }
}
