//! When a run moves from one engine to the other: a pure function of counted facts.
//!
//! KVM computes at the processor's own speed where it uses the processor's virtualization, and slowly where it
//! emulates. Each exit costs it microseconds. The soft engine has no exits that cost anything, and is slow in
//! computing.

use std::time::Duration;

use flatland_x86::Speed;

use crate::EngineKind;

/// Nothing is measured in a run that is shorter than this.
pub const MEASURE_AFTER: Duration = Duration::from_millis(20);

/// On KVM, a look comes after this many exits at the soonest. They take KVM as long as a move.
pub const EXITS_PER_LOOK: u64 = 64;

/// On the soft engine, a look comes this often.
pub const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A move must save this much: the other engine takes at most four fifths of the time.
const GAIN: f64 = 1.25;

/// What is known when a run is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Where the run is.
    pub engine: EngineKind,
    /// How long the run has taken.
    pub time: Duration,
    /// Exits since the last look.
    pub exits: u64,
    /// The time since the last look.
    pub since: Duration,
    /// Instructions since the last look. KVM does not count them.
    pub instructions: Option<u64>,
    /// How fast the engines are, if that has been measured.
    pub speeds: Option<Speeds>,
}

/// How fast the engines are on this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speeds {
    /// KVM's.
    pub kvm: Speed,
    /// The soft engine's time for one instruction, in seconds. Its exits take no longer than a few instructions.
    pub soft_instruction: f64,
}

impl Speeds {
    /// Whether KVM is the slower one even at computing: it emulates the processor.
    pub fn kvm_emulates(&self) -> bool {
        self.kvm.instruction >= self.soft_instruction
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Go on.
    Stay,
    /// Measure the [`Speeds`], and look again.
    Measure,
    /// Go on with the other engine.
    Move(Why),
}

/// Why a run has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The engine does not have the next instruction.
    Instruction,
    /// Transfers at ports take KVM longer than the soft engine takes for everything.
    Talks,
    /// The guest computes, and KVM is faster at that.
    Computes,
    /// KVM only emulates the processor.
    Emulates,
    /// The machine was put back to a snapshot, and runs that are put back are short.
    PutBack,
    /// The engine cannot do what an observer wants.
    Wanted,
    /// [`Machine::move_to`](crate::Machine::move_to) was called.
    Asked,
}

impl Why {
    /// The reason in words, after "because".
    pub fn words(self) -> &'static str {
        match self {
            Self::Instruction => "the engine does not have the next instruction",
            Self::Talks => "it transfers more than it computes",
            Self::Computes => "it computes more than it transfers",
            Self::Emulates => "this KVM only emulates the processor",
            Self::PutBack => "it was put back to a snapshot",
            Self::Wanted => "the engine cannot do what is wanted",
            Self::Asked => "it was asked for",
        }
    }
}

/// Decides from the facts of one look.
pub fn advise(facts: &Facts) -> Advice {
    let Facts { engine, time, exits, since, instructions, speeds } = *facts;
    let Some(speeds) = speeds else {
        return match engine {
            _ if time >= MEASURE_AFTER => Advice::Measure,
            EngineKind::Kvm if exits >= EXITS_PER_LOOK => Advice::Move(Why::Talks),
            _ => Advice::Stay,
        };
    };
    let Speeds { kvm, soft_instruction } = speeds;
    let exits_on_kvm = exits as f64 * kvm.exit;
    match engine {
        EngineKind::Kvm if speeds.kvm_emulates() => Advice::Move(Why::Emulates),
        EngineKind::Kvm => {
            let on_kvm = since.as_secs_f64();
            let computing = (on_kvm - exits_on_kvm).max(0.0);
            let on_soft = computing / kvm.instruction * soft_instruction;
            let talks = exits >= EXITS_PER_LOOK && on_soft * GAIN < on_kvm;
            if talks { Advice::Move(Why::Talks) } else { Advice::Stay }
        }
        EngineKind::Soft if speeds.kvm_emulates() || time < MEASURE_AFTER => Advice::Stay,
        EngineKind::Soft => {
            let instructions = instructions.unwrap_or(0) as f64;
            let on_kvm = instructions * kvm.instruction + exits_on_kvm;
            let computes = on_kvm * GAIN < instructions * soft_instruction;
            if computes { Advice::Move(Why::Computes) } else { Advice::Stay }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARDWARE: Speeds =
        Speeds { kvm: Speed { instruction: 0.3e-9, exit: 2e-6 }, soft_instruction: 4e-9 };
    const EMULATION: Speeds =
        Speeds { kvm: Speed { instruction: 250e-9, exit: 10e-6 }, soft_instruction: 4e-9 };

    const fn us(time: u64) -> Duration {
        Duration::from_micros(time)
    }

    fn on_kvm(time: Duration, exits: u64, since: Duration, speeds: Option<Speeds>) -> Advice {
        advise(&Facts { engine: EngineKind::Kvm, time, exits, since, instructions: None, speeds })
    }

    fn on_soft(time: Duration, exits: u64, instructions: u64, speeds: Option<Speeds>) -> Advice {
        let (engine, since) = (EngineKind::Soft, LOOK_EVERY);
        advise(&Facts { engine, time, exits, since, instructions: Some(instructions), speeds })
    }

    #[test]
    fn short_runs_are_counted_and_not_measured() {
        let just_before = MEASURE_AFTER - us(1);
        for time in [us(0), just_before] {
            assert_eq!(on_kvm(time, EXITS_PER_LOOK - 1, time, None), Advice::Stay);
            assert_eq!(on_kvm(time, EXITS_PER_LOOK, time, None), Advice::Move(Why::Talks));
            assert_eq!(on_soft(time, 0, u64::MAX, None), Advice::Stay);
        }
        assert_eq!(on_kvm(MEASURE_AFTER, 0, MEASURE_AFTER, None), Advice::Measure);
        assert_eq!(on_soft(MEASURE_AFTER, 0, 1, None), Advice::Measure);
    }

    #[test]
    fn an_emulating_kvm_is_left_and_not_entered() {
        assert_eq!(on_kvm(us(1), 0, us(1), Some(EMULATION)), Advice::Move(Why::Emulates));
        assert_eq!(on_soft(us(1_000_000), 0, 1 << 40, Some(EMULATION)), Advice::Stay);
    }

    #[test]
    fn a_hardware_kvm_computes_and_does_not_talk() {
        let long = us(1_000_000);
        assert_eq!(on_kvm(long, 0, long, Some(HARDWARE)), Advice::Stay);
        // 64 exits of 2 us, and next to nothing between them.
        assert_eq!(on_kvm(long, 64, us(130), Some(HARDWARE)), Advice::Move(Why::Talks));
        // 64 exits in 10 ms.
        assert_eq!(on_kvm(long, 64, us(10_000), Some(HARDWARE)), Advice::Stay);
        assert_eq!(on_soft(long, 0, 1_000_000, Some(HARDWARE)), Advice::Move(Why::Computes));
        assert_eq!(on_soft(us(10), 0, 1_000_000, Some(HARDWARE)), Advice::Stay);
        // 50 instructions to an exit.
        assert_eq!(on_soft(long, 20_000, 1_000_000, Some(HARDWARE)), Advice::Stay);
        assert_eq!(on_soft(long, 0, 0, Some(HARDWARE)), Advice::Stay);
    }

    #[test]
    fn advice_is_never_taken_back_at_once() {
        // A guest that does the same all the time moves at most once.
        for instructions_to_an_exit in [1_u64, 10, 100, 300, 600, 1_000, 10_000, 100_000] {
            let instructions = 1_000_000;
            let exits = instructions / instructions_to_an_exit;
            let since = instructions as f64 * HARDWARE.kvm.instruction + exits as f64 * HARDWARE.kvm.exit;
            let long = us(1_000_000);
            let leaves = on_kvm(long, exits, Duration::from_secs_f64(since), Some(HARDWARE));
            let returns = on_soft(long, exits, instructions, Some(HARDWARE));
            let both = leaves != Advice::Stay && returns != Advice::Stay;
            assert!(!both, "{instructions_to_an_exit}: {leaves:?}, {returns:?}");
        }
    }
}
