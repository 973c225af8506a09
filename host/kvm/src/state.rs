//! The processor's architectural state, in KVM's form and in the engines' common form.

use flatland_x86::{
    Engine, EngineError, Fpu, Location, PendingException, Position, Processor, SegmentRegister, Shadow, cr0,
};
use kvm_bindings::{
    KVM_VCPUEVENT_VALID_SHADOW, KVM_X86_SHADOW_INT_MOV_SS, KVM_X86_SHADOW_INT_STI, kvm_debugregs, kvm_dtable,
    kvm_segment, kvm_sregs, kvm_vcpu_events, kvm_xsave,
};

use super::registers::kvm_regs_of;
use super::{KvmEngine, LastExit, entry::Table, interrupts};

impl KvmEngine {
    /// See [`Engine::processor`].
    pub(super) fn state(&mut self) -> Result<(Processor, Position), EngineError> {
        self.stop_stepping()?;
        let registers = self.registers()?;
        let time_stamp = self.time_stamp()?;
        let vcpu = &self.vcpu;
        let sregs = vcpu.get_sregs().map_err(EngineError::call("KVM_GET_SREGS"))?;
        let xsave = vcpu.get_xsave().map_err(EngineError::call("KVM_GET_XSAVE"))?;
        let debug = vcpu.get_debug_regs().map_err(EngineError::call("KVM_GET_DEBUGREGS"))?;
        let events = vcpu.get_vcpu_events().map_err(EngineError::call("KVM_GET_VCPU_EVENTS"))?;
        let segments = [&sregs.es, &sregs.cs, &sregs.ss, &sregs.ds, &sregs.fs, &sregs.gs];
        let [d0, d1, d2, d3] = debug.db.map(|address| address as u32);
        let processor = Processor {
            registers,
            segments: segments.map(segment_register),
            ldtr: segment_register(&sregs.ldt),
            tr: segment_register(&sregs.tr),
            gdt: table(&sregs.gdt),
            idt: table(&sregs.idt),
            cr0: sregs.cr0 as u32,
            cr2: sregs.cr2 as u32,
            cr3: sregs.cr3 as u32,
            cr4: sregs.cr4 as u32,
            debug: [d0, d1, d2, d3, 0, 0, debug.dr6 as u32, debug.dr7 as u32],
            shadow: match u32::from(events.interrupt.shadow) {
                0 => Shadow::None,
                KVM_X86_SHADOW_INT_STI => Shadow::Sti,
                _ => Shadow::MovSs,
            },
            // KVM also queues #UD when it reports an instruction that it cannot emulate.
            pending: pending(&events).filter(|_| !matches!(self.last, LastExit::Fault(..))),
            interrupts: interrupts::with_accepted(&events, self.interrupts),
            fpu: Some(Box::new(fpu_of(&xsave))),
            msrs: self.msrs()?,
            time_stamp,
            instructions: self.instructions,
        };
        let location = self.location()?;
        let was_reported = self.stopping.was_reported(processor.registers.eip);
        Ok((processor, Position { location, was_reported }))
    }

    /// See [`Engine::set_processor`].
    pub(super) fn set_state(&mut self, processor: &Processor, position: Position) -> Result<(), EngineError> {
        if processor.cr0 & cr0::PG != 0 && !self.has_paging(processor)? {
            return Err(EngineError::CannotCarryOn { engine: "KVM", what: "paging on this host" });
        }
        // KVM would finish the I/O of the last exit on the new registers.
        self.discard_exit()?;
        self.stop_stepping()?;
        let vcpu = &self.vcpu;
        vcpu.set_sregs(&kvm_sregs_of(processor, &self.reset.sregs))
            .map_err(EngineError::refused("KVM_SET_SREGS"))?;
        vcpu.set_regs(&kvm_regs_of(&processor.registers)).map_err(EngineError::refused("KVM_SET_REGS"))?;
        let xsave = processor.fpu.as_deref().map_or_else(|| kvm_xsave_of(&Fpu::default()), kvm_xsave_of);
        // SAFETY: the area is of the size that KVM reads: this process has enabled no feature that makes it larger.
        let result = unsafe { vcpu.set_xsave(&xsave) };
        result.map_err(EngineError::refused("KVM_SET_XSAVE"))?;
        let [d0, d1, d2, d3, _, _, dr6, dr7] = processor.debug.map(u64::from);
        let debug = kvm_debugregs { db: [d0, d1, d2, d3], dr6, dr7, ..Default::default() };
        vcpu.set_debug_regs(&debug).map_err(EngineError::refused("KVM_SET_DEBUGREGS"))?;
        vcpu.set_vcpu_events(&kvm_events_of(processor))
            .map_err(EngineError::refused("KVM_SET_VCPU_EVENTS"))?;
        self.set_msrs(&processor.msrs)?;
        self.raise_time_stamp(processor.time_stamp)?;
        self.stopping.forget_report();
        self.last = match position.location {
            Location::At(eip) if eip == processor.registers.eip => LastExit::Before,
            Location::EndsAt(eip) if eip == processor.registers.eip => LastExit::After,
            location => LastExit::Elsewhere(location),
        };
        self.instructions = processor.instructions;
        self.interrupts = processor.interrupts;
        self.is_as_left = false;
        if position.was_reported {
            self.stopping.report(processor.registers.eip);
        }
        Ok(())
    }
}

impl KvmEngine {
    /// Whether KVM takes a state with paging. One that emulates the processor leaves PG clear, and says nothing.
    fn has_paging(&self, processor: &Processor) -> Result<bool, EngineError> {
        let get = || self.vcpu.get_sregs().map_err(EngineError::call("KVM_GET_SREGS"));
        let set =
            |sregs: &kvm_sregs| self.vcpu.set_sregs(sregs).map_err(EngineError::refused("KVM_SET_SREGS"));
        let before = get()?;
        set(&kvm_sregs_of(processor, &self.reset.sregs))?;
        let has_paging = get()?.cr0 as u32 & cr0::PG != 0;
        set(&before)?;
        Ok(has_paging)
    }
}

/// The state in KVM's form. All that a 32-bit guest cannot change is as after the reset.
pub fn kvm_sregs_of(processor: &Processor, reset: &kvm_sregs) -> kvm_sregs {
    let [es, cs, ss, ds, fs, gs] = processor.segments.map(|register| kvm_segment_of(&register));
    kvm_sregs {
        cs,
        ds,
        es,
        fs,
        gs,
        ss,
        tr: kvm_segment_of(&processor.tr),
        ldt: kvm_segment_of(&processor.ldtr),
        gdt: kvm_table_of(&processor.gdt),
        idt: kvm_table_of(&processor.idt),
        cr0: processor.cr0.into(),
        cr2: processor.cr2.into(),
        cr3: processor.cr3.into(),
        cr4: processor.cr4.into(),
        ..*reset
    }
}

/// A segment register in KVM's form. The rights' bits are those of a descriptor (SDM volume 3, figure 3-8).
fn kvm_segment_of(register: &SegmentRegister) -> kvm_segment {
    let SegmentRegister { selector, base, limit, rights } = *register;
    let bit = |number: u16| (rights >> number) as u8 & 1;
    kvm_segment {
        base: base.into(),
        limit,
        selector,
        type_: rights as u8 & 0xf,
        s: bit(4),
        dpl: (rights >> 5) as u8 & 0b11,
        present: bit(7),
        avl: bit(12),
        l: bit(13),
        db: bit(14),
        g: bit(15),
        unusable: u8::from(rights & SegmentRegister::PRESENT == 0),
        padding: 0,
    }
}

/// The inverse of [`kvm_segment_of`].
fn segment_register(segment: &kvm_segment) -> SegmentRegister {
    if segment.unusable != 0 || segment.present == 0 {
        return SegmentRegister { selector: segment.selector, base: 0, limit: 0, rights: 0 };
    }
    let bit = |value: u8, number: u16| u16::from(value) << number;
    let rights = bit(segment.type_, 0)
        | bit(segment.s, 4)
        | bit(segment.dpl, 5)
        | bit(segment.present, 7)
        | bit(segment.avl, 12)
        | bit(segment.l, 13)
        | bit(segment.db, 14)
        | bit(segment.g, 15);
    SegmentRegister { selector: segment.selector, base: segment.base as u32, limit: segment.limit, rights }
}

fn kvm_table_of(table: &Table) -> kvm_dtable {
    kvm_dtable { base: table.base.into(), limit: table.limit, ..Default::default() }
}

fn table(table: &kvm_dtable) -> Table {
    Table { base: table.base as u32, limit: table.limit }
}

/// An XSAVE area (SDM volume 1, section 13.4): FXSAVE's (table 10-2), and a header that says that x87 and SSE are in it.
fn kvm_xsave_of(fpu: &Fpu) -> kvm_xsave {
    const X87_AND_SSE: u8 = 0b11;
    let mut area = [0; XSAVE_AREA];
    let mut put = |offset: usize, bytes: &[u8]| area[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, &fpu.control.to_le_bytes());
    put(2, &fpu.status.to_le_bytes());
    put(4, &[fpu.tags]);
    put(6, &fpu.opcode.to_le_bytes());
    put(8, &fpu.instruction.to_le_bytes());
    put(16, &fpu.data.to_le_bytes());
    put(24, &fpu.mxcsr.to_le_bytes());
    put(32, fpu.st.as_flattened());
    put(160, fpu.xmm.as_flattened());
    put(512, &[X87_AND_SSE]);
    let mut xsave = kvm_xsave::default();
    for (word, bytes) in xsave.region.iter_mut().zip(area.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    xsave
}

/// FXSAVE's part and the header.
const XSAVE_AREA: usize = 512 + 64;

/// The inverse of [`kvm_xsave_of`]. A 32-bit guest has eight XMM registers.
fn fpu_of(xsave: &kvm_xsave) -> Fpu {
    let mut area = [0; XSAVE_AREA];
    for (bytes, word) in area.as_chunks_mut().0.iter_mut().zip(&xsave.region) {
        *bytes = word.to_le_bytes();
    }
    fn get<const N: usize>(area: &[u8], offset: usize) -> [u8; N] {
        *area[offset..].first_chunk().expect("it lies in the area")
    }
    let registers = |offset: usize| std::array::from_fn(|number| get(&area, offset + 16 * number));
    Fpu {
        control: u16::from_le_bytes(get(&area, 0)),
        status: u16::from_le_bytes(get(&area, 2)),
        tags: area[4],
        opcode: u16::from_le_bytes(get(&area, 6)),
        instruction: u64::from_le_bytes(get(&area, 8)),
        data: u64::from_le_bytes(get(&area, 16)),
        mxcsr: u32::from_le_bytes(get(&area, 24)),
        st: registers(32),
        xmm: registers(160),
    }
}

fn kvm_events_of(processor: &Processor) -> kvm_vcpu_events {
    let mut events = kvm_vcpu_events { flags: KVM_VCPUEVENT_VALID_SHADOW, ..Default::default() };
    events.interrupt.shadow = match processor.shadow {
        Shadow::None => 0,
        Shadow::MovSs => KVM_X86_SHADOW_INT_MOV_SS as u8,
        Shadow::Sti => KVM_X86_SHADOW_INT_STI as u8,
    };
    if let Some(PendingException { vector, error_code }) = processor.pending {
        events.exception.injected = 1;
        events.exception.nr = vector;
        events.exception.has_error_code = error_code.is_some().into();
        events.exception.error_code = error_code.unwrap_or(0);
    }
    events
}

fn pending(events: &kvm_vcpu_events) -> Option<PendingException> {
    let exception = &events.exception;
    (exception.injected != 0 || exception.pending != 0).then(|| PendingException {
        vector: exception.nr,
        error_code: (exception.has_error_code != 0).then_some(exception.error_code),
    })
}

#[cfg(test)]
mod tests {
    use flatland_x86::{MemorySize, entry, segment};

    use super::*;

    #[test]
    fn the_state_survives_in_kvms_form() {
        let state = Processor::at_entry(MemorySize::default());
        let sregs = kvm_sregs_of(&state, &kvm_sregs::default());
        assert_eq!(segment_register(&sregs.cs), state.segments[usize::from(segment::CS)]);
        assert_eq!(segment_register(&sregs.ss), state.segments[usize::from(segment::SS)]);
        assert_eq!((segment_register(&sregs.tr), segment_register(&sregs.ldt)), (state.tr, state.ldtr));
        assert_eq!((table(&sregs.gdt), table(&sregs.idt)), (entry::GDT, entry::IDT));
        let null = SegmentRegister { selector: 3, base: 0, limit: 0, rights: 0 };
        assert_eq!(segment_register(&kvm_segment_of(&null)), null);
        let fpu = Fpu { tags: 1, xmm: [[7; 16]; 8], opcode: 5, ..Fpu::default() };
        assert_eq!(fpu_of(&kvm_xsave_of(&fpu)), fpu);
        for pending_exception in [None, Some(PendingException { vector: 13, error_code: Some(8) })] {
            let state = Processor { pending: pending_exception, ..state.clone() };
            assert_eq!(pending(&kvm_events_of(&state)), pending_exception);
        }
    }
}
