//! Where a recorded run was stopped from outside, or by an instruction that its engine lacks, if nobody counted its
//! instructions. KVM does not.
//!
//! Once a replay has read and sent all that was recorded, it stops at each execution of the instruction that was the next
//! one, until registers and RAM are those of the recorded end.

use flatland_x86::{Fault, FaultKind};

use super::{Machine, RunError};
use crate::recording::HashOfRam;
use crate::{Diverged, End, Outcome};

/// The search for the end of the recorded run.
#[derive(Debug, Default)]
pub(super) struct Sought {
    /// After how many instructions it was found.
    found: Option<u64>,
    /// How often only RAM was not that of the end.
    near: u32,
}

impl Sought {
    /// A loop that changes RAM and no register comes by here each time. Comparing RAM takes 3 us and 0.1 us for each KiB
    /// that is not zero.
    const MOST_NEAR: u32 = 50_000;
}

impl Machine {
    /// Whether the end of this replay is found by what the machine looks like there.
    pub(super) fn seeks_end(&self) -> bool {
        let is_counted = self.recorded_limit().is_some();
        !is_counted && self.recorded_end().is_some_and(|end| is_of_engine(&end.outcome))
    }

    /// The end to look for from here on.
    fn sought_end(&self) -> Option<&End> {
        let has_all = self.replayed().is_some_and(|playback| playback.check_totals().is_ok());
        self.recorded_end().filter(|_| has_all && self.seeks_end())
    }

    /// The instruction to stop at.
    pub(super) fn sought_breakpoint(&self) -> Option<u32> {
        Some(self.sought_end()?.registers.eip)
    }

    /// The recorded end of a run whose reader went away, if all that was read is sent. What was sent to nobody is not
    /// recorded, so registers and RAM are not those of the end.
    pub(super) fn output_is_closed_here(&self) -> bool {
        self.sought_end().is_some_and(|end| end.outcome == Outcome::OutputClosed)
    }

    /// After how many instructions the end was found.
    pub(super) fn found_end(&self) -> Option<u64> {
        self.sought.found
    }

    /// The recorded outcome, if the recorded run was stopped here.
    pub(super) fn sought_end_is_here(&mut self) -> Result<Option<Outcome>, RunError> {
        let Some(end) = self.sought_end().cloned() else { return Ok(None) };
        let registers = self.engines.current.registers()?;
        if !self.are_same_registers(registers, &end) {
            return Ok(None);
        }
        // A copy has only what has changed since the last one, and knows which pages are zeros.
        if HashOfRam::of(&self.engines.current.save_ram()?) == end.ram {
            self.sought.found = self.engines.current.instructions();
            return Ok(Some(end.outcome));
        }
        self.sought.near += 1;
        match self.sought.near {
            Sought::MOST_NEAR => Err(self.diverged(Diverged::StopNotFound)),
            _ => Ok(None),
        }
    }
}

/// Whether another engine goes on where a run has ended like this.
fn is_of_engine(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Fault(Fault { kind, .. }) => matches!(kind, FaultKind::Unsupported { .. }),
        outcome => outcome.is_from_outside(),
    }
}
