//! Recording a run, and replaying a recorded one.

use std::fmt;
use std::mem;
use std::sync::atomic::Ordering;

use flatland_contract::memory::PAGE_SIZE;
use flatland_x86::{
    Access, EngineError, FaultKind, Location, Position, Processor, RamCopy, Registers, eflags,
};

use super::sought::Sought;
use super::{Machine, RunError};
use crate::log::Log;
use crate::recording::{HashOfRam, Playback, Start};
use crate::{Diverged, End, Outcome, Recorder, Recording, Snapshot, Stop};

/// Where a replay has left its recording.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Divergence {
    /// What differs.
    pub how: Diverged,
    /// The instruction.
    pub location: Location,
    /// How many instructions had been executed since entry, if they are counted.
    pub instructions: Option<u64>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the replay leaves its recording ")?;
        match self.location {
            Location::At(address) => write!(f, "at {address:#x}")?,
            Location::EndsAt(address) => write!(f, "just before {address:#x}")?,
            Location::Unknown => f.write_str("somewhere")?,
        }
        if let Some(count) = self.instructions {
            write!(f, ", after {count} instructions")?;
        }
        write!(f, ": {}", self.how)
    }
}

impl Machine {
    /// Records the run from here on. At its end call [`Self::end_recording`]; what was recorded before can be replayed
    /// in any case.
    ///
    /// The recording is written within [`Self::FLUSH_WITHIN`]. A guest's registers and RAM must not be changed from
    /// outside meanwhile: the recording does not have that.
    ///
    /// ```
    /// use flatland_machine::{EngineChoice, Machine, Program, Recorder, Recording};
    ///
    /// // in al, 0xe9; inc al; out 0xe9, al; hlt
    /// let program = Program::from_bytes(vec![0xe4, 0xe9, 0xfe, 0xc0, 0xe6, 0xe9, 0xf4])?;
    /// let mut machine = Machine::builder().engine(EngineChoice::Soft).input("a").build(&program)?;
    /// let (recorder, file) = Recorder::to_memory();
    /// machine.record(recorder)?;
    /// let outcome = machine.run()?;
    /// machine.end_recording(&outcome)?;
    ///
    /// let recording = Recording::read_from(&file.take()[..])?;
    /// let mut machine = Machine::builder().engine(EngineChoice::Soft).replay(&recording)?;
    /// assert_eq!(machine.run()?, outcome);
    /// assert_eq!(machine.streams().output.bytes(), b"b");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record(&mut self, recorder: Recorder) -> Result<(), RunError> {
        let state = if self.is_fresh() { self.fresh_state() } else { self.snapshot()? };
        self.record_state(state, recorder)
    }

    /// Like [`Self::record`], for a machine that has just been put back to this snapshot: takes none of its own.
    pub fn record_from(&mut self, restored: &Snapshot, recorder: Recorder) -> Result<(), RunError> {
        self.record_state(restored.clone(), recorder)
    }

    fn record_state(&mut self, state: Snapshot, mut recorder: Recorder) -> Result<(), RunError> {
        let engine = self.engines.current.name().into();
        let start = Start { program: String::new(), engine, left_out: None, state };
        recorder.begin(start).map_err(RunError::Recording)?;
        // So a recording has the spans, whoever looks at its replay, and is the same whoever looks at the run.
        self.listen_to_spans();
        self.set_recorder(Some(recorder));
        Ok(())
    }

    /// Sets what records the run from here on, and returns what did before.
    fn set_recorder(&mut self, recorder: Option<Recorder>) -> Option<Box<Recorder>> {
        self.shared.flush_ends_wait.store(recorder.is_some(), Ordering::Relaxed);
        mem::replace(&mut self.log.recorder, recorder.map(Box::new))
    }

    /// Whether no instruction has been executed and nothing has been changed.
    fn is_fresh(&self) -> bool {
        !self.has_begun && self.changes == 0
    }

    /// What [`Self::snapshot`] gives at the start, without asking the engine: with KVM that takes as long as a short run.
    fn fresh_state(&mut self) -> Snapshot {
        let map = self.memory_map().clone();
        let mut bytes = vec![0; self.loaded.next_multiple_of(PAGE_SIZE) as usize];
        self.read_ram(0, &mut bytes);
        Snapshot {
            processor: Processor::at_entry(map.ram()),
            position: Position { location: Location::At(0), was_reported: false },
            ram: RamCopy::of(&bytes),
            map,
            devices: self.bus.save(),
            unsent: self.unsent.clone(),
            next: None,
        }
    }

    /// Writes the end of the run to its recording, which is complete then.
    pub fn end_recording(&mut self, outcome: &Outcome) -> Result<(), RunError> {
        let Some(mut recorder) = self.set_recorder(None) else { return Ok(()) };
        self.settle()?;
        let (registers, ram) = (self.engines.current.processor()?.0.registers, self.hash_of_ram());
        let instructions = self.engines.current.instructions();
        recorder.end(outcome, instructions, registers, ram).map_err(RunError::Recording)
    }

    /// Records no more of the run. The recording has no end then, and none at all may have been written by a recorder that
    /// is [`late`](Recorder::late).
    pub fn stop_recording(&mut self) {
        self.set_recorder(None);
    }

    /// The hash of RAM as [`End`] has it.
    fn hash_of_ram(&self) -> u64 {
        match self.engines.touched_pages() {
            // All others are zeros, which do not count.
            Some(touched) => self.hash_of_pages(touched),
            None => self.hash_of_pages(0..self.memory_map().ram().bytes() / PAGE_SIZE),
        }
    }

    fn hash_of_pages(&self, numbers: impl IntoIterator<Item = u32>) -> u64 {
        let mut hash = HashOfRam::default();
        let mut page = RamCopy::ZEROS;
        for number in numbers {
            self.read_ram(number * PAGE_SIZE, &mut page);
            hash.add(number, &page);
        }
        hash.value()
    }

    /// Answers the guest's reads from the recording.
    pub(crate) fn play(&mut self, recording: &Recording) {
        self.log = Log { recorder: None, playback: Some(Box::new(recording.playback())) };
        self.sought = Sought::default();
        self.moving.stay(&self.engines);
    }

    /// The playback of a recorded run.
    pub(super) fn replayed(&self) -> Option<&Playback> {
        self.log.playback.as_deref().filter(|playback| !playback.is_live())
    }

    /// Whether this is the replay of a recorded run.
    pub fn is_replay(&self) -> bool {
        self.replayed().is_some()
    }

    /// How the replayed run ended, if it is known.
    pub(super) fn recorded_end(&self) -> Option<&End> {
        self.replayed()?.end()
    }

    /// After how many instructions a replay must have ended.
    pub(super) fn recorded_limit(&self) -> Option<u64> {
        let end = self.recorded_end()?;
        self.engines.current.instructions()?;
        let is_from_outside = end.outcome.is_from_outside();
        end.instructions
            .or(self.found_end())
            .map(|count| if is_from_outside { count } else { count.saturating_add(1) })
    }

    /// At a limit of instructions: the recorded outcome, if the recorded run ended here from outside.
    pub(super) fn recorded_end_is_here(&mut self) -> Result<Option<Outcome>, RunError> {
        let Some(limit) = self.recorded_limit() else { return Ok(None) };
        if self.engines.current.instructions().is_none_or(|count| count < limit) {
            return Ok(None);
        }
        match self.recorded_end().map(|end| end.outcome.clone()) {
            Some(outcome) if outcome.is_from_outside() => Ok(Some(outcome)),
            Some(recorded) => {
                Err(self.diverged(Diverged::OtherEnd { recorded: recorded.into(), came: None }))
            }
            None => Ok(None),
        }
    }

    /// The end of a replay that has read all that was recorded. It is the end for good: there is nothing that the guest
    /// could read if it went on.
    pub(super) fn end_of_recording(&mut self) -> Result<Outcome, RunError> {
        let outcome = match self.recorded_end().map(|end| end.outcome.clone()) {
            None => Outcome::Stopped(Stop::EndOfRecording, self.engines.current.location()?),
            Some(outcome) if outcome == Outcome::EndOfInput || outcome.is_from_outside() => outcome,
            Some(recorded) => {
                return Err(self.diverged(Diverged::OtherEnd { recorded: recorded.into(), came: None }));
            }
        };
        self.next = Some(outcome.clone());
        Ok(outcome)
    }

    /// The error of a replay that leaves its recording here.
    pub(super) fn diverged(&mut self, how: Diverged) -> RunError {
        let location = self.engines.current.location().unwrap_or(Location::Unknown);
        let instructions = self.engines.current.instructions();
        RunError::Diverged(Box::new(Divergence { how, location, instructions }))
    }

    /// Compares the end of a replay with the recorded one.
    pub(super) fn check_end(&mut self, outcome: &Outcome) -> Result<(), RunError> {
        let Some(end) = self.recorded_end().cloned() else { return Ok(()) };
        // Somebody has ended the replay.
        if outcome.is_from_outside() && *outcome != end.outcome {
            return Ok(());
        }
        match self.compare_end(outcome, &end)? {
            None => Ok(()),
            Some(how) => Err(self.diverged(how)),
        }
    }

    fn compare_end(&mut self, outcome: &Outcome, end: &End) -> Result<Option<Diverged>, EngineError> {
        if !is_same_end(outcome, &end.outcome) {
            return Ok(Some(Diverged::OtherEnd {
                recorded: end.outcome.clone().into(),
                came: Some(outcome.clone().into()),
            }));
        }
        if *outcome == Outcome::OutputClosed {
            // How much was sent by then depends on the reader.
            return Ok(None);
        }
        if let Some(Err(how)) = self.replayed().map(Playback::check_totals) {
            return Ok(Some(how));
        }
        let count = self.engines.current.instructions();
        if let (Some(recorded), Some(came)) = (end.instructions, count)
            && recorded != came
        {
            return Ok(Some(Diverged::OtherCount { recorded, came }));
        }
        // What KVM leaves in another state than soft: see "Where the engines differ" in ARCHITECTURE.md.
        let is_of_both = end.instructions.is_none() || count.is_none();
        if is_of_both && leaves_another_state(outcome) {
            return Ok(None);
        }
        self.settle()?;
        let registers = self.engines.current.processor()?.0.registers;
        if !self.are_same_registers(registers, end) {
            return Ok(Some(Diverged::OtherRegisters));
        }
        Ok((self.hash_of_ram() != end.ram).then_some(Diverged::OtherRam))
    }

    /// Whether these registers are those of the recorded end.
    pub(super) fn are_same_registers(&self, registers: Registers, end: &End) -> bool {
        let is_of_both = end.instructions.is_none() || self.engines.current.instructions().is_none();
        let visible = |registers: Registers| match is_of_both {
            // An instruction may leave status flags undefined.
            true => Registers { eflags: registers.eflags & !UNDEFINED, ..registers },
            false => registers,
        };
        visible(registers) == visible(end.registers)
    }
}

/// The flags that some instruction leaves undefined, and RF, which differs by processor where a fault ends the run.
const UNDEFINED: u32 =
    eflags::CF | eflags::PF | eflags::AF | eflags::ZF | eflags::SF | eflags::OF | eflags::RF;

/// Whether two runs have ended in the same way. KVM may know only where the instruction ends.
fn is_same_end(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Outcome::Fault(one), Outcome::Fault(other)) => {
            let is_same_place = match (one.location, other.location) {
                (Location::At(one), Location::At(other)) => one == other,
                _ => true,
            };
            is_same_place && one.kind == other.kind
        }
        (Outcome::Stopped(one, _), Outcome::Stopped(other, _)) => one == other,
        _ => one == other,
    }
}

/// Whether KVM's state at this end is not that before the instruction: a store that memory refuses, an `out` to no
/// device, a triple fault.
fn leaves_another_state(outcome: &Outcome) -> bool {
    let Outcome::Fault(fault) = outcome else { return false };
    match fault.kind {
        FaultKind::OutsideRam { access, .. } | FaultKind::Guard { access, .. } => access == Access::Write,
        FaultKind::Port { direction, .. } => direction == flatland_contract::Direction::Out,
        FaultKind::ReadOnly { .. } | FaultKind::StackOverflow { .. } | FaultKind::TripleFault => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::env;

    use flatland_x86::MemorySize;

    use super::*;
    use crate::{EngineChoice, EngineKind, Event, Program, Streams, Wants};

    /// The hash of RAM, which is that of all pages. Reading all comes last: it touches them.
    fn hash(machine: &Machine) -> u64 {
        let hash = machine.hash_of_ram();
        assert_eq!(machine.hash_of_pages(0..machine.memory_map().ram().bytes() / PAGE_SIZE), hash);
        hash
    }

    #[test]
    fn the_hash_of_ram_is_that_of_all_pages_wherever_it_was_written() {
        // 0: mov [ebx], bl; mov [ebx + 0x7fffff], cl; add ebx, 0x1234567; inc ecx; in al, 0xe9; jmp 0
        let code = [
            0x88, 0x1b, 0x88, 0x8b, 0xff, 0xff, 0x7f, 0, 0x81, 0xc3, 0x67, 0x45, 0x23, 1, 0x41, 0xe4, 0xe9,
            0xeb, 0xed,
        ];
        let program = Program::from_bytes(code.to_vec()).unwrap();
        let mut expected: Option<Vec<u64>> = None;
        let engines = match env::var_os("FLATLAND_TEST_WITHOUT_KVM") {
            None => &[EngineKind::Soft, EngineKind::Kvm][..],
            Some(_) => &[EngineKind::Soft],
        };
        // The engines of the four parts of a run.
        let all =
            engines.iter().flat_map(|first| engines.iter().map(|second| [*first, *second, *first, *second]));
        for kinds in all {
            let builder = Machine::builder().engine(EngineChoice::Auto).memory(MemorySize::mib(64));
            let mut machine = builder.input("abcd").build(&program).unwrap();
            let mut hashes = vec![hash(&machine)];
            let mut snapshot = None;
            for (part, kind) in kinds.into_iter().enumerate() {
                if engines.len() > 1 {
                    machine.move_to(kind).unwrap();
                }
                if part == 2 {
                    // With KVM, RAM is a mapping of the snapshot's file from here on.
                    snapshot = Some(machine.snapshot().unwrap());
                    assert_eq!(hash(&machine), hashes[2]);
                }
                let wants = Wants { transfers: true, ..Wants::default() };
                assert!(matches!(machine.resume(&wants).unwrap(), Event::Transfer(_)));
                hashes.push(hash(&machine));
            }
            assert!(expected.get_or_insert(hashes.clone()) == &hashes, "{kinds:?}");
            machine.restore(&snapshot.unwrap(), Streams::none()).unwrap();
            assert_eq!(hash(&machine), hashes[2]);
        }
    }
}
