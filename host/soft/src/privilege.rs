//! Transfers between privilege levels: which code may be reached, and which stack it gets (SDM volume 3, section 6.8).
//!
//! What a failed transfer has changed is undone by [`Cpu::attempt`].

use super::cpu::{Cpu, register::ESP};
use super::event::{Break, Event, Problem, Step};
use super::segment::number::{CS, DS, ES, FS, GS, SS};
use super::segment::{Descriptor, Segment, TABLE_INDICATOR, error_code, is_null};

/// The types of system descriptors (SDM volume 3, table 3-2).
pub mod system_type {
    pub const AVAILABLE_TSS_16: u8 = 0x1;
    pub const LDT: u8 = 0x2;
    pub const CALL_GATE_16: u8 = 0x4;
    pub const TASK_GATE: u8 = 0x5;
    pub const INTERRUPT_GATE_16: u8 = 0x6;
    pub const TRAP_GATE_16: u8 = 0x7;
    pub const AVAILABLE_TSS_32: u8 = 0x9;
    pub const CALL_GATE_32: u8 = 0xc;
    pub const INTERRUPT_GATE_32: u8 = 0xe;
    pub const TRAP_GATE_32: u8 = 0xf;
}

/// A code segment that a transfer leads to, found and checked.
#[derive(Clone, Copy)]
pub struct Target {
    descriptor: Descriptor,
    address: u32,
    selector: u16,
    /// The privilege level there.
    pub level: u8,
}

/// A stack, and the privilege level that it is used at.
#[derive(Clone, Copy)]
pub struct Stack {
    segment: Segment,
    esp: u32,
    level: u8,
}

impl Cpu {
    /// The stack that is used.
    pub fn stack(&self) -> Stack {
        Stack { segment: *self.segment(SS), esp: self.reg(ESP), level: self.privilege_level() }
    }

    /// Uses another stack, which has been checked.
    pub fn set_stack(&mut self, stack: Stack) {
        self.set_segment(SS, stack.segment);
        self.set_reg(ESP, stack.esp);
        self.set_privilege_level(stack.level);
    }

    /// Does what changes several registers, and undoes it if that fails: privilege level, stack, CS and flags.
    pub fn attempt<R>(&mut self, action: impl FnOnce(&mut Self) -> Result<R, Break>) -> Result<R, Break> {
        let level = self.privilege_level();
        let (code, stack, esp) = (*self.segment(CS), *self.segment(SS), self.reg(ESP));
        let (eflags, eip) = (self.control_flags, self.eip);
        action(self).inspect_err(|_| {
            self.set_segment(CS, code);
            self.set_segment(SS, stack);
            self.set_reg(ESP, esp);
            (self.control_flags, self.eip) = (eflags, eip);
            self.set_privilege_level(level);
        })
    }

    /// Reads the descriptor of code that a selector selects. `external` is added to error codes.
    fn code_descriptor(&mut self, selector: u16, external: u32) -> Result<(Descriptor, u32), Break> {
        if is_null(selector) {
            return Err(self.general_protection(external));
        }
        self.find_descriptor(selector)?
            .ok_or(())
            .map_err(|()| self.general_protection(error_code(selector) | external))
    }

    /// The code that `jmp` or `call` reaches without a gate (SDM volume 3, section 6.8.1).
    pub fn direct_target(
        &mut self,
        selector: u16,
        descriptor: Descriptor,
        address: u32,
    ) -> Result<Target, Break> {
        let (level, requested) = (self.privilege_level(), (selector & 0b11) as u8);
        let allowed = if descriptor.is_conforming() {
            descriptor.privilege_level() <= level
        } else {
            descriptor.privilege_level() == level && requested <= level
        };
        self.present_target(selector, descriptor, address, level, allowed, 0)
    }

    /// The code that a gate leads to. `deepens` says whether it may be more privileged.
    pub fn gate_target(&mut self, selector: u16, deepens: bool, external: u32) -> Result<Target, Break> {
        let (descriptor, address) = self.code_descriptor(selector, external)?;
        let (level, wanted) = (self.privilege_level(), descriptor.privilege_level());
        let stays = descriptor.is_conforming() || wanted == level;
        let allowed = descriptor.is_code() && wanted <= level && (stays || deepens);
        let level = if stays { level } else { wanted };
        self.present_target(selector, descriptor, address, level, allowed, external)
    }

    /// The code that `ret` or `iret` goes back to.
    pub fn return_target(&mut self, selector: u16) -> Result<Target, Break> {
        let (descriptor, address) = self.code_descriptor(selector, 0)?;
        let (requested, wanted) = ((selector & 0b11) as u8, descriptor.privilege_level());
        let fits = if descriptor.is_conforming() { wanted <= requested } else { wanted == requested };
        let allowed = descriptor.is_code() && requested >= self.privilege_level() && fits;
        self.present_target(selector, descriptor, address, requested, allowed, 0)
    }

    fn present_target(
        &mut self,
        selector: u16,
        descriptor: Descriptor,
        address: u32,
        level: u8,
        allowed: bool,
        external: u32,
    ) -> Result<Target, Break> {
        let code = error_code(selector) | external;
        if !allowed {
            return Err(self.general_protection(code));
        }
        if !descriptor.is_present() {
            return Err(self.not_present(code));
        }
        Ok(Target { descriptor, address, selector, level })
    }

    /// Loads CS. The descriptor is marked as accessed only after all checks.
    pub fn enter_code(&mut self, target: Target, offset: u32, external: u32) -> Step {
        if offset > target.descriptor.limit() {
            return Err(self.general_protection(external));
        }
        self.mark_accessed(target.descriptor, target.address)?;
        let selector = target.selector & !0b11 | u16::from(target.level);
        self.set_segment(CS, Segment::new(selector, target.descriptor));
        Ok(())
    }

    /// Goes to the stack that the task state segment has for a more privileged level, and returns the selector and stack
    /// pointer of the one before (SDM volume 3, section 6.8.5).
    pub fn enter_inner_stack(&mut self, level: u8, external: u32) -> Result<(u16, u32), Break> {
        let task = self.task;
        let is_32_bit = task.rights & 0b1000 != 0;
        let level_offset = u32::from(level);
        let (offset, len) = if is_32_bit { (4 + level_offset * 8, 6) } else { (2 + level_offset * 4, 4) };
        if offset + len - 1 > task.limit {
            return Err(self.invalid_tss(error_code(task.selector) | external));
        }
        let at = task.base.wrapping_add(offset);
        let (esp, selector) = if is_32_bit {
            (self.load_system::<u32>(at)?, self.load_system::<u16>(at.wrapping_add(4))?)
        } else {
            (u32::from(self.load_system::<u16>(at)?), self.load_system::<u16>(at.wrapping_add(2))?)
        };
        let code = error_code(selector) | external;
        let found = if is_null(selector) { None } else { self.find_descriptor(selector)? };
        let Some((descriptor, address)) = found.filter(|(descriptor, _)| {
            let levels = (selector & 0b11, u16::from(descriptor.privilege_level()));
            descriptor.is_writable() && levels == (level.into(), level.into())
        }) else {
            return Err(self.invalid_tss(code));
        };
        if !descriptor.is_present() {
            return Err(self.stack_fault(code));
        }
        let before = (self.segment(SS).selector, self.reg(ESP));
        self.mark_accessed(descriptor, address)?;
        self.set_segment(SS, Segment::new(selector, descriptor));
        self.set_reg(ESP, esp);
        self.set_privilege_level(level);
        Ok(before)
    }

    /// Goes back to the stack of a less privileged level. Data segments that it may not use become null.
    pub fn enter_outer_stack(&mut self, level: u8, selector: u16, esp: u32) -> Step {
        if is_null(selector) {
            return Err(self.general_protection(0));
        }
        let segment = self.stack_segment(selector, level)?;
        self.set_segment(SS, segment);
        let mask = self.stack_mask();
        self.set_reg(ESP, self.reg(ESP) & !mask | esp & mask);
        self.set_privilege_level(level);
        Ok(())
    }

    /// Data segments that a less privileged level may not use become null (SDM volume 2, RET).
    pub fn drop_inner_segments(&mut self) {
        for register in [ES, DS, FS, GS] {
            let is_inner = self.segment(register).descriptor.is_some_and(|descriptor| {
                !descriptor.is_conforming() && descriptor.privilege_level() < self.privilege_level()
            });
            if is_inner {
                self.set_segment(register, Segment::null(0));
            }
        }
    }

    /// Whether data, or code as data, may be used: neither the current level nor the requested one is less privileged than
    /// its own (SDM volume 3, section 6.6).
    pub fn reaches(&self, selector: u16, descriptor: Descriptor) -> bool {
        let level = self.privilege_level().max((selector & 0b11) as u8);
        descriptor.is_conforming() || level <= descriptor.privilege_level()
    }

    /// The segment that a selector, which is not null, loads into SS at a privilege level (SDM volume 2, MOV).
    pub fn stack_segment(&mut self, selector: u16, level: u8) -> Result<Segment, Break> {
        let code = error_code(selector);
        let levels = |descriptor: Descriptor| (selector & 0b11, u16::from(descriptor.privilege_level()));
        match self.find_descriptor(selector)? {
            Some((descriptor, address))
                if descriptor.is_writable() && levels(descriptor) == (level.into(), level.into()) =>
            {
                if !descriptor.is_present() {
                    return Err(self.stack_fault(code));
                }
                self.mark_accessed(descriptor, address)?;
                Ok(Segment::new(selector, descriptor))
            }
            _ => Err(self.general_protection(code)),
        }
    }

    /// Loads CS and SS with flat segments of a privilege level, as `sysenter` and `sysexit` do.
    pub fn enter_flat(&mut self, code_selector: u16, level: u8) {
        let [_, code, data] = flatland_x86::entry::DESCRIPTORS;
        let descriptor = |flat: u64| Descriptor(flat | u64::from(level) << 45);
        let selector = code_selector & !0b11 | u16::from(level);
        self.set_segment(CS, Segment::new(selector, descriptor(code)));
        self.set_segment(SS, Segment::new(selector.wrapping_add(8), descriptor(data)));
        self.set_privilege_level(level);
    }

    /// Fails unless the privilege level allows I/O, or the task state segment allows it for the port (SDM volume 1, section
    /// 19.5).
    pub fn check_port(&mut self, port: u16, width: u32) -> Step {
        const MAP_BASE: u32 = 0x66;
        if self.has_io_privilege() {
            return Ok(());
        }
        let task = self.task;
        let is_32_bit = task.rights & 0b1000 != 0;
        if is_32_bit && MAP_BASE < task.limit {
            let base = u32::from(self.load_system::<u16>(task.base.wrapping_add(MAP_BASE))?);
            let offset = base + u32::from(port >> 3);
            if offset < task.limit {
                let bits: u16 = self.load_system(task.base.wrapping_add(offset))?;
                if u32::from(bits >> (port & 7)) & ((1 << width) - 1) == 0 {
                    return Ok(());
                }
            }
        }
        Err(self.general_protection(0))
    }

    /// Whether the privilege level is at most IOPL.
    pub fn has_io_privilege(&self) -> bool {
        let allowed = (self.control_flags & super::flags::IOPL) >> 12;
        u32::from(self.privilege_level()) <= allowed
    }

    /// A descriptor of the GDT for LDTR or TR, of one of these types.
    pub fn system_descriptor(&mut self, selector: u16, types: &[u8]) -> Result<(Descriptor, u32), Break> {
        let code = error_code(selector);
        let found = if selector & TABLE_INDICATOR == 0 { self.find_descriptor(selector)? } else { None };
        match found {
            Some((descriptor, _)) if descriptor.is_code_or_data() || !types.contains(&descriptor.type_()) => {
                Err(self.general_protection(code))
            }
            Some((descriptor, _)) if !descriptor.is_present() => Err(self.not_present(code)),
            Some(found) => Ok(found),
            None => Err(self.general_protection(code)),
        }
    }

    /// The fault of a push to an inner stack: if there is no room, it names the stack.
    pub fn stack_is_full(&mut self, reason: Break, code: u32) -> Break {
        const STACK_FAULT: u8 = 12;
        if let Problem::Event(Event { vector: STACK_FAULT, error_code, .. }) = &mut self.problem {
            *error_code = Some(code);
        }
        reason
    }

    /// #TS.
    fn invalid_tss(&mut self, error_code: u32) -> Break {
        self.exception(10, Some(error_code))
    }

    /// A task switch by the processor, which this engine does not have.
    pub fn task_switch(&mut self) -> Break {
        self.fail(Problem::Unsupported)
    }
}
