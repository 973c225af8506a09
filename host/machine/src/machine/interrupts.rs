//! Interrupts of devices: from whoever raises them to the engine, the timer, and what wakes a guest that has halted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use flatland_contract::timer;
use flatland_x86::{Unsupported, Vector, eflags};

use super::{Machine, MoveError, RunError};
use crate::devices::Timer;
use crate::interrupt::{NEVER, reason};
use crate::policy::Why;
use crate::streams::Flush;
use crate::time::Instant;
use crate::{EngineKind, Outcome, alarm};

const TIMER: Vector = Vector::new(timer::VECTOR).expect("it is no exception");

/// When the timer raises its next interrupt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// When the engine's progress has come to this.
    Progress(u64),
    /// By the clock.
    Clock(Instant),
}

impl Machine {
    /// Gives the engine what devices have raised.
    pub(super) fn take_raised(&mut self) -> Result<(), RunError> {
        let mut raised = self.shared.take_raised();
        while let Some(vector) = raised.highest() {
            let result = match self.log.recorder.is_some() || self.log.playback.is_some() {
                true => Err(RunError::Unsupported(Unsupported {
                    engine: "a recording",
                    what: "hold the interrupts that a device of your own raises",
                    advice: "run the program without recording it or going back in it",
                })),
                false => self.raise(vector),
            };
            if result.is_err() {
                // They are not lost: the next call says it again.
                std::iter::from_fn(|| raised.take_highest())
                    .for_each(|vector| self.shared.add_raised(vector));
                self.shared.note(reason::RAISED);
                return result;
            }
            raised.take_highest();
        }
        Ok(())
    }

    fn raise(&mut self, vector: Vector) -> Result<(), RunError> {
        match self.engines.current.raise(vector) {
            Err(unsupported) => {
                self.move_to_soft(unsupported)?;
                Ok(self.engines.current.raise(vector)?)
            }
            Ok(()) => Ok(()),
        }
    }

    /// A run that moves by itself goes on with the soft engine, and any other ends with this error.
    fn move_to_soft(&mut self, unsupported: Unsupported) -> Result<(), RunError> {
        if !(self.engines.is_automatic() && self.engines.kind() == Some(EngineKind::Kvm)) {
            return Err(unsupported.into());
        }
        match self.move_to_other(Why::Wanted) {
            Ok(true) => Ok(()),
            Err(MoveError::Engine(error)) => Err(error.into()),
            _ => Err(unsupported.into()),
        }
    }

    /// Whether the timer runs.
    pub(super) fn has_timer(&self) -> bool {
        self.timer.is_some()
    }

    /// The timer was set, or may be due.
    #[cold]
    pub(super) fn tend_timer(&mut self) -> Result<(), RunError> {
        let Some(device) = self.bus.device::<Timer>() else { return Ok(()) };
        let (period, new) = (device.period(), device.take_new());
        if let Some(left) = new {
            self.timer = None;
            if period != 0 {
                self.check_timer()?;
                self.timer = Some(self.due_in(left));
            }
        }
        if self.timer.is_some_and(|due| self.is_over(due)) {
            self.raise(TIMER)?;
            self.timer = Some(match self.timer {
                Some(Due::Progress(at)) => Due::Progress(at.saturating_add(period.into())),
                _ => self.due_in(period.into()),
            });
        }
        self.set_alarm_of_timer()
    }

    /// Whether the timer's interrupts must come again where they come now: the run is recorded, or goes on in its past.
    fn timer_must_count(&self) -> bool {
        self.log.recorder.is_some() || self.log.playback.is_some()
    }

    /// Whether the timer keeps the run on the engine where it is.
    pub(super) fn timer_stays(&self) -> bool {
        self.has_timer() && self.timer_must_count()
    }

    /// Whether the engine can do what the timer needs here.
    fn check_timer(&mut self) -> Result<(), RunError> {
        if !self.timer_must_count() || self.engines.current.interrupt_at(None) {
            return Ok(());
        }
        self.move_to_soft(Unsupported {
            engine: "KVM",
            what: "repeat the interrupts of the timer, which follow the clock there",
            advice: "record the run and replay it with the soft engine (--engine soft)",
        })
    }

    /// The time in this many ticks.
    fn due_in(&mut self, ticks: u64) -> Due {
        // Whether the engine counts does not depend on the number.
        let counts = self.engines.current.interrupt_at(None);
        match self.engines.current.progress().filter(|_| counts) {
            Some(progress) => Due::Progress(progress.saturating_add(ticks)),
            None => {
                let time = Duration::from_nanos(ticks.max(timer::SHORTEST_BY_CLOCK.into()));
                Due::Clock(Instant::now() + time)
            }
        }
    }

    fn is_over(&self, due: Due) -> bool {
        match due {
            Due::Progress(at) => self.engines.current.progress().is_some_and(|progress| progress >= at),
            Due::Clock(at) => Instant::now() >= at,
        }
    }

    fn set_alarm_of_timer(&mut self) -> Result<(), RunError> {
        let progress = match self.timer {
            Some(Due::Progress(at)) => Some(at),
            _ => None,
        };
        self.engines.current.interrupt_at(progress);
        match self.timer {
            Some(Due::Clock(at)) => {
                alarm::set(&self.shared, &self.shared.timer_at, at).map_err(RunError::Alarm)
            }
            _ => {
                self.shared.timer_at.store(NEVER, Ordering::SeqCst);
                Ok(())
            }
        }
    }

    /// The timer's device gets the ticks that are left, so that its state can be saved, or the timer can go on elsewhere.
    pub(super) fn park_timer(&mut self) {
        let left = match self.timer {
            None => return,
            Some(Due::Progress(at)) => at.saturating_sub(self.engines.current.progress().unwrap_or(at)),
            Some(Due::Clock(at)) => at.saturating_duration_since(Instant::now()).as_nanos() as u64,
        };
        if let Some(device) = self.bus.device::<Timer>() {
            device.set_left(left);
        }
    }

    /// The timer goes on from its device's state before the next instruction.
    pub(super) fn unpark_timer(&mut self) {
        if let Some(device) = self.bus.device::<Timer>() {
            let parked = device.clone();
            device.go_on_from(&parked);
        }
        self.timer = None;
        self.engines.current.interrupt_at(None);
        self.shared.note(reason::TIMER);
    }

    /// Whether a guest that has halted may go on: interrupts are enabled, and one may come.
    pub(super) fn may_wake(&mut self) -> Result<bool, RunError> {
        let may_come = self.has_timer()
            || self.shared.reasons() & (reason::RAISED | reason::TIMER) != 0
            || !self.engines.current.pending_interrupts().is_empty()
            || self.bus.may_raise();
        Ok(may_come && self.engines.current.registers()?.eflags & eflags::IF != 0)
    }

    /// The guest has halted, and may wake: goes on, or waits until there is something to do.
    pub(super) fn wait_for_interrupt(&mut self) -> Result<(), RunError> {
        if !self.engines.current.pending_interrupts().is_empty() {
            self.next = None;
            return Ok(());
        }
        if let Some(Due::Progress(_)) = self.timer {
            // Nothing is executed meanwhile, so the time passes at once.
            self.timer = Some(self.due_in(0));
            return self.tend_timer();
        }
        if self.streams.flush(&self.shared)? == Flush::Interrupted {
            return Ok(());
        }
        self.cancel_flush();
        self.shared.wait(reason::LOOK, |waker| waker.wait());
        Ok(())
    }

    /// Whether this end of the run is a wait for an interrupt.
    pub(super) fn waits_at(&mut self, outcome: &Outcome) -> Result<bool, RunError> {
        Ok(*outcome == Outcome::Halted && self.may_wake()?)
    }
}
