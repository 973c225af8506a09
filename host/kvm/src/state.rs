//! The processor's architectural state, in KVM's form and in the engines' common form.

use flatland_x86::{
    End, Engine, EngineError, Exit, Fpu, Location, PendingException, Position, Processor, SegmentRegister,
    Sent, Settled, Shadow,
};
use kvm_bindings::{
    KVM_MAX_MSR_ENTRIES, KVM_VCPUEVENT_VALID_SHADOW, KVM_X86_SHADOW_INT_MOV_SS, KVM_X86_SHADOW_INT_STI, Msrs,
    kvm_debugregs, kvm_dtable, kvm_msr_entry, kvm_segment, kvm_sregs, kvm_vcpu_events, kvm_xsave,
};
use kvm_ioctls::VcpuFd;

use super::{DebugStop, Direction, Kind, KvmEngine, LastExit, eflags, entry::Table, kvm_regs_of};

/// Model-specific registers about time, which goes on by itself: IA32_TIME_STAMP_COUNTER, IA32_TSC_ADJUST and
/// IA32_TSC_DEADLINE (SDM volume 4, table 2-2).
const TIME: [u32; 3] = [TIME_STAMP_COUNTER, 0x3b, 0x6e0];
const TIME_STAMP_COUNTER: u32 = 0x10;

/// What KVM does not list: IA32_APIC_BASE, IA32_EFER, and the MTRRs: the variable ones, the fixed ones, and
/// IA32_MTRR_DEF_TYPE (same table).
fn not_listed() -> impl Iterator<Item = u32> {
    [0x1b, 0xc000_0080]
        .into_iter()
        .chain(0x200..0x210)
        .chain([0x250, 0x258, 0x259])
        .chain(0x268..0x270)
        .chain([0x2ff])
}

impl KvmEngine {
    /// See [`Engine::settle`].
    pub(super) fn settle_exit(&mut self, input_is_filled: bool) -> Result<Settled, EngineError> {
        let is_transfer = matches!(self.last, LastExit::In | LastExit::Out | LastExit::Sent { .. });
        match self.last {
            LastExit::In if input_is_filled => {
                self.pending = self.finish_io()?;
                self.last = LastExit::After;
            }
            LastExit::In => {
                let regs = self.kvm_regs()?;
                self.give_up_io()?;
                self.set_kvm_regs(&regs)?;
                self.last = LastExit::Before;
            }
            LastExit::Out => self.last = self.finish_out()?,
            LastExit::Repeated(repeated) => {
                let is_made = repeated.direction == Direction::Out || input_is_filled;
                let regs = if is_made { repeated.regs_after() } else { repeated.regs() };
                self.set_kvm_regs(&regs)?;
                self.last = LastExit::Before;
            }
            LastExit::Fault(..) => self.give_up_io()?,
            LastExit::Before | LastExit::After | LastExit::Sent { .. } | LastExit::Elsewhere(_) => {}
        }
        let mut settled = Settled::default();
        let is_complete = is_transfer && !matches!(self.last, LastExit::Before);
        if is_complete && self.stopping.is_active() && self.pending.is_none() {
            let regs = self.kvm_regs()?;
            let goes_on = self.stopping.is_in(regs.rip as u32) || regs.rflags as u32 & eflags::TF != 0;
            settled.stop = (self.stopping.steps() && !goes_on).then_some(DebugStop::Step);
        }
        if matches!(self.pending, Some(Kind::Debug)) && self.stopping.steps() {
            // It lies behind the output in the ring.
            settled.stop = Some(DebugStop::Step);
        }
        if settled.stop.is_some() {
            self.stopping.report(self.kvm_regs()?.rip as u32);
            if let LastExit::Sent { .. } = self.last {
                // The step is not reported again.
                self.last = LastExit::After;
            }
        }
        self.drain_ring()?;
        self.give_up_pending_io()?;
        for output in std::mem::take(&mut self.unreported) {
            self.last = output.last;
            settled.sent.push(Sent { port: output.port, width: output.width, data: output.bytes });
        }
        let exit = match self.pending.take() {
            Some(Kind::Halt) => Some(self.on_halt()?),
            Some(Kind::Mmio(access, address, value)) => Some(self.on_mmio(access, address, value)?),
            Some(Kind::InternalError { suberror }) => Some(self.on_internal_error(suberror)?),
            Some(Kind::Shutdown) => Some(self.on_shutdown()?),
            // Interrupts and stops belong to the caller. An I/O has been given up.
            Some(Kind::Debug | Kind::Breakpoint | Kind::Interrupted | Kind::Io) | None => None,
        };
        settled.end = match exit {
            Some(Exit::Fault(fault)) => Some(End::Fault(fault)),
            Some(_) => Some(End::Halt),
            None => None,
        };
        if let LastExit::Fault(..) = self.last {
            self.give_up_io()?;
        }
        Ok(settled)
    }

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
        // KVM would finish the I/O of the last exit on the new registers.
        self.discard_exit()?;
        self.stop_stepping()?;
        let reset;
        let msrs = match processor.msrs.as_slice() {
            [] => {
                reset = self.reset_msrs()?;
                reset.as_slice()
            }
            msrs => msrs,
        };
        if let Some((index, _)) = msrs.get(KVM_MAX_MSR_ENTRIES) {
            return Err(EngineError::RegisterRefused { index: *index });
        }
        let msrs = kvm_msrs(msrs);
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
        let set = vcpu.set_msrs(&msrs).map_err(EngineError::call("KVM_SET_MSRS"))?;
        if let Some(refused) = msrs.as_slice().get(set) {
            return Err(EngineError::RegisterRefused { index: refused.index });
        }
        if self.seen_time_stamp < processor.time_stamp && self.time_stamp()? < processor.time_stamp {
            let msrs = kvm_msrs(&[(TIME_STAMP_COUNTER, processor.time_stamp)]);
            self.vcpu.set_msrs(&msrs).map_err(EngineError::call("KVM_SET_MSRS"))?;
        }
        self.stopping.forget_report();
        self.last = match position.location {
            Location::At(eip) if eip == processor.registers.eip => LastExit::Before,
            Location::EndsAt(eip) if eip == processor.registers.eip => LastExit::After,
            location => LastExit::Elsewhere(location),
        };
        self.instructions = processor.instructions;
        if position.was_reported {
            self.stopping.report(processor.registers.eip);
        }
        Ok(())
    }

    fn time_stamp(&mut self) -> Result<u64, EngineError> {
        let mut msrs = kvm_msrs(&[(TIME_STAMP_COUNTER, 0)]);
        self.vcpu.get_msrs(&mut msrs).map_err(EngineError::call("KVM_GET_MSRS"))?;
        self.seen_time_stamp = msrs.as_slice()[0].data;
        Ok(self.seen_time_stamp)
    }

    /// Discards unreported output, the pending exit, and the unfinished I/O of the last exit.
    fn discard_exit(&mut self) -> Result<(), EngineError> {
        let is_pending = self.pending.take().is_some();
        self.drain_ring()?;
        self.unreported.clear();
        if is_pending || matches!(self.last, LastExit::In | LastExit::Out | LastExit::Fault(..)) {
            self.give_up_io()?;
        }
        self.last = LastExit::Before;
        Ok(())
    }

    /// The model-specific registers that a guest may have written.
    fn msrs(&mut self) -> Result<Vec<(u32, u64)>, EngineError> {
        if self.reset.msr_numbers.is_empty() {
            let listed =
                self.kvm.get_msr_index_list().map_err(EngineError::call("KVM_GET_MSR_INDEX_LIST"))?;
            let listed = listed.as_slice().iter().copied().filter(|index| !TIME.contains(index));
            self.reset.msr_numbers = usable_msrs(&self.vcpu, listed.chain(not_listed()).collect())?;
        }
        let mut msrs = kvm_msrs(&self.reset.msr_numbers.iter().map(|index| (*index, 0)).collect::<Vec<_>>());
        let read = self.vcpu.get_msrs(&mut msrs).map_err(EngineError::call("KVM_GET_MSRS"))?;
        Ok(msrs.as_slice()[..read].iter().map(|entry| (entry.index, entry.data)).collect())
    }

    /// These registers as after a reset. A guest that has run may have changed this vCPU's, so they are those of
    /// another one then.
    pub(super) fn reset_msrs(&mut self) -> Result<Vec<(u32, u64)>, EngineError> {
        if self.reset.msrs.is_empty() {
            let numbers = self.msrs()?;
            self.reset.msrs = if self.has_run {
                let vm = self.kvm.create_vm().map_err(EngineError::call("KVM_CREATE_VM"))?;
                let vcpu = vm.create_vcpu(0).map_err(EngineError::call("KVM_CREATE_VCPU"))?;
                let mut msrs = kvm_msrs(&numbers);
                vcpu.get_msrs(&mut msrs).map_err(EngineError::call("KVM_GET_MSRS"))?;
                msrs.as_slice().iter().map(|entry| (entry.index, entry.data)).collect()
            } else {
                numbers
            };
        }
        Ok(self.reset.msrs.clone())
    }
}

/// What a vCPU has after its reset.
#[derive(Debug)]
pub struct Reset {
    /// The registers, of which the guest uses a part.
    pub sregs: kvm_sregs,
    /// The model-specific registers that can be read and set. Empty until they are needed.
    msr_numbers: Vec<u32>,
    /// Their values. Empty until they are needed.
    msrs: Vec<(u32, u64)>,
}

impl Reset {
    pub fn new(sregs: kvm_sregs) -> Self {
        Self { sregs, msr_numbers: Vec::new(), msrs: Vec::new() }
    }
}

/// Those of these model-specific registers that can be read and set. KVM stops at the first one that cannot (KVM API
/// 4.18 and 4.19).
fn usable_msrs(vcpu: &VcpuFd, numbers: Vec<u32>) -> Result<Vec<u32>, EngineError> {
    let mut entries: Vec<_> = numbers.into_iter().map(|index| (index, 0)).collect();
    let get = |msrs: &mut Msrs| vcpu.get_msrs(msrs).map_err(EngineError::call("KVM_GET_MSRS"));
    let set = |msrs: &mut Msrs| vcpu.set_msrs(msrs).map_err(EngineError::call("KVM_SET_MSRS"));
    for call in [&get as &dyn Fn(&mut Msrs) -> Result<usize, EngineError>, &set] {
        let mut done = 0;
        while done < entries.len() {
            let mut rest = kvm_msrs(&entries[done..]);
            let count = call(&mut rest)?;
            for (entry, read) in entries[done..done + count].iter_mut().zip(rest.as_slice()) {
                *entry = (read.index, read.data);
            }
            done += count;
            if done < entries.len() {
                entries.remove(done);
            }
        }
    }
    Ok(entries.into_iter().map(|(index, _)| index).collect())
}

fn kvm_msrs(msrs: &[(u32, u64)]) -> Msrs {
    let entry =
        |(index, data): &(u32, u64)| kvm_msr_entry { index: *index, data: *data, ..Default::default() };
    let entries: Vec<_> = msrs.iter().map(entry).collect();
    Msrs::from_entries(&entries).expect("they are fewer than KVM takes")
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
    use flatland_contract::Port;
    use flatland_x86::{MemorySize, Registers, entry, segment};

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

    /// An engine that has reported the first piece of the ring. The ring still holds another piece, and the exit of
    /// `end` follows it. `None` if tests run without KVM.
    fn behind_the_ring(end: &[u8]) -> Option<KvmEngine> {
        if std::env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
            return None;
        }
        let diagnostics = Port::Diagnostics.number() as u8;
        // mov ecx, 1100; out diagnostics, al; loop; out console, al; out diagnostics, al
        let mut code = vec![0xb9, 0x4c, 4, 0, 0, 0xe6, diagnostics, 0xe2, 0xfc];
        code.extend([0xe6, Port::Console.number() as u8, 0xe6, diagnostics]);
        let end_at = code.len() as u64;
        code.extend(end);
        code.resize(ELSEWHERE as usize, 0x90);
        // mov al, '!'; out 0x80, al; hlt
        code.extend([0xb0, b'!', 0xe6, 0x80, 0xf4]);
        let mut engine = KvmEngine::new(MemorySize::default()).expect("this test needs /dev/kvm");
        engine.write_ram(0, &code);
        // The ring may also end with an exit of the loop, where it is full.
        while engine.pending.is_none() || engine.kvm_regs().unwrap().rip < end_at {
            assert!(matches!(engine.run().unwrap(), Exit::Out { .. }));
        }
        Some(engine)
    }

    const ELSEWHERE: u32 = 0x80;

    type Sent = (u16, u8, Vec<u8>);

    /// Runs to the end and returns the output, how the run ended, and the registers. Each input is a Z.
    fn rest(engine: &mut KvmEngine) -> (Vec<Sent>, String, Registers) {
        let mut output = Vec::new();
        loop {
            match engine.run().unwrap() {
                Exit::Out { port, width, data } => output.push((port, width, data.to_vec())),
                Exit::In { data, .. } => data.fill(b'Z'),
                exit => {
                    let end = match exit {
                        Exit::Halt => End::Halt,
                        Exit::Fault(fault) => End::Fault(fault),
                        exit => panic!("{exit:?}"),
                    };
                    return (output, in_words(end, engine), engine.registers().unwrap());
                }
            }
        }
    }

    fn in_words(end: End, engine: &mut KvmEngine) -> String {
        format!("{end:?} {:?}", engine.location().unwrap())
    }

    /// The same after the last exit was settled.
    fn rest_after(settled: &Settled, engine: &mut KvmEngine) -> (Vec<Sent>, String, Registers) {
        let sent = |sent: &flatland_x86::Sent| (sent.port, sent.width, sent.data.clone());
        let mut output: Vec<_> = settled.sent.iter().map(sent).collect();
        if let Some(end) = settled.end {
            return (output, in_words(end, engine), engine.registers().unwrap());
        }
        let (more, end, registers) = rest(engine);
        output.extend(more);
        (output, end, registers)
    }

    /// Consecutive output of one port as one.
    fn joined((output, end, registers): (Vec<Sent>, String, Registers)) -> (Vec<Sent>, String, Registers) {
        let mut joined: Vec<Sent> = Vec::new();
        for (port, width, data) in output {
            match joined.last_mut() {
                Some(last) if (last.0, last.1) == (port, width) => last.2.extend(data),
                _ => joined.push((port, width, data)),
            }
        }
        (joined, end, registers)
    }

    const ENDS: [&[u8]; 7] = [
        // hlt
        &[0xf4],
        // out 0x80, eax; hlt
        &[0xe7, 0x80, 0xf4],
        // in al, console; out 0x80, al; hlt
        &[0xe4, 0xe9, 0xe6, 0x80, 0xf4],
        // mov edx, 0xe9; mov edi, 0x1000; mov ecx, 3; rep insb; mov eax, [0x1000]; out 0x80, eax; hlt
        &[
            0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x10, 0, 0, 0xb9, 3, 0, 0, 0, 0xf3, 0x6c, 0xa1, 0, 0x10, 0, 0,
            0xe7, 0x80, 0xf4,
        ],
        // mov eax, [0xf0000000]
        &[0xa1, 0, 0, 0, 0xf0],
        // mov [0xf0000000], eax
        &[0xa3, 0, 0, 0, 0xf0],
        // ud2
        &[0x0f, 0x0b],
    ];

    /// This test needs KVM.
    #[test]
    fn what_lies_in_the_ring_and_behind_it_is_settled() {
        for end in ENDS {
            let Some(mut plain) = behind_the_ring(end) else { return };
            let expected = joined(rest(&mut plain));
            assert!(expected.0.len() >= 2, "{:?}", expected.0);

            let mut engine = behind_the_ring(end).expect("there is KVM");
            let settled = engine.settle(false).unwrap();
            let (state, position) = engine.processor().unwrap();
            let ram = engine.save_ram().unwrap();
            let again = engine.settle(false).unwrap();
            assert!(again.sent.is_empty() && again.end.is_none(), "{again:?}");
            assert_eq!(joined(rest_after(&settled, &mut engine)), expected, "after settling {end:x?}");
            for _ in 0..2 {
                engine.restore_ram(&ram).unwrap();
                engine.set_processor(&state, position).unwrap();
                assert_eq!(
                    joined(rest_after(&settled, &mut engine)),
                    expected,
                    "after the restore of {end:x?}"
                );
            }
            let mut other = KvmEngine::new(MemorySize::default()).unwrap();
            other.restore_ram(&ram).unwrap();
            other.set_processor(&state, position).unwrap();
            assert_eq!(joined(rest_after(&settled, &mut other)), expected, "in another engine: {end:x?}");
        }
    }

    /// This test needs KVM.
    #[test]
    fn a_new_state_drops_what_lies_in_the_ring_and_behind_it() {
        for end in ENDS {
            let Some(mut engine) = behind_the_ring(end) else { return };
            let registers = Registers { eip: ELSEWHERE, ..engine.registers().unwrap() };
            let mut other = behind_the_ring(end).expect("there is KVM");
            rest(&mut other);
            other.set_registers(&registers).unwrap();
            let (state, position) = other.processor().unwrap();
            engine.set_processor(&state, position).unwrap();
            let (output, end_of_it, _) = rest(&mut engine);
            assert_eq!(output, [(0x80, 1, b"!".to_vec())], "{end:x?}");
            assert!(end_of_it.starts_with("Halt"), "{end_of_it}");
        }
    }

    /// This test needs KVM.
    #[test]
    fn new_registers_drop_the_exit_behind_the_ring_but_no_output() {
        for end in ENDS {
            let Some(mut engine) = behind_the_ring(end) else { return };
            let registers = Registers { eip: ELSEWHERE, ..engine.registers().unwrap() };
            engine.set_registers(&registers).unwrap();
            assert_eq!(engine.registers().unwrap(), registers.as_held());
            let (output, end_of_it, _) = rest(&mut engine);
            let ports: Vec<_> = output.iter().map(|(port, width, _)| (*port, *width)).collect();
            let (console, diagnostics) = (Port::Console.number(), Port::Diagnostics.number());
            // The guest had already sent this.
            let sent: &[_] = if end[0] == 0xe7 { &[(0x80, 4)] } else { &[] };
            let expected = [&[(console, 1), (diagnostics, 1)], sent, &[(0x80, 1)]].concat();
            assert_eq!(ports, expected, "{end:x?}");
            assert_eq!(output.last().expect("there is some").2, b"!");
            assert!(end_of_it.starts_with("Halt"), "{end_of_it}");
        }
    }

    /// This test needs KVM.
    #[test]
    fn a_register_that_kvm_does_not_take_is_told_of() {
        if std::env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
            return;
        }
        let mut engine = KvmEngine::new(MemorySize::default()).expect("this test needs /dev/kvm");
        let (mut state, position) = engine.processor().unwrap();
        let message = "KVM does not take model-specific register 0xdeadbeef of this state: make a new machine, and a new \
                       snapshot in it";
        let msrs = state.msrs.clone();
        state.msrs.last_mut().expect("there are some").0 = 0xdead_beef;
        assert_eq!(engine.set_processor(&state, position).unwrap_err().to_string(), message);
        // More than KVM takes at once.
        state.msrs = msrs.into_iter().cycle().take(KVM_MAX_MSR_ENTRIES).chain([(0xdead_beef, 0)]).collect();
        assert_eq!(engine.set_processor(&state, position).unwrap_err().to_string(), message);
        // Paging without protected mode.
        (state.msrs, state.cr0) = (Vec::new(), 0x8000_0010);
        assert_eq!(
            engine.set_processor(&state, position).unwrap_err().to_string(),
            "the processor does not take this state (KVM_SET_SREGS: Invalid argument (os error 22)): make a \
             new snapshot on a machine like this one"
        );
    }

    /// This test needs KVM.
    #[test]
    fn a_state_without_model_specific_registers_resets_them() {
        if std::env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
            return;
        }
        const SYSENTER_CS: u32 = 0x174;
        let mut engine = KvmEngine::new(MemorySize::default()).expect("this test needs /dev/kvm");
        // mov ecx, SYSENTER_CS; mov eax, 8; xor edx, edx; wrmsr; hlt
        engine.write_ram(0, &[0xb9, 0x74, 1, 0, 0, 0xb8, 8, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30, 0xf4]);
        assert!(matches!(engine.run().unwrap(), Exit::Halt));
        let value = |engine: &mut KvmEngine| {
            let (state, _) = engine.processor().unwrap();
            state.msrs.into_iter().find(|(number, _)| *number == SYSENTER_CS).expect("KVM has it").1
        };
        assert_eq!(value(&mut engine), 8);
        let state = Processor::at_entry(MemorySize::default());
        let position = Position { location: Location::At(0), was_reported: false };
        engine.set_processor(&state, position).unwrap();
        assert_eq!(value(&mut engine), 0);
    }
}
