//! All of the processor's state at once: for another engine, for a snapshot, and from there.

use alloc::vec::Vec;

use flatland_x86::{Processor, Registers, SegmentRegister};

use super::{Cpu, Fpu, register};
use crate::flags::RF;
use crate::segment::Segment;

/// IA32_SYSENTER_CS, IA32_SYSENTER_ESP and IA32_SYSENTER_EIP (SDM volume 4, table 2-2).
pub const SYSENTER: [u32; 3] = [0x174, 0x175, 0x176];

/// Model-specific registers, of which these three may have changed. Those that are not there are 0.
fn with_sysenter(msrs: &[(u32, u64)], sysenter: [u32; 3]) -> Vec<(u32, u64)> {
    let mut msrs = msrs.to_vec();
    for (number, value) in SYSENTER.into_iter().zip(sysenter.map(u64::from)) {
        match msrs.iter_mut().find(|(index, _)| *index == number) {
            // The upper half is not this engine's.
            Some((_, kept)) if *kept as u32 != value as u32 => *kept = value,
            None if value != 0 => msrs.push((number, value)),
            _ => {}
        }
    }
    msrs
}

impl Cpu {
    /// The state, while no instruction is being executed.
    pub fn state(&self) -> Processor {
        // All fields by name, so that the compiler asks for each new field whether it belongs to the state.
        let Self {
            registers: _,
            flags: _,
            control_flags: _,
            eip: _,
            memory: _,
            ref segments,
            readable: _,
            readable_from: _,
            writable: _,
            translated: _,
            // That of SS.
            privilege_level: _,
            fault_address: _,
            stack_mask: _,
            gdt,
            idt,
            ldt,
            task,
            cr0,
            cr2,
            cr3,
            cr4,
            sysenter,
            debug,
            met: _,
            instructions,
            time_stamp_base,
            counts,
            problem: _,
            request: _,
            shadow: _,
            interrupts,
            comparisons: _,
            ref fpu,
            ref msrs,
        } = *self;
        Processor {
            registers: self.registers(),
            segments: segments.map(SegmentRegister::from),
            ldtr: ldt,
            tr: task,
            gdt,
            idt,
            cr0,
            cr2,
            cr3,
            cr4,
            debug,
            shadow: self.shadow(),
            pending: None,
            interrupts,
            fpu: fpu.state(),
            msrs: with_sysenter(msrs, sysenter),
            time_stamp: time_stamp_base.wrapping_add(instructions),
            instructions: counts.then_some(instructions),
        }
    }

    /// Sets the state. The caller delivers the pending exception.
    pub fn set_state(&mut self, state: &Processor) {
        let Processor {
            ref registers,
            segments,
            ldtr,
            tr,
            gdt,
            idt,
            cr0,
            cr2,
            cr3,
            cr4,
            debug,
            shadow,
            pending: _,
            interrupts,
            ref fpu,
            ref msrs,
            time_stamp,
            instructions,
        } = *state;
        self.set_registers(&registers.as_held());
        self.segments = segments.map(Segment::from);
        (self.gdt, self.idt, self.ldt, self.task, self.debug) = (gdt, idt, ldtr, tr, debug);
        if self.has_breakpoints() {
            self.control_flags |= registers.eflags & RF;
        }
        self.cr2 = cr2;
        *self.fpu = Fpu::from(fpu.as_deref().unwrap_or(&flatland_x86::Fpu::default()));
        self.msrs.clone_from(msrs);
        self.sysenter = SYSENTER.map(|number| {
            msrs.iter().find(|(index, _)| *index == number).map_or(0, |(_, value)| *value as u32)
        });
        (self.instructions, self.counts) = (instructions.unwrap_or(0), instructions.is_some());
        self.shadow = (shadow, self.instructions);
        self.interrupts = interrupts;
        self.time_stamp_base = time_stamp.wrapping_sub(self.instructions);
        self.set_privilege_level(state.privilege_level());
        self.set_paging(cr0, cr3, cr4);
    }

    /// General registers, EIP and EFLAGS.
    pub fn registers(&self) -> Registers {
        Registers {
            eax: self.reg(register::EAX),
            ebx: self.reg(register::EBX),
            ecx: self.reg(register::ECX),
            edx: self.reg(register::EDX),
            esi: self.reg(register::ESI),
            edi: self.reg(register::EDI),
            ebp: self.reg(register::EBP),
            esp: self.reg(register::ESP),
            eip: self.eip,
            eflags: self.eflags(),
        }
    }

    /// Sets general registers, EIP and EFLAGS.
    pub fn set_registers(&mut self, registers: &Registers) {
        for (number, value) in [
            (register::EAX, registers.eax),
            (register::EBX, registers.ebx),
            (register::ECX, registers.ecx),
            (register::EDX, registers.edx),
            (register::ESI, registers.esi),
            (register::EDI, registers.edi),
            (register::EBP, registers.ebp),
            (register::ESP, registers.esp),
        ] {
            self.set_reg(number, value);
        }
        self.eip = registers.eip;
        self.set_eflags(registers.eflags);
    }
}
