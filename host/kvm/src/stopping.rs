//! Steps and breakpoints on KVM, by KVM_SET_GUEST_DEBUG (KVM API 4.87).
//!
//! Each KVM can step, and has four breakpoints in the debug registers. More breakpoints are found by stepping.
//! Watchpoints do not work where KVM emulates the processor, and KVM does not count instructions.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic};
use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_INJECT_DB, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP,
    kvm_debugregs, kvm_dtable, kvm_guest_debug, kvm_guest_debug_arch, kvm_regs,
};

use flatland_x86::instruction::is_repeated_string;
use flatland_x86::{DebugStop, Engine, EngineError, Exit, Stops, Unsupported, eflags};

use super::exception_page::DEBUG_EXCEPTION;
use super::{Kind, KvmEngine, LastExit, exception_page, run_page};

/// The breakpoints that fit the debug registers DR0 to DR3 (SDM volume 3, section 19.2.1).
const DEBUG_REGISTERS: usize = 4;

const HLT: u8 = 0xf4;
/// EFLAGS.TF (SDM volume 1, section 3.4.3.3).
const TF: u64 = eflags::TF as u64;
/// DR6.BS: TF caused the debug exception (SDM volume 3, section 19.2.3).
const DR6_SINGLE_STEP: u64 = 1 << 14;

/// No steps and no breakpoints.
pub const NOTHING: kvm_guest_debug =
    kvm_guest_debug { control: 0, pad: 0, arch: kvm_guest_debug_arch { debugreg: [0; 8] } };

/// Where a run stops.
#[derive(Clone, Debug, Default)]
pub struct Stopping {
    step: bool,
    breakpoints: Vec<u32>,
    /// The address of the last [`Exit::Debug`].
    reported: Option<u32>,
    /// The repeated instruction that is being stepped over. KVM stops after some or all of its iterations.
    repeating: Option<u32>,
    /// TF is KVM's in the current run, for a step, and not the guest's.
    hides_trap_flag: bool,
    /// KVM steps in the current run.
    is_stepping: bool,
    /// The guest's IDT register, cached from one step to the next; `None` if it is not known.
    idt: Option<kvm_dtable>,
}

impl Stopping {
    /// Converts these stops to KVM's form. Fails if KVM does not support them.
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

    /// Replaces the stops. Keeps the address of the last reported stop and the repeated instruction in progress.
    pub fn replace(&mut self, other: Self) {
        *self = Self { reported: self.reported, repeating: self.repeating, ..other };
    }

    /// Forgets the last stop: the guest is no longer there.
    pub fn forget_report(&mut self) {
        self.reported = None;
        self.repeating = None;
        self.idt = None;
    }

    /// Whether the repeated instruction at this address is being stepped over.
    pub fn is_in(&self, eip: u32) -> bool {
        self.repeating == Some(eip)
    }

    /// Whether it stops after each instruction.
    pub fn steps(&self) -> bool {
        self.step
    }

    /// Whether the last stop was reported at this address.
    pub fn was_reported(&self, eip: u32) -> bool {
        self.reported == Some(eip)
    }

    /// A stop at this address has been reported.
    pub fn report(&mut self, eip: u32) {
        self.reported = Some(eip);
    }

    /// Forgets a repeated instruction in progress: the registers have been changed.
    pub fn forget_progress(&mut self) {
        self.repeating = None;
    }

    /// EFLAGS of a frame that an exception pushed, as the guest had them.
    pub fn pushed_flags(&self, eflags: u32) -> u32 {
        if self.hides_trap_flag && self.is_active() { eflags & !(TF as u32) } else { eflags }
    }

    /// Whether KVM steps in the current run.
    pub fn is_stepping(&self) -> bool {
        self.is_stepping && self.is_active()
    }

    /// Whether there are any stops.
    pub fn is_active(&self) -> bool {
        self.step || !self.breakpoints.is_empty()
    }

    /// How to run from here.
    fn guest_debug(&self, how: &How) -> kvm_guest_debug {
        let mut debug = NOTHING;
        let (single_step, breakpoints) = match how {
            How::Step(handlers) => (KVM_GUESTDBG_SINGLESTEP, &handlers[..]),
            How::IntoHandlers(handlers) => (0, &handlers[..]),
            How::ToBreakpoints => (0, &self.breakpoints[..]),
        };
        debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP | single_step;
        // DR7: bit 10 is always set; Gn enables breakpoint n, on execution where its other bits are clear (SDM
        // volume 3, section 19.2.4).
        debug.arch.debugreg[7] = 1 << 10;
        for (number, address) in breakpoints.iter().enumerate() {
            debug.arch.debugreg[number] = (*address).into();
            debug.arch.debugreg[7] |= 0b10 << (2 * number);
        }
        debug
    }
}

/// How far to run.
enum How {
    /// To the end of an instruction, or into one of these handlers if it faults. KVM sets TF for this and hides it
    /// from the guest.
    Step(Vec<u32>),
    /// To a breakpoint.
    ToBreakpoints,
    /// To the end of an instruction with the guest's own TF set, and from there into the trap's handler or another of
    /// these handlers.
    IntoHandlers(Vec<u32>),
}

impl KvmEngine {
    /// Runs until an exit of the guest's own or until a stop. At a stop EIP is its address, and the exit is
    /// [`Kind::Debug`] after a step or [`Kind::Breakpoint`].
    pub(super) fn enter_until_stop(&mut self) -> Result<Kind, EngineError> {
        if matches!(self.last, LastExit::In | LastExit::Out | LastExit::Sent { .. }) {
            if let Some(kind) = self.finish_io()? {
                return Ok(kind);
            }
            self.last = LastExit::Before;
            let regs = self.kvm_regs()?;
            let goes_on = self.stopping.repeating == Some(regs.rip as u32) || regs.rflags & TF != 0;
            if self.stopping.step && !goes_on {
                return Ok(Kind::Debug);
            }
        }
        // Whether to deliver the trap of the guest's own TF.
        let mut trap = false;
        loop {
            let mut regs = self.kvm_regs()?;
            let eip = regs.rip as u32;
            let goes_on = self.stopping.repeating.take() == Some(eip) || trap;
            let at_breakpoint = self.stopping.breakpoints.contains(&eip);
            if at_breakpoint && self.stopping.reported != Some(eip) && !goes_on {
                return Ok(Kind::Breakpoint);
            }
            self.stopping.reported = None;
            let step =
                self.stopping.step || at_breakpoint || self.stopping.breakpoints.len() > DEBUG_REGISTERS;
            let code = self.code_at(eip);
            if step && !trap && code.as_slice().first() == Some(&HLT) {
                // A KVM that emulates the processor steps over a `hlt` and continues.
                regs.rip += 1;
                self.set_kvm_regs(&regs)?;
                return Ok(Kind::Halt);
            }
            // While KVM steps, it hides TF. So a guest that has set TF is stepped by its own TF.
            let is_traced = regs.rflags & TF != 0;
            let instruction =
                Decoder::with_ip(32, code.as_slice(), eip.into(), DecoderOptions::NONE).decode();
            let mut vectors = vectors_of(&instruction);
            let how = if !step {
                How::ToBreakpoints
            } else if is_traced {
                vectors[STACK_FAULT_SLOT] = DEBUG_EXCEPTION;
                How::IntoHandlers(self.handlers(&vectors, eip)?)
            } else {
                How::Step(self.handlers(&vectors, eip)?)
            };
            if step && !is_traced && is_repeated_string(code.as_slice()) {
                self.stopping.repeating = Some(eip);
            }
            if !step || instruction.mnemonic() == Mnemonic::Lidt {
                self.stopping.idt = None;
            }
            let sets_tf = self.sets_trap_flag(&instruction, regs.rsp as u32);
            // Set before each run, because an exit may have cleared it.
            let mut debug = self.stopping.guest_debug(&how);
            if std::mem::take(&mut trap) {
                debug.control |= KVM_GUESTDBG_INJECT_DB;
            }
            self.set_guest_debug(&debug)?;
            self.stopping.hides_trap_flag = matches!(how, How::Step(_));
            self.stopping.is_stepping = !matches!(how, How::ToBreakpoints);
            match self.run_vcpu()? {
                Kind::Debug => {}
                Kind::Interrupted if at_breakpoint => {
                    // Interrupted before the instruction was executed.
                    self.stopping.reported = Some(eip);
                    return Ok(Kind::Interrupted);
                }
                kind => return Ok(kind),
            }
            let eip = self.kvm_regs()?.rip as u32;
            if exception_page::vector_at(eip).is_some() {
                // The step ended at the `hlt` of an exception, in the exception page.
                return Ok(Kind::Halt);
            }
            if let How::Step(handlers) = how {
                let is_in_handler = handlers.contains(&eip) && instruction.mnemonic() != Mnemonic::Call;
                self.hide_step(&instruction, sets_tf, is_in_handler)?;
            } else if run_page::debug_status(self.vcpu.get_kvm_run()) & DR6_SINGLE_STEP != 0 {
                // If the processor runs the guest, the guest's own trap is reported here first.
                trap = true;
                self.set_single_step_status()?;
                continue;
            }
            if self.stopping.step && self.stopping.repeating != Some(eip) {
                return Ok(Kind::Debug);
            }
        }
    }

    /// Must be called before registers are set: while KVM steps, it ignores TF.
    pub(super) fn stop_stepping(&self) -> Result<(), EngineError> {
        if self.stopping.is_active() { self.set_guest_debug(&NOTHING) } else { Ok(()) }
    }

    fn set_guest_debug(&self, debug: &kvm_guest_debug) -> Result<(), EngineError> {
        self.vcpu
            .set_guest_debug(debug)
            .map_err(|errno| EngineError::Call { call: "KVM_SET_GUEST_DEBUG", cause: errno.into() })
    }

    /// The addresses of the guest's own handlers of these exceptions, as far as its IDT has them. Leaves out a
    /// handler that begins at `eip`: a breakpoint there would stop before the instruction.
    fn handlers(&mut self, vectors: &[u8], eip: u32) -> Result<Vec<u32>, EngineError> {
        let idt = match self.stopping.idt {
            Some(idt) => idt,
            None => {
                let failed = |errno: kvm_ioctls::Error| EngineError::Call {
                    call: "KVM_GET_SREGS",
                    cause: errno.into(),
                };
                *self.stopping.idt.insert(self.vcpu.get_sregs().map_err(failed)?.idt)
            }
        };
        // The host's own table is not in RAM.
        let handler = |vector: &u8| {
            let offset = u32::from(*vector) * 8;
            let gate = (idt.base as u32).checked_add(offset).filter(|_| offset + 7 <= idt.limit.into())?;
            let (low, high) = (self.read_u32(gate)?, self.read_u32(gate.checked_add(4)?)?);
            Some(low & 0xffff | high & 0xffff_0000).filter(|handler| *handler != eip)
        };
        Ok(vectors.iter().filter_map(handler).collect())
    }

    /// Whether an instruction sets TF from the stack.
    fn sets_trap_flag(&self, instruction: &Instruction, esp: u32) -> bool {
        let offset = match instruction.code() {
            Code::Popfw | Code::Popfd => 0,
            Code::Iretw => 4,
            Code::Iretd => 8,
            _ => return false,
        };
        self.read_u32(esp.wrapping_add(offset)).is_some_and(|image| u64::from(image) & TF != 0)
    }

    /// Corrects the effect of KVM's TF on an instruction that the guest executed without TF.
    fn hide_step(
        &mut self,
        instruction: &Instruction,
        sets_tf: bool,
        is_in_handler: bool,
    ) -> Result<(), EngineError> {
        if sets_tf {
            // KVM clears TF when the step ends. This sets it again, because the guest has now set it itself.
            self.set_guest_debug(&NOTHING)?;
            let regs = self.kvm_regs()?;
            self.set_kvm_regs(&kvm_regs { rflags: regs.rflags | TF, ..regs })?;
        }
        let pushes_flags = matches!(instruction.code(), Code::Pushfw | Code::Pushfd);
        if !pushes_flags && !is_in_handler {
            return Ok(());
        }
        let esp = self.kvm_regs()?.rsp as u32;
        let word = |index: u32| self.read_u32(esp.wrapping_add(index * 4));
        let (at, behind) = (Some(instruction.ip32()), Some(instruction.next_ip32()));
        let is_frame =
            |start| [at, behind].contains(&word(start)) && word(start + 1).is_some_and(is_selector);
        let pushed = if pushes_flags {
            0
        } else if is_frame(0) {
            // EIP, CS, EFLAGS (SDM volume 3, section 7.12.1).
            8
        } else if is_frame(1) {
            // The same above an error code.
            12
        } else {
            return Ok(());
        };
        let pushed = esp.wrapping_add(pushed);
        let mut image = [0; 2];
        if self.read_ram(pushed, &mut image) == image.len() {
            let image = u16::from_le_bytes(image) & !(TF as u16);
            self.write_ram(pushed, &image.to_le_bytes());
        }
        Ok(())
    }

    /// The guest's own debug registers.
    pub(super) fn debug_registers(&self) -> Result<kvm_debugregs, EngineError> {
        self.vcpu
            .get_debug_regs()
            .map_err(|errno| EngineError::Call { call: "KVM_GET_DEBUGREGS", cause: errno.into() })
    }

    /// Sets DR6.BS, as the processor does for a trap by TF.
    fn set_single_step_status(&self) -> Result<(), EngineError> {
        let mut registers = self.debug_registers()?;
        registers.dr6 |= DR6_SINGLE_STEP;
        self.vcpu
            .set_debug_regs(&registers)
            .map_err(|errno| EngineError::Call { call: "KVM_SET_DEBUGREGS", cause: errno.into() })
    }

    /// Reports a stop that was reached at EIP.
    pub(super) fn on_debug(&mut self, stop: DebugStop) -> Result<Exit<'_>, EngineError> {
        let eip = self.kvm_regs()?.rip as u32;
        self.last = LastExit::Before;
        self.stopping.reported = Some(eip);
        Ok(Exit::Debug(stop))
    }
}

/// The exceptions that an instruction can raise, at most as many as there are debug registers.
fn vectors_of(instruction: &Instruction) -> [u8; DEBUG_REGISTERS] {
    const DIVIDE_ERROR: u8 = 0;
    const BOUND_RANGE: u8 = 5;
    const INVALID_OPCODE: u8 = 6;
    const NOT_PRESENT: u8 = 11;
    const STACK_FAULT: u8 = 12;
    const GENERAL_PROTECTION: u8 = 13;
    let of_its_own = match instruction.mnemonic() {
        Mnemonic::Int => instruction.immediate8(),
        Mnemonic::Int1 => DEBUG_EXCEPTION,
        Mnemonic::Int3 => 3,
        Mnemonic::Into => 4,
        Mnemonic::Bound => BOUND_RANGE,
        Mnemonic::Div | Mnemonic::Idiv | Mnemonic::Aam => DIVIDE_ERROR,
        _ => NOT_PRESENT,
    };
    [of_its_own, INVALID_OPCODE, GENERAL_PROTECTION, STACK_FAULT]
}

/// The slot of the stack fault, which is left out if another address is needed.
const STACK_FAULT_SLOT: usize = 3;

/// Whether a word of a frame can be CS, of which only the lower half counts.
fn is_selector(word: u32) -> bool {
    word & 0xffff != 0
}
