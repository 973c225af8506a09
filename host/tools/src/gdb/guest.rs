//! The guest, as gdbstub sees it: registers, memory, breakpoints, and how it is to run on.

use std::ptr::NonNull;

use gdbstub::common::{Pid, Signal};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadRangeStepping, SingleThreadRangeSteppingOps, SingleThreadResume,
    SingleThreadResumeOps, SingleThreadSingleStep, SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::extended_mode::{Args, AttachKind, ExtendedMode, ExtendedModeOps, ShouldTerminate};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::{Target, TargetError, TargetResult};

use super::registers::{Core, I386, Id};
use super::{Say, monitor};
use crate::Stats;
use crate::engine::{self, Engine, EngineError, Stops, Watchpoint};
use crate::fault::Access;

/// How the guest is to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// To the next stop.
    Continue,
    /// One instruction.
    Step,
    /// As long as EIP is in here.
    Range(u32, u32),
}

/// What gdbstub asks things of.
#[derive(Debug)]
pub struct Guest {
    /// The processor, for as long as [`Guest::lend`] lasts.
    engine: Option<NonNull<dyn Engine>>,
    /// Breakpoints that gdb calls software ones and hardware ones: here both are neither.
    breakpoints: [Vec<u32>; 2],
    watchpoints: Vec<Watchpoint>,
    /// The limit of the run, which shares the engine's stops with us.
    instructions: Option<u64>,
    pub resume: Resume,
    /// The run has ended, and there is nothing to change any more.
    pub has_ended: bool,
    pub stats: Stats,
    say: Say,
}

impl Guest {
    pub fn new(instructions: Option<u64>, say: Say) -> Self {
        Self {
            engine: None,
            breakpoints: Default::default(),
            watchpoints: Vec::new(),
            instructions,
            resume: Resume::Continue,
            has_ended: false,
            stats: Stats::default(),
            say,
        }
    }

    /// The processor, while gdbstub works.
    pub fn engine(&mut self) -> &mut dyn Engine {
        let engine = self.engine.as_mut().expect("gdbstub works only while it is lent");
        // SAFETY: `lend` has put it here, from a unique borrow that lasts until it takes it away; and whoever has the
        // result has borrowed `self`, so there is one at a time.
        unsafe { engine.as_mut() }
    }

    /// What the engine is to stop at.
    fn stops(&self) -> Stops {
        let mut breakpoints = self.breakpoints.concat();
        breakpoints.sort_unstable();
        breakpoints.dedup();
        Stops {
            step: self.resume != Resume::Continue,
            breakpoints,
            watchpoints: self.watchpoints.clone(),
            // So that nothing is under way where the registers are changed.
            each_transfer: true,
            instructions: self.instructions,
        }
    }

    /// Has the engine stop where it is to. What it cannot do was refused before.
    pub fn set_stops(&mut self) {
        let stops = self.stops();
        if let Err(error) = self.engine().set_stops(&stops) {
            (self.say)(&error.to_string());
        }
    }

    /// Forgets all stops but the limit of the run.
    pub fn let_go(&mut self) {
        self.breakpoints = Default::default();
        self.watchpoints.clear();
        self.resume = Resume::Continue;
        self.set_stops();
    }

    /// Whether there is a breakpoint, and whether it is one that gdb calls a software one.
    pub fn breakpoint_at(&self, address: u32) -> Option<bool> {
        let [software, hardware] = &self.breakpoints;
        if software.contains(&address) { Some(true) } else { hardware.contains(&address).then_some(false) }
    }

    /// What gdb calls the watchpoint that this access has met.
    pub fn watchpoint_at(&self, address: u32, access: Access) -> WatchKind {
        let met = self.watchpoints.iter().find(|watch| watch.touched_by(address, 1, access).is_some());
        match met.map(|watch| watch.kind) {
            Some(engine::WatchKind::Read) => WatchKind::Read,
            Some(engine::WatchKind::Access) => WatchKind::ReadWrite,
            Some(engine::WatchKind::Write) | None => WatchKind::Write,
        }
    }

    fn core(&mut self) -> Result<Core, TargetError<EngineError>> {
        let engine = self.engine();
        let general = engine.registers().map_err(TargetError::Fatal)?;
        let system = engine.system_registers().map_err(TargetError::Fatal)?;
        Ok(Core::new(&general, &system))
    }

    fn set_core(&mut self, core: &Core) -> TargetResult<(), Self> {
        if self.has_ended || !core.has_segments_of(&self.core()?) {
            return Err(TargetError::NonFatal);
        }
        self.engine().set_registers(&core.general()).map_err(TargetError::Fatal)
    }

    fn add_breakpoint(&mut self, kind: usize, address: u32) -> bool {
        if !self.breakpoints[kind].contains(&address) {
            self.breakpoints[kind].push(address);
        }
        true
    }

    fn remove_breakpoint(&mut self, kind: usize, address: u32) -> bool {
        self.breakpoints[kind].retain(|breakpoint| *breakpoint != address);
        true
    }
}

/// Something that has a [`Guest`], which it lends a processor.
pub trait Lend {
    fn guest(&mut self) -> &mut Guest;

    /// Calls `work` with the processor within the guest's reach.
    fn lend<R>(&mut self, engine: &mut dyn Engine, work: impl FnOnce(&mut Self) -> R) -> R {
        struct TakenAway<'a, L: Lend + ?Sized>(&'a mut L);
        impl<L: Lend + ?Sized> Drop for TakenAway<'_, L> {
            fn drop(&mut self) {
                self.0.guest().engine = None;
            }
        }
        let engine: NonNull<dyn Engine + '_> = engine.into();
        // SAFETY: the types differ in a lifetime only, and before the borrow ends, even by a panic, it is taken away.
        let engine = unsafe { std::mem::transmute::<NonNull<dyn Engine + '_>, NonNull<dyn Engine>>(engine) };
        self.guest().engine = Some(engine);
        let lent = TakenAway(self);
        work(&mut *lent.0)
    }
}

impl Target for Guest {
    type Arch = I386;
    type Error = EngineError;

    fn base_ops(&mut self) -> BaseOps<'_, I386, EngineError> {
        BaseOps::SingleThread(self)
    }

    /// The engine's breakpoints change no memory.
    fn guard_rail_implicit_sw_breakpoints(&self) -> bool {
        true
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_extended_mode(&mut self) -> Option<ExtendedModeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadBase for Guest {
    fn read_registers(&mut self, registers: &mut Core) -> TargetResult<(), Self> {
        *registers = self.core()?;
        Ok(())
    }

    fn write_registers(&mut self, registers: &Core) -> TargetResult<(), Self> {
        self.set_core(registers)
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, (), Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, address: u32, bytes: &mut [u8]) -> TargetResult<usize, Self> {
        match self.engine().read_ram(address, bytes) {
            0 if !bytes.is_empty() => Err(TargetError::Errno(EFAULT)),
            len => Ok(len),
        }
    }

    fn write_addrs(&mut self, address: u32, bytes: &[u8]) -> TargetResult<(), Self> {
        let there = self.engine().ram_size().saturating_sub(address) as usize;
        if there < bytes.len() {
            return Err(TargetError::Errno(EFAULT));
        }
        self.engine().write_ram(address, bytes);
        Ok(())
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

/// gdb knows error numbers by the names of its manual's "Errno Values".
const EFAULT: u8 = 14;

impl SingleRegisterAccess<()> for Guest {
    fn read_register(&mut self, (): (), id: Id, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        let Some(value) = self.core()?.get(id) else {
            // Not available.
            return Ok(0);
        };
        let bytes = value.to_le_bytes();
        buffer.get_mut(..bytes.len()).ok_or(TargetError::NonFatal)?.copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn write_register(&mut self, (): (), id: Id, value: &[u8]) -> TargetResult<(), Self> {
        let value = value.try_into().map(u32::from_le_bytes).map_err(|_| TargetError::NonFatal)?;
        let mut core = self.core()?;
        core.set(id, value).ok_or(TargetError::NonFatal)?;
        self.set_core(&core)
    }
}

/// There are no signals here: one that gdb wants to hand on is not handed on.
impl SingleThreadResume for Guest {
    fn resume(&mut self, _: Option<Signal>) -> Result<(), EngineError> {
        self.resume = Resume::Continue;
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<SingleThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Guest {
    fn step(&mut self, _: Option<Signal>) -> Result<(), EngineError> {
        self.resume = Resume::Step;
        Ok(())
    }
}

impl SingleThreadRangeStepping for Guest {
    fn resume_range_step(&mut self, start: u32, end: u32) -> Result<(), EngineError> {
        self.resume = Resume::Range(start, end);
        Ok(())
    }
}

impl Breakpoints for Guest {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Guest {
    fn add_sw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add_breakpoint(0, address))
    }

    fn remove_sw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove_breakpoint(0, address))
    }
}

impl HwBreakpoint for Guest {
    fn add_hw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add_breakpoint(1, address))
    }

    fn remove_hw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove_breakpoint(1, address))
    }
}

fn watchpoint(address: u32, len: u32, kind: WatchKind) -> Watchpoint {
    let kind = match kind {
        WatchKind::Write => engine::WatchKind::Write,
        WatchKind::Read => engine::WatchKind::Read,
        WatchKind::ReadWrite => engine::WatchKind::Access,
    };
    Watchpoint { address, len, kind }
}

impl HwWatchpoint for Guest {
    fn add_hw_watchpoint(&mut self, address: u32, len: u32, kind: WatchKind) -> TargetResult<bool, Self> {
        self.watchpoints.push(watchpoint(address, len, kind));
        let stops = self.stops();
        let refused = self.engine().set_stops(&stops);
        if let Err(error) = &refused {
            self.watchpoints.pop();
            // gdb has no room for a reason in its own message, which comes next.
            (self.say)(&format!(
                "{error} (--engine soft); or have gdb compare after each step, slowly: `set can-use-hw-watchpoints 0`, \
                 then watch it again"
            ));
        }
        Ok(refused.is_ok())
    }

    fn remove_hw_watchpoint(&mut self, address: u32, len: u32, kind: WatchKind) -> TargetResult<bool, Self> {
        let watch = watchpoint(address, len, kind);
        let at = self.watchpoints.iter().position(|other| *other == watch);
        Ok(at.map(|at| self.watchpoints.swap_remove(at)).is_some())
    }
}

impl MonitorCmd for Guest {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), EngineError> {
        let command = String::from_utf8_lossy(command);
        out.write_raw(monitor::answer(self, command.trim())?.as_bytes());
        Ok(())
    }
}

/// gdb asks whether to kill or to detach when it quits: this run was started for it.
impl ExtendedMode for Guest {
    fn run(&mut self, _: Option<&[u8]>, _: Args<'_, '_>) -> TargetResult<Pid, Self> {
        (self.say)("a guest runs once: quit gdb and start it again");
        Err(TargetError::NonFatal)
    }

    fn attach(&mut self, _: Pid) -> TargetResult<(), Self> {
        Err(TargetError::NonFatal)
    }

    fn query_if_attached(&mut self, _: Pid) -> TargetResult<AttachKind, Self> {
        Ok(AttachKind::Run)
    }

    fn kill(&mut self, _: Option<Pid>) -> TargetResult<ShouldTerminate, Self> {
        Ok(ShouldTerminate::Yes)
    }

    fn restart(&mut self) -> Result<(), EngineError> {
        (self.say)("a guest runs once: quit gdb and start it again");
        Ok(())
    }
}
