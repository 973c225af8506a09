//! Steps and breakpoints on KVM, by KVM_SET_GUEST_DEBUG (KVM API 4.87).
//!
//! What works on every KVM is stepping, and up to four breakpoints in the debug registers. Breakpoints beyond those
//! are found by stepping. Watchpoints do not work where KVM emulates the processor, and nothing counts instructions.

use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, kvm_guest_debug,
    kvm_guest_debug_arch,
};

use flatland_x86::{DebugStop, EngineError, Exit, Stops, Unsupported};

use super::{Kind, KvmEngine, LastExit, exception_page};

/// The breakpoints that fit the debug registers DR0 to DR3 (SDM volume 3, section 19.2.1).
const DEBUG_REGISTERS: usize = 4;

const HLT: u8 = 0xf4;

/// The guest runs undisturbed.
pub const NOTHING: kvm_guest_debug =
    kvm_guest_debug { control: 0, pad: 0, arch: kvm_guest_debug_arch { debugreg: [0; 8] } };

/// Where a run is to stop.
#[derive(Clone, Debug, Default)]
pub struct Stopping {
    step: bool,
    breakpoints: Vec<u32>,
    /// Where the last exit was an [`Exit::Debug`].
    reported: Option<u32>,
    /// An instruction was executed before the last stop.
    has_stepped: bool,
}

impl Stopping {
    /// These, if KVM can.
    pub fn new(stops: &Stops) -> Result<Self, Unsupported> {
        let refuse = |what| Err(Unsupported { engine: "KVM", what, advice: "run it with the soft engine" });
        if !stops.watchpoints.is_empty() {
            return refuse("watch memory");
        }
        if stops.instructions.is_some() {
            return refuse("count instructions");
        }
        Ok(Self { step: stops.step, breakpoints: stops.breakpoints.clone(), reported: None, has_stepped: false })
    }

    /// Takes these in place of what was set before. Where the last stop was, is known all the same.
    pub fn replace(&mut self, other: Self) {
        *self = Self { reported: self.reported, ..other };
    }

    /// The guest is somewhere else, and has not been stopped there.
    pub fn forget_report(&mut self) {
        self.reported = None;
    }

    /// Whether anything of it is set.
    pub fn is_active(&self) -> bool {
        self.step || !self.breakpoints.is_empty()
    }

    /// How to run from here.
    fn guest_debug(&self, step: bool) -> kvm_guest_debug {
        let mut debug = NOTHING;
        if step {
            debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
            return debug;
        }
        debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        // DR7: bit 10 is always set; Gn enables breakpoint n, on execution where its other bits are clear (SDM
        // volume 3, section 19.2.4).
        debug.arch.debugreg[7] = 1 << 10;
        for (number, address) in self.breakpoints.iter().enumerate() {
            debug.arch.debugreg[number] = (*address).into();
            debug.arch.debugreg[7] |= 0b10 << (2 * number);
        }
        debug
    }
}

impl KvmEngine {
    /// Runs until the guest leaves by itself, or a stop is reached: then EIP is there, and the exit is
    /// [`Kind::Debug`].
    pub(super) fn enter_until_stop(&mut self) -> Result<Kind, EngineError> {
        if matches!(self.last, LastExit::In | LastExit::Out) {
            if let Some(kind) = self.finish_io()? {
                return Ok(kind);
            }
            self.last = LastExit::Before;
            if self.stopping.step {
                self.stopping.has_stepped = true;
                return Ok(Kind::Debug);
            }
        }
        loop {
            let mut regs = self.kvm_regs()?;
            let eip = regs.rip as u32;
            let at_breakpoint = self.stopping.breakpoints.contains(&eip);
            if at_breakpoint && self.stopping.reported != Some(eip) {
                self.stopping.has_stepped = false;
                return Ok(Kind::Debug);
            }
            self.stopping.reported = None;
            let step =
                self.stopping.step || at_breakpoint || self.stopping.breakpoints.len() > DEBUG_REGISTERS;
            if step && self.code_at(eip).as_slice().first() == Some(&HLT) {
                // Where KVM emulates the processor, it steps over a `hlt` and goes on.
                regs.rip += 1;
                self.set_kvm_regs(&regs)?;
                return Ok(Kind::Halt);
            }
            // Anew for each run: an exit may have cleared it.
            let set = self.vcpu.set_guest_debug(&self.stopping.guest_debug(step));
            set.map_err(EngineError::call("KVM_SET_GUEST_DEBUG"))?;
            match self.run_vcpu()? {
                Kind::Debug => {}
                Kind::Interrupted if at_breakpoint => {
                    // Before the instruction was executed, as it is a single one.
                    self.stopping.reported = Some(eip);
                    return Ok(Kind::Interrupted);
                }
                kind => return Ok(kind),
            }
            let eip = self.kvm_regs()?.rip as u32;
            if exception_page::vector_at(eip).is_some() {
                // The step was into the handler of an exception.
                return Ok(Kind::Halt);
            }
            if self.stopping.step {
                self.stopping.has_stepped = true;
                return Ok(Kind::Debug);
            }
        }
    }

    /// A stop was reached, and EIP is there.
    pub(super) fn on_debug(&mut self) -> Result<Exit<'_>, EngineError> {
        let eip = self.kvm_regs()?.rip as u32;
        self.last = LastExit::Before;
        self.stopping.reported = Some(eip);
        let Stopping { step, has_stepped, .. } = self.stopping;
        Ok(Exit::Debug(if step && has_stepped { DebugStop::Step } else { DebugStop::Breakpoint }))
    }
}
