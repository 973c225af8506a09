//! Steps and breakpoints on KVM, by KVM_SET_GUEST_DEBUG (KVM API 4.87).
//!
//! What works on every KVM is stepping, and up to four breakpoints in the debug registers. Breakpoints beyond those
//! are found by stepping. Watchpoints do not work where KVM emulates the processor, and nothing counts instructions.

use iced_x86::{Decoder, DecoderOptions};
use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, kvm_guest_debug,
    kvm_guest_debug_arch,
};

use super::{Kind, KvmEngine, LastExit, exception_page};
use crate::engine::{DebugStop, EngineError, Exit, Stops, Unsupported};

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
    /// The repeated instruction that is being stepped over. KVM stops after each of its iterations, or some of them.
    repeating: Option<u32>,
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
        Ok(Self { step: stops.step, breakpoints: stops.breakpoints.clone(), ..Self::default() })
    }

    /// Takes these in place of what was set before. Where the last stop was, is known all the same.
    pub fn replace(&mut self, other: Self) {
        *self = Self { reported: self.reported, repeating: self.repeating, ..other };
    }

    /// The guest is somewhere else, and has not been stopped there.
    pub fn forget_report(&mut self) {
        self.reported = None;
        self.repeating = None;
    }

    /// The registers have been changed: the next instruction starts anew.
    pub fn forget_progress(&mut self) {
        self.repeating = None;
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
            let goes_on = self.stopping.repeating == Some(self.kvm_regs()?.rip as u32);
            if self.stopping.step && !goes_on {
                return Ok(Kind::Debug);
            }
        }
        loop {
            let mut regs = self.kvm_regs()?;
            let eip = regs.rip as u32;
            let at_breakpoint = self.stopping.breakpoints.contains(&eip);
            let goes_on = self.stopping.repeating.take() == Some(eip);
            if at_breakpoint && self.stopping.reported != Some(eip) && !goes_on {
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
            if step && self.is_repeated_string(eip) {
                self.stopping.repeating = Some(eip);
            }
            // Anew for each run: an exit may have cleared it.
            let set = self.vcpu.set_guest_debug(&self.stopping.guest_debug(step));
            set.map_err(|errno| EngineError::Call { call: "KVM_SET_GUEST_DEBUG", cause: errno.into() })?;
            match self.enter()? {
                Kind::Debug => {}
                Kind::Kicked if at_breakpoint => {
                    // Before the instruction was executed, as it is a single one.
                    self.stopping.reported = Some(eip);
                    return Ok(Kind::Kicked);
                }
                kind => return Ok(kind),
            }
            let eip = self.kvm_regs()?.rip as u32;
            if exception_page::vector_at(eip).is_some() {
                // The step was into the handler of an exception.
                return Ok(Kind::Halt);
            }
            if self.stopping.step && self.stopping.repeating != Some(eip) {
                return Ok(Kind::Debug);
            }
        }
    }

    /// Whether a string instruction with a repeat prefix stands there.
    fn is_repeated_string(&self, eip: u32) -> bool {
        let code = self.code_at(eip);
        let instruction = Decoder::new(32, code.as_slice(), DecoderOptions::NONE).decode();
        instruction.is_string_instruction()
            && (instruction.has_rep_prefix() || instruction.has_repne_prefix())
    }

    /// A stop was reached, and EIP is there.
    pub(super) fn on_debug(&mut self) -> Result<Exit<'_>, EngineError> {
        let eip = self.kvm_regs()?.rip as u32;
        self.last = LastExit::Before;
        self.stopping.reported = Some(eip);
        Ok(Exit::Debug(match self.stopping.breakpoints.contains(&eip) {
            true => DebugStop::Breakpoint,
            false => DebugStop::Step,
        }))
    }
}
