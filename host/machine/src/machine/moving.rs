//! Moves a run from one engine to the other.

use std::error::Error;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flatland_contract::Direction;
use flatland_x86::{End, EngineError, Position, Processor, Registers, Settled, Stops, Unsupported, eflags};

use super::{Machine, RunError};
use crate::interrupt::NEVER;
use crate::policy::{self, Advice, EXITS_PER_LOOK, Facts, LOOK_EVERY, MEASURE_AFTER, Why};
use crate::time::Instant;
use crate::{ChoiceError, EngineKind, Engines, Outcome, Snapshot, alarm};

/// What has happened since the run was last looked at.
#[derive(Debug)]
pub(super) struct Moving {
    /// The exits that may still come before the next look.
    pub budget: u64,
    /// What `budget` was after the last look.
    allowed: u64,
    /// When that was, in the run's time.
    looked_at: Duration,
    /// How many instructions had been executed then.
    progress: u64,
    /// [`EXITS_PER_LOOK`], and twice that after each move to the soft engine that was taken back.
    patience: u64,
    /// The registers before the instruction that the engine before this one did not have.
    refused: Option<Registers>,
    /// The other engine cannot be used.
    is_stuck: bool,
    /// When the engine interrupts itself for a look.
    pub due: Option<Instant>,
    /// A look was due while the guest waited for input.
    pub is_late: bool,
}

/// Why a run cannot move. It goes on where it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum MoveError {
    /// There is no other engine.
    Choice(ChoiceError),
    /// The run's own engine failed.
    Engine(EngineError),
    /// The other engine cannot go on from here, or failed.
    Refused(EngineError),
    /// The other engine does not support what is wanted.
    Unsupported(Unsupported),
}

impl fmt::Display for MoveError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Choice(error) => error.fmt(f),
            Self::Engine(error) | Self::Refused(error) => error.fmt(f),
            Self::Unsupported(error) => error.fmt(f),
        }
    }
}

impl Error for MoveError {}

impl From<EngineError> for MoveError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl Moving {
    pub fn new(engines: &Engines) -> Self {
        let mut moving = Self {
            budget: 0,
            allowed: 0,
            looked_at: Duration::ZERO,
            progress: 0,
            patience: EXITS_PER_LOOK,
            refused: None,
            is_stuck: false,
            due: None,
            is_late: false,
        };
        moving.look_again(engines, Duration::ZERO);
        moving
    }

    /// A new run begins.
    pub fn begin(&mut self, engines: &Engines) {
        self.refused = None;
        self.is_stuck = false;
        self.is_late = false;
        self.patience = EXITS_PER_LOOK;
        self.look_again(engines, Duration::ZERO);
    }

    /// The run stays where it is, unless an instruction is missing there.
    pub fn stay(&mut self, engines: &Engines) {
        self.is_stuck = true;
        self.look_again(engines, Duration::ZERO);
    }

    /// The guest is not where an engine has refused it any more.
    pub fn forget_refusal(&mut self) {
        self.refused = None;
    }

    /// A move was in vain, so the next one comes later.
    fn wait_longer(&mut self) {
        self.patience = self.patience.saturating_mul(2);
    }

    fn look_again(&mut self, engines: &Engines, now: Duration) {
        self.allowed = match engines.kind() {
            Some(EngineKind::Kvm) if engines.is_automatic() && !self.is_stuck => self.patience,
            _ => u64::MAX,
        };
        self.budget = self.allowed;
        self.looked_at = now;
        self.progress = engines.current.progress().unwrap_or(0);
    }
}

impl Machine {
    /// Goes on with this engine: at once, with all of the run's state. What the guest does and sends is the same on
    /// both. With [`EngineChoice::Auto`](crate::EngineChoice::Auto) a run also moves by itself.
    ///
    /// ```
    /// use flatland_machine::{EngineChoice, EngineKind, Event, Machine, Program, Wants};
    ///
    /// // in al, 0xe9; inc al; out 0xe9, al; hlt
    /// let program = Program::from_bytes(vec![0xe4, 0xe9, 0xfe, 0xc0, 0xe6, 0xe9, 0xf4])?;
    /// let mut machine = Machine::builder().engine(EngineChoice::Soft).input("a").build(&program)?;
    /// machine.resume(&Wants { transfers: true, ..Wants::default() })?;
    /// # if std::path::Path::new("/dev/kvm").exists() {
    /// machine.move_to(EngineKind::Kvm)?;
    /// assert_eq!(machine.engine().name(), "kvm");
    /// # }
    /// machine.run()?;
    /// assert_eq!(machine.streams().output.bytes(), b"b");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn move_to(&mut self, engine: EngineKind) -> Result<(), MoveError> {
        match self.engines.kind() {
            Some(kind) if kind == engine => Ok(()),
            _ => self.move_to_other(Why::Asked).map(drop),
        }
    }

    /// Finishes the engine's last exit. What it had not reported is kept here.
    pub(crate) fn settle(&mut self) -> Result<(), EngineError> {
        if self.waits_for_input
            && let Some((port, _, _)) = self.engines.current.pending_input()
        {
            self.stats.take_back(port, Direction::In);
        }
        let Settled { sent, end, stop } = self.engines.current.settle(self.input_filled)?;
        self.input_filled = 0;
        self.waits_for_input = false;
        for sent in sent {
            self.stats.count(sent.port, Direction::Out, sent.data.len());
            self.unsent.push_back(sent);
        }
        self.unreported = stop.or(self.unreported);
        // A run that has ended for another reason stays ended.
        self.next = self.next.take().or(end.map(|end| match end {
            End::Halt => Outcome::Halted,
            End::Fault(fault) => Outcome::Fault(fault),
        }));
        Ok(())
    }

    /// Moves the run to the other engine. Returns false, and leaves it where it is, if this is no good moment for a
    /// move that nobody has asked for.
    pub(super) fn move_to_other(&mut self, why: Why) -> Result<bool, MoveError> {
        self.engines.parked().map_err(MoveError::Choice)?;
        self.settle()?;
        let (processor, mut position) = self.engines.current.processor()?;
        // The engine that lacks the instruction has passed a breakpoint there.
        position.was_reported |= why == Why::Instruction;
        self.park_timer();
        let is_asked_for = matches!(why, Why::Asked | Why::Wanted | Why::Instruction);
        let registers = processor.registers;
        // Engines differ in when the trap of TF comes.
        if !is_asked_for && (registers.eflags & eflags::TF != 0 || processor.pending.is_some()) {
            return Ok(false);
        }
        self.hand_over(&processor, position, &self.stops.clone())?;
        self.engines.current.interrupt_at(None);
        self.swap_engines(why, registers.eip)?;
        if self.has_timer() {
            self.unpark_timer();
        }
        self.moving.refused = (why == Why::Instruction).then_some(registers.as_held());
        Ok(true)
    }

    /// Gives the parked engine all that it needs to go on. RAM is both engines'.
    fn hand_over(
        &mut self,
        processor: &Processor,
        position: Position,
        stops: &Stops,
    ) -> Result<(), MoveError> {
        let parked = self.engines.parked().map_err(MoveError::Choice)?;
        parked.ram_was_written();
        parked.set_processor(processor, position).map_err(MoveError::Refused)?;
        parked.set_stops(stops).map_err(MoveError::Unsupported)?;
        parked.set_fast_transfers(self.is_buffered);
        self.shared.add_engine(parked.interrupt_handle());
        Ok(())
    }

    /// Makes the parked engine, which has taken over, the current one.
    fn swap_engines(&mut self, why: Why, address: u32) -> Result<(), EngineError> {
        if self.is_entered {
            self.engines.current.leave();
        }
        self.engines.swap();
        if let Some(to) = self.engines.kind() {
            let time = self.run_time();
            self.stats.add_move(crate::Move { to, why, address, time });
            self.moving.look_again(&self.engines, time);
        }
        if self.is_entered {
            self.engines.current.enter()?;
        }
        Ok(())
    }

    /// Makes processor and RAM those of a snapshot. A run that moves by itself goes on with the soft engine, if that can
    /// go on from there.
    pub(crate) fn restore_engine(&mut self, snapshot: &Snapshot) -> Result<(), EngineError> {
        let Snapshot { processor, position, ram, .. } = snapshot;
        let is_on_kvm = self.engines.kind() == Some(EngineKind::Kvm);
        if self.engines.is_automatic() && is_on_kvm && self.restore_on_other(snapshot).is_ok() {
            return Ok(());
        }
        match self.engines.current.set_processor(processor, *position) {
            Err(error @ EngineError::CannotCarryOn { .. }) if self.engines.is_automatic() && !is_on_kvm => {
                match self.restore_on_other(snapshot) {
                    Err(MoveError::Refused(other) | MoveError::Engine(other)) => Err(other),
                    Err(_) => Err(error),
                    Ok(()) => Ok(()),
                }
            }
            Err(error) => Err(error),
            Ok(()) => {
                if self.stops.instructions.is_some() && processor.instructions.is_none() {
                    // The next call of `resume` refuses the limit, which this run cannot have.
                    self.stops = Stops::default();
                    let _ = self.engines.current.set_stops(&self.stops);
                }
                self.engines.current.restore_ram(ram)
            }
        }
    }

    fn restore_on_other(&mut self, snapshot: &Snapshot) -> Result<(), MoveError> {
        let stops = Stops::default();
        self.hand_over(&snapshot.processor, snapshot.position, &stops)?;
        let parked = self.engines.parked().map_err(MoveError::Choice)?;
        parked.restore_ram(&snapshot.ram).map_err(MoveError::Refused)?;
        // The next call of `resume` sets those that are wanted then.
        self.stops = stops;
        Ok(self.swap_engines(Why::PutBack, snapshot.processor.registers.eip)?)
    }

    /// Moves the run if the other engine may have the instruction that this one lacks. If neither has it, the run ends on
    /// the soft engine, whose report says more.
    pub(super) fn try_instruction(&mut self) -> Result<bool, RunError> {
        // A timer that must count stays where it is counted.
        if !self.engines.is_automatic() || self.timer_stays() {
            return Ok(false);
        }
        let registers = self.engines.current.registers()?;
        let neither_has_it = self.moving.refused == Some(registers.as_held());
        if self.engines.kind() == Some(EngineKind::Soft) {
            if neither_has_it {
                return Ok(false);
            }
            // The run talks, and needs an engine that is slow at that.
            self.moving.wait_longer();
        }
        match self.move_to_other(Why::Instruction) {
            Ok(moved) => {
                self.schedule_look()?;
                Ok(moved)
            }
            Err(MoveError::Engine(error)) => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    /// How long the run has taken so far.
    pub(super) fn run_time(&self) -> Duration {
        self.used + self.resumed_at.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Looks at once if KVM is known to emulate, and sets the time of the next look.
    pub(super) fn begin_looking(&mut self) -> Result<(), RunError> {
        let emulates = self.engines.speeds().is_some_and(|speeds| speeds.kvm_emulates());
        if emulates && !self.moving.is_stuck && self.engines.kind() == Some(EngineKind::Kvm) {
            self.look()
        } else {
            self.schedule_look()
        }
    }

    /// Sets the time of the next look, if there is anything to look for that exits do not show.
    fn schedule_look(&mut self) -> Result<(), RunError> {
        if !self.engines.is_automatic() || self.moving.is_stuck || self.stops.step {
            return Ok(());
        }
        let to_measure = MEASURE_AFTER.saturating_sub(self.run_time());
        let wait = match (self.engines.kind(), self.engines.speeds()) {
            // A timer of no time never rings.
            (Some(EngineKind::Kvm), None) => to_measure.max(Duration::from_micros(1)),
            (Some(EngineKind::Soft), Some(speeds)) if speeds.kvm_emulates() => return Ok(()),
            (Some(EngineKind::Soft), _) => to_measure.max(LOOK_EVERY),
            _ => return Ok(()),
        };
        let at = Instant::now() + wait;
        if self.engines.current.interrupt_after(wait) {
            self.moving.due = Some(at);
            return Ok(());
        }
        alarm::set(&self.shared, &self.shared.look_at, at).map_err(RunError::Alarm)
    }

    /// Looks no more.
    pub(super) fn cancel_look(&mut self) {
        if self.engines.is_automatic() {
            self.shared.look_at.store(NEVER, Ordering::SeqCst);
            self.moving.due = None;
        }
    }

    /// Looks whether the run goes on better in the other engine, and moves it there.
    #[cold]
    pub(super) fn look(&mut self) -> Result<(), RunError> {
        let Some(engine) = self.engines.kind().filter(|_| self.engines.is_automatic()) else { return Ok(()) };
        // While the guest waits, nothing runs that could run elsewhere.
        self.moving.is_late = self.waits_for_input;
        if self.waits_for_input {
            return Ok(());
        }
        if self.can_leave(engine)
            && let Advice::Move(why) = self.advice(engine)?
        {
            match self.move_to_other(why) {
                Ok(_) => {}
                Err(MoveError::Engine(error)) => return Err(error.into()),
                Err(MoveError::Refused(_)) if engine == EngineKind::Kvm => self.moving.wait_longer(),
                Err(_) => self.moving.is_stuck = true,
            }
        }
        self.moving.look_again(&self.engines, self.run_time());
        self.schedule_look()
    }

    fn advice(&mut self, engine: EngineKind) -> Result<Advice, RunError> {
        let time = self.run_time();
        let mut facts = Facts {
            engine,
            time,
            exits: self.moving.allowed - self.moving.budget,
            since: time.saturating_sub(self.moving.looked_at),
            instructions: self.engines.current.progress().map(|now| now - self.moving.progress),
            speeds: self.engines.speeds(),
        };
        let advice = policy::advise(&facts);
        if advice != Advice::Measure {
            return Ok(advice);
        }
        if engine == EngineKind::Kvm {
            self.settle()?;
        }
        facts.speeds = self.engines.measure();
        if facts.speeds.is_none() {
            self.moving.is_stuck = true;
            return Ok(Advice::Stay);
        }
        Ok(policy::advise(&facts))
    }

    /// Whether what observers want allows a move that they have not asked for.
    fn can_leave(&self, engine: EngineKind) -> bool {
        let Stops { step, watchpoints, instructions, .. } = &self.stops;
        let needs_soft = !watchpoints.is_empty() || instructions.is_some();
        !step && !self.timer_stays() && (engine == EngineKind::Kvm || !needs_soft)
    }
}
