//! Saves the state of a KVM engine and restores it without a new VM.
//!
//! A snapshot's RAM is a file in memory, which is mapped privately where the guest's RAM was. What the guest writes
//! then goes to copies of pages. To restore RAM, these are discarded (madvise(2), MADV_DONTNEED), in a time that does
//! not depend on the size of RAM.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::Arc;

use flatland_contract::memory::PAGE_SIZE;
use kvm_bindings::{Msrs, kvm_debugregs, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{Engine, EngineError, EngineSnapshot, Kind, KvmEngine, LastExit, MemoryMap, Output};

/// A KVM engine's state.
#[derive(Clone, Debug)]
struct State {
    /// RAM.
    file: Arc<File>,
    map: MemoryMap,
    processor: Box<Processor>,
    /// The last exit. It has no unfinished I/O.
    last: LastExit,
    /// Output that the guest has sent and that has not been reported.
    unreported: VecDeque<Output>,
    /// The exit to report after it.
    pending: Option<Kind>,
}

#[derive(Clone, Debug)]
struct Processor {
    regs: kvm_regs,
    sregs: kvm_sregs,
    fpu: kvm_fpu,
    debug: kvm_debugregs,
    events: kvm_vcpu_events,
    msrs: Msrs,
}

/// Model-specific registers about time, which is not restored: IA32_TIME_STAMP_COUNTER, IA32_TSC_ADJUST and
/// IA32_TSC_DEADLINE (SDM volume 4, table 2-2).
const TIME: [u32; 3] = [0x10, 0x3b, 0x6e0];

/// MTRRs, which KVM does not list: the variable ones, the fixed ones, and IA32_MTRR_DEF_TYPE (same table).
fn mtrrs() -> impl Iterator<Item = u32> {
    (0x200..0x210).chain([0x250, 0x258, 0x259]).chain(0x268..0x270).chain([0x2ff])
}

impl KvmEngine {
    pub(super) fn take_snapshot(&mut self) -> Result<EngineSnapshot, EngineError> {
        self.give_up_exit()?;
        let vcpu = &self.vcpu;
        let processor = Processor {
            regs: vcpu.get_regs().map_err(EngineError::call("KVM_GET_REGS"))?,
            sregs: vcpu.get_sregs().map_err(EngineError::call("KVM_GET_SREGS"))?,
            fpu: vcpu.get_fpu().map_err(EngineError::call("KVM_GET_FPU"))?,
            debug: vcpu.get_debug_regs().map_err(EngineError::call("KVM_GET_DEBUGREGS"))?,
            events: vcpu.get_vcpu_events().map_err(EngineError::call("KVM_GET_VCPU_EVENTS"))?,
            msrs: self.msrs()?,
        };
        let file = self.save_ram().map_err(EngineError::call("memfd_create"))?;
        let state = State {
            file: Arc::new(file),
            map: self.map.clone(),
            processor: processor.into(),
            last: self.last,
            unreported: self.unreported.clone(),
            pending: self.pending.filter(Kind::is_the_guests),
        };
        self.map_ram(&state.file)?;
        Ok(EngineSnapshot::new(state))
    }

    pub(super) fn restore_snapshot(&mut self, snapshot: &EngineSnapshot) -> Result<(), EngineError> {
        let own = snapshot.state::<State>().filter(|state| state.map == self.map);
        let state = own.ok_or(EngineError::ForeignSnapshot)?;
        self.discard_exit()?;
        self.zeros_from = self.map.ram().bytes();
        match &self.base {
            Some(base) if Arc::ptr_eq(base, &state.file) => self.forget_writes()?,
            _ => self.map_ram(&state.file)?,
        }
        let Processor { regs, sregs, fpu, debug, events, msrs } = &*state.processor;
        self.stop_stepping()?;
        self.vcpu.set_sregs(sregs).map_err(EngineError::call("KVM_SET_SREGS"))?;
        self.vcpu.set_regs(regs).map_err(EngineError::call("KVM_SET_REGS"))?;
        self.vcpu.set_fpu(fpu).map_err(EngineError::call("KVM_SET_FPU"))?;
        self.vcpu.set_debug_regs(debug).map_err(EngineError::call("KVM_SET_DEBUGREGS"))?;
        self.vcpu.set_vcpu_events(events).map_err(EngineError::call("KVM_SET_VCPU_EVENTS"))?;
        let set = self.vcpu.set_msrs(msrs).map_err(EngineError::call("KVM_SET_MSRS"))?;
        // Each of them could be set when it was saved, so a refusal is an error.
        if let Some(refused) = msrs.as_slice().get(set) {
            return Err(EngineError::RegisterRefused { index: refused.index });
        }
        self.stopping.forget_report();
        self.last = state.last;
        self.unreported = state.unreported.clone();
        self.pending = state.pending;
        Ok(())
    }

    /// The model-specific registers that a guest may have written.
    fn msrs(&self) -> Result<Msrs, EngineError> {
        let listed = self.kvm.get_msr_index_list().map_err(EngineError::call("KVM_GET_MSR_INDEX_LIST"))?;
        let listed = listed.as_slice().iter().copied().filter(|index| !TIME.contains(index));
        let entries = listed.chain(mtrrs()).map(|index| kvm_msr_entry { index, ..Default::default() });
        let mut entries: Vec<_> = entries.collect();
        // KVM stops at the first register that it cannot read, or cannot set (KVM API 4.18 and 4.19).
        let get = |msrs: &mut Msrs| self.vcpu.get_msrs(msrs).map_err(EngineError::call("KVM_GET_MSRS"));
        let set = |msrs: &mut Msrs| self.vcpu.set_msrs(msrs).map_err(EngineError::call("KVM_SET_MSRS"));
        for call in [&get as &dyn Fn(&mut Msrs) -> Result<usize, EngineError>, &set] {
            let mut done = 0;
            while done < entries.len() {
                let mut rest = Msrs::from_entries(&entries[done..]).expect("they are fewer than KVM takes");
                let count = call(&mut rest)?;
                entries[done..done + count].copy_from_slice(&rest.as_slice()[..count]);
                done += count;
                if done < entries.len() {
                    entries.remove(done);
                }
            }
        }
        Ok(Msrs::from_entries(&entries).expect("they are fewer than KVM takes"))
    }

    /// Discards unreported output, the pending exit, and the unfinished I/O of the last exit. KVM would finish that
    /// I/O on the restored registers.
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

    /// Gives up the unfinished I/O of the last exit, so that it has no effect on the next run. What has not been
    /// reported is still reported later.
    fn give_up_exit(&mut self) -> Result<(), EngineError> {
        self.drain_ring()?;
        self.give_up_pending_io()?;
        match self.last {
            LastExit::In => {
                let registers = self.registers()?;
                self.set_registers(&registers)
            }
            // `location` finishes the `out`.
            LastExit::Out => self.location().map(drop),
            LastExit::Fault(..) => self.give_up_io(),
            LastExit::Repeated(repeated) => {
                self.set_kvm_regs(&repeated.regs())?;
                self.last = LastExit::Before;
                Ok(())
            }
            LastExit::Before | LastExit::After | LastExit::Sent { .. } => Ok(()),
        }
    }

    /// Copies RAM to a new file, without pages of zeros.
    fn save_ram(&self) -> io::Result<File> {
        let file = File::from(memfd_create("flatland-snapshot", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(self.map.ram().bytes().into())?;
        const ZEROS: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];
        let mut page = ZEROS;
        for start in (0..self.zeros_from).step_by(ZEROS.len()) {
            self.read_ram(start, &mut page);
            if page != ZEROS {
                file.write_all_at(&page, start.into())?;
            }
        }
        Ok(file)
    }

    /// Replaces RAM by a private mapping of the file.
    fn map_ram(&mut self, file: &Arc<File>) -> Result<(), EngineError> {
        let (start, size) = self.ram();
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: this replaces the mapping of RAM, which `self.memory` owns, by another of the same size, which it
        // will unmap instead. No reference into RAM exists: each one borrows `self`.
        let result = unsafe { mmap(Some(start.addr()), size, protection, flags, &**file, 0) };
        result.map_err(EngineError::call("mmap"))?;
        self.base = Some(file.clone());
        Ok(())
    }

    /// Discards what the guest has written since the file was mapped.
    fn forget_writes(&mut self) -> Result<(), EngineError> {
        let (start, size) = self.ram();
        // SAFETY: the range is the mapping of RAM, and no reference into it exists: each one borrows `self`.
        let result = unsafe { madvise(start, size.get(), MmapAdvise::MADV_DONTNEED) };
        result.map_err(EngineError::call("madvise"))
    }

    /// Where RAM is mapped in this process, and its size.
    fn ram(&self) -> (NonNull<c_void>, NonZeroUsize) {
        let start = self.memory.get_host_address(GuestAddress(0)).expect("RAM begins at 0");
        let start = NonNull::new(start).expect("it is mapped").cast();
        (start, NonZeroUsize::new(self.map.ram().bytes() as usize).expect("there is RAM"))
    }
}

impl Kind {
    /// Whether this exit is part of the guest's state and needs no further data to be reported. Interrupts and stops
    /// belong to the caller of the engine instead.
    fn is_the_guests(&self) -> bool {
        match self {
            Self::Halt | Self::InternalError { .. } | Self::Shutdown | Self::Mmio(..) => true,
            Self::Debug | Self::Breakpoint | Self::Interrupted => false,
            // Has been given up before a snapshot.
            Self::Io => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use flatland_contract::Port;
    use flatland_x86::{Exit, MemorySize, Registers};

    use super::*;

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

    /// Port, width and data.
    type Sent = (u16, u8, Vec<u8>);

    /// Runs to the end and returns the output, how the run ended, and the registers. Each input is a Z.
    fn rest(engine: &mut KvmEngine) -> (Vec<Sent>, String, Registers) {
        let mut output = Vec::new();
        loop {
            match engine.run().unwrap() {
                Exit::Out { port, width, data } => output.push((port, width, data.to_vec())),
                Exit::In { data, .. } => data.fill(b'Z'),
                exit => {
                    let end = format!("{exit:?}");
                    let end = format!("{end} {:?}", engine.location().unwrap());
                    return (output, end, engine.registers().unwrap());
                }
            }
        }
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
    fn a_snapshot_keeps_what_lies_in_the_ring_and_behind_it() {
        for end in ENDS {
            let Some(mut plain) = behind_the_ring(end) else { return };
            let expected = rest(&mut plain);
            assert!(expected.0.len() >= 2, "{:?}", expected.0);

            let mut engine = behind_the_ring(end).expect("there is KVM");
            let first = engine.take_snapshot().unwrap();
            let second = engine.take_snapshot().unwrap();
            assert_eq!(rest(&mut engine), expected, "after the snapshot of {end:x?}");
            for snapshot in [&first, &second, &first] {
                engine.restore_snapshot(snapshot).unwrap();
                assert_eq!(rest(&mut engine), expected, "after the restore of {end:x?}");
            }
            // Between the pieces.
            engine.restore_snapshot(&first).unwrap();
            engine.run().unwrap();
            let middle = engine.take_snapshot().unwrap();
            let expected = rest(&mut engine);
            engine.restore_snapshot(&middle).unwrap();
            assert_eq!(rest(&mut engine), expected, "{end:x?}");
        }
    }

    /// This test needs KVM.
    #[test]
    fn a_restore_forgets_what_lies_in_the_ring_and_behind_it() {
        for end in ENDS {
            let Some(mut engine) = behind_the_ring(end) else { return };
            let registers = Registers { eip: ELSEWHERE, ..engine.registers().unwrap() };
            let mut other = behind_the_ring(end).expect("there is KVM");
            rest(&mut other);
            other.set_registers(&registers).unwrap();
            let snapshot = other.take_snapshot().unwrap();
            engine.restore_snapshot(&snapshot).unwrap();
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
        let mut state = engine.take_snapshot().unwrap().state::<State>().expect("it is KVM's").clone();
        let mut entries = state.processor.msrs.as_slice().to_vec();
        let last = entries.last_mut().expect("there are some");
        last.index = 0xdead_beef;
        state.processor.msrs = Msrs::from_entries(&entries).unwrap();
        let error = engine.restore_snapshot(&EngineSnapshot::new(state)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "KVM does not take model-specific register 0xdeadbeef of the snapshot: make a new machine, and a new \
             snapshot in it"
        );
    }
}
