//! The guest as gdbstub's target: registers, memory, breakpoints and resumption.

use flatland_machine::{Machine, Wants};
use flatland_x86::{self as x86, Access, EngineError, Watchpoint};
use gdbstub::common::{Pid, Signal};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::reverse_exec::{ReverseCont, ReverseContOps, ReverseStep, ReverseStepOps};
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
use crate::address_space::AddressSpace;
use crate::timeline::Timeline;

/// How the guest is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// To the next stop.
    Continue,
    /// One instruction.
    Step,
    /// While EIP is in this range.
    Range(u32, u32),
    /// One instruction back.
    StepBack,
    /// Back to the last stop.
    ContinueBack,
}

/// The debugger's breakpoints, watchpoints and resumption.
#[derive(Debug)]
pub struct State {
    /// gdb's software and hardware breakpoints. The engine handles both the same way.
    breakpoints: [Vec<u32>; 2],
    watchpoints: Vec<Watchpoint>,
    pub resume: Resume,
    /// Registers or memory were written since this was last set to `false`.
    pub has_changed: bool,
    pub say: Say,
}

impl State {
    pub fn new(say: Say) -> Self {
        Self {
            breakpoints: Default::default(),
            watchpoints: Vec::new(),
            resume: Resume::Continue,
            has_changed: false,
            say,
        }
    }

    /// The events for these stops.
    pub fn wants(&self) -> Wants {
        let mut wants = Wants::nothing();
        wants.steps = matches!(self.resume, Resume::Step | Resume::Range(..));
        wants.breakpoints = self.breakpoints();
        wants.watchpoints.clone_from(&self.watchpoints);
        wants
    }

    /// The addresses of all breakpoints.
    pub fn breakpoints(&self) -> Vec<u32> {
        self.breakpoints.concat()
    }

    pub fn watchpoints(&self) -> &[Watchpoint] {
        &self.watchpoints
    }

    /// Removes all stops.
    pub fn remove_stops(&mut self) {
        self.breakpoints = Default::default();
        self.watchpoints.clear();
        self.resume = Resume::Continue;
    }

    /// Whether there is a breakpoint at this address, and whether it is one of gdb's software breakpoints.
    pub fn breakpoint_at(&self, address: u32) -> Option<bool> {
        let [software, hardware] = &self.breakpoints;
        if software.contains(&address) { Some(true) } else { hardware.contains(&address).then_some(false) }
    }

    /// The kind of the debugger's watchpoint for this access, if there is one.
    pub fn watchpoint_at(&self, address: u32, access: Access) -> Option<WatchKind> {
        let met = self.watchpoints.iter().find(|watch| watch.touched_by(address, 1, access).is_some());
        met.map(|watch| match watch.kind {
            x86::WatchKind::Read => WatchKind::Read,
            x86::WatchKind::Access => WatchKind::ReadWrite,
            x86::WatchKind::Write => WatchKind::Write,
        })
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

/// gdbstub's target, for one packet.
#[derive(Debug)]
pub struct Guest<'a> {
    pub machine: &'a mut Machine,
    pub state: &'a mut State,
    /// The run's past, if it can go back.
    pub timeline: Option<&'a mut Timeline>,
}

impl Guest<'_> {
    fn core(&mut self) -> Result<Core, TargetError<EngineError>> {
        let general = self.machine.registers().map_err(TargetError::Fatal)?;
        let system = self.machine.system_registers().map_err(TargetError::Fatal)?;
        let fpu = self.machine.fpu().map_err(TargetError::Fatal)?;
        Ok(Core::new(&general, &system, fpu))
    }

    fn set_core(&mut self, core: &Core) -> TargetResult<(), Self> {
        let old = self.core()?;
        if !core.has_segments_of(&old) {
            return Err(TargetError::NonFatal);
        }
        self.check_change()?;
        self.state.has_changed = true;
        if core.fpu() != old.fpu() {
            self.machine.set_fpu(core.fpu()).map_err(TargetError::Fatal)?;
        }
        if core.general() == old.general() && core.fpu() != old.fpu() {
            return Ok(());
        }
        self.machine.set_registers(&core.general()).map_err(TargetError::Fatal)
    }
}

impl Guest<'_> {
    /// What addresses mean now. gdb's are linear ones, as the guest's own are.
    fn address_space(&mut self) -> Result<AddressSpace, TargetError<EngineError>> {
        Ok(AddressSpace::of(&self.machine.system_registers().map_err(TargetError::Fatal)?))
    }

    /// Whether the guest may be changed here. What has been is repeated as it was, and so is a recording.
    fn check_change(&mut self) -> TargetResult<(), Self> {
        let is_past = self.timeline.as_ref().is_some_and(|timeline| timeline.is_in_the_past());
        let why = match (self.machine.is_replay(), is_past) {
            (true, _) => "a replay cannot be changed: run the program itself to try something else",
            (_, true) => "the past cannot be changed: `monitor goto end` goes back to the present",
            _ => return Ok(()),
        };
        (self.state.say)(why);
        Err(TargetError::Errno(EROFS))
    }
}

impl Target for Guest<'_> {
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

impl SingleThreadBase for Guest<'_> {
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
        let space = self.address_space()?;
        match space.read(address, bytes, |address, bytes| self.machine.read_ram(address, bytes)) {
            0 if !bytes.is_empty() => Err(TargetError::Errno(EFAULT)),
            len => Ok(len),
        }
    }

    fn write_addrs(&mut self, address: u32, bytes: &[u8]) -> TargetResult<(), Self> {
        let space = self.address_space()?;
        let ram = self.machine.memory_map().ram().bytes();
        let read = |address, bytes: &mut [u8]| self.machine.read_ram(address, bytes);
        let pieces: Vec<_> = space.pieces(address, bytes.len(), &read).collect();
        // All of it, or nothing.
        let is_there = |&(physical, len): &(u32, usize)| ram.saturating_sub(physical) as usize >= len;
        if pieces.iter().map(|(_, len)| len).sum::<usize>() < bytes.len() || !pieces.iter().all(is_there) {
            return Err(TargetError::Errno(EFAULT));
        }
        self.check_change()?;
        self.state.has_changed = true;
        let mut rest = bytes;
        for (physical, len) in pieces {
            let (piece, behind) = rest.split_at(len);
            self.machine.write_ram(physical, piece);
            rest = behind;
        }
        Ok(())
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

/// The error number, by gdb's manual ("Errno Values").
const EFAULT: u8 = 14;

/// The same for what may not be written.
const EROFS: u8 = 30;

impl SingleRegisterAccess<()> for Guest<'_> {
    fn read_register(&mut self, (): (), id: Id, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        let bytes = self.core()?.get(id);
        buffer.get_mut(..bytes.len()).ok_or(TargetError::NonFatal)?.copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn write_register(&mut self, (): (), id: Id, value: &[u8]) -> TargetResult<(), Self> {
        let mut core = self.core()?;
        core.set(id, value).ok_or(TargetError::NonFatal)?;
        self.set_core(&core)
    }
}

/// Signals from gdb are ignored, because the guest has none.
impl SingleThreadResume for Guest<'_> {
    fn resume(&mut self, _: Option<Signal>) -> Result<(), EngineError> {
        self.state.resume = Resume::Continue;
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_reverse_step(&mut self) -> Option<ReverseStepOps<'_, (), Self>> {
        self.timeline.is_some().then_some(self)
    }

    fn support_reverse_cont(&mut self) -> Option<ReverseContOps<'_, (), Self>> {
        self.timeline.is_some().then_some(self)
    }

    fn support_range_step(&mut self) -> Option<SingleThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Guest<'_> {
    fn step(&mut self, _: Option<Signal>) -> Result<(), EngineError> {
        self.state.resume = Resume::Step;
        Ok(())
    }
}

impl ReverseStep<()> for Guest<'_> {
    fn reverse_step(&mut self, (): ()) -> Result<(), EngineError> {
        self.state.resume = Resume::StepBack;
        Ok(())
    }
}

impl ReverseCont<()> for Guest<'_> {
    fn reverse_cont(&mut self) -> Result<(), EngineError> {
        self.state.resume = Resume::ContinueBack;
        Ok(())
    }
}

impl SingleThreadRangeStepping for Guest<'_> {
    fn resume_range_step(&mut self, start: u32, end: u32) -> Result<(), EngineError> {
        self.state.resume = Resume::Range(start, end);
        Ok(())
    }
}

impl Breakpoints for Guest<'_> {
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

impl SwBreakpoint for Guest<'_> {
    fn add_sw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        Ok(self.state.add_breakpoint(0, address))
    }

    fn remove_sw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        Ok(self.state.remove_breakpoint(0, address))
    }
}

impl HwBreakpoint for Guest<'_> {
    fn add_hw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        Ok(self.state.add_breakpoint(1, address))
    }

    fn remove_hw_breakpoint(&mut self, address: u32, _: usize) -> TargetResult<bool, Self> {
        Ok(self.state.remove_breakpoint(1, address))
    }
}

fn watchpoint(address: u32, len: u32, kind: WatchKind) -> Watchpoint {
    let kind = match kind {
        WatchKind::Write => x86::WatchKind::Write,
        WatchKind::Read => x86::WatchKind::Read,
        WatchKind::ReadWrite => x86::WatchKind::Access,
    };
    Watchpoint { address, len, kind }
}

impl HwWatchpoint for Guest<'_> {
    fn add_hw_watchpoint(&mut self, address: u32, len: u32, kind: WatchKind) -> TargetResult<bool, Self> {
        self.state.watchpoints.push(watchpoint(address, len, kind));
        let refused = self.machine.check(&self.state.wants());
        if let Err(error) = &refused {
            self.state.watchpoints.pop();
            // gdb's own error message, which follows, has no room for the reason.
            (self.state.say)(&format!(
                "{error} (--engine soft); or have gdb compare after each step, slowly: `set can-use-hw-watchpoints 0`, \
                 then watch it again"
            ));
        }
        Ok(refused.is_ok())
    }

    fn remove_hw_watchpoint(&mut self, address: u32, len: u32, kind: WatchKind) -> TargetResult<bool, Self> {
        let watch = watchpoint(address, len, kind);
        let watchpoints = &mut self.state.watchpoints;
        let at = watchpoints.iter().position(|other| *other == watch);
        Ok(at.map(|at| watchpoints.swap_remove(at)).is_some())
    }
}

impl MonitorCmd for Guest<'_> {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), EngineError> {
        let command = String::from_utf8_lossy(command);
        let timeline = self.timeline.as_deref_mut();
        out.write_raw(monitor::answer(self.machine, timeline, command.trim())?.as_bytes());
        Ok(())
    }
}

/// When gdb quits, it asks whether to kill or to detach, because this run was started for it.
impl ExtendedMode for Guest<'_> {
    fn run(&mut self, _: Option<&[u8]>, _: Args<'_, '_>) -> TargetResult<Pid, Self> {
        (self.state.say)("a guest runs once: quit gdb and start it again");
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
        (self.state.say)("a guest runs once: quit gdb and start it again");
        Ok(())
    }
}
