//! The state of a KVM engine, saved and put back without a new VM.
//!
//! RAM is put back by the kernel: a snapshot's RAM lies in a file in memory, which is mapped, privately, where the guest's
//! RAM was. What the guest then writes goes to copies of pages, and throwing those away (madvise(2), MADV_DONTNEED) is all
//! there is to do, however much RAM there is.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::Arc;

use flatland_contract::memory::PAGE_SIZE;
use kvm_bindings::{kvm_debugregs, kvm_fpu, kvm_regs, kvm_sregs, kvm_vcpu_events};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{EngineError, KvmEngine, LastExit};
use crate::MemoryMap;
use crate::engine::{Engine, EngineSnapshot, EngineState};

/// A KVM engine's state.
#[derive(Clone, Debug)]
pub struct State {
    /// RAM.
    file: Arc<File>,
    map: MemoryMap,
    processor: Box<Processor>,
}

#[derive(Clone, Copy, Debug)]
struct Processor {
    regs: kvm_regs,
    sregs: kvm_sregs,
    fpu: kvm_fpu,
    debug: kvm_debugregs,
    events: kvm_vcpu_events,
}

fn failed(call: &'static str) -> impl Fn(kvm_ioctls::Error) -> EngineError {
    move |errno| EngineError::Call { call, cause: errno.into() }
}

impl KvmEngine {
    pub(super) fn take_snapshot(&mut self) -> Result<EngineSnapshot, EngineError> {
        self.give_up_exit()?;
        let vcpu = &self.vcpu;
        let processor = Processor {
            regs: vcpu.get_regs().map_err(failed("KVM_GET_REGS"))?,
            sregs: vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?,
            fpu: vcpu.get_fpu().map_err(failed("KVM_GET_FPU"))?,
            debug: vcpu.get_debug_regs().map_err(failed("KVM_GET_DEBUGREGS"))?,
            events: vcpu.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?,
        };
        let file = self.save_ram().map_err(|cause| EngineError::Call { call: "memfd_create", cause })?;
        let state = State { file: Arc::new(file), map: self.map.clone(), processor: processor.into() };
        self.map_ram(&state.file)?;
        Ok(EngineSnapshot(EngineState::Kvm(state)))
    }

    pub(super) fn restore_snapshot(&mut self, snapshot: &EngineSnapshot) -> Result<(), EngineError> {
        let state = match &snapshot.0 {
            EngineState::Kvm(state) if state.map == self.map => state,
            _ => return Err(EngineError::ForeignSnapshot),
        };
        self.give_up_exit()?;
        match &self.base {
            Some(base) if Arc::ptr_eq(base, &state.file) => self.forget_writes()?,
            _ => self.map_ram(&state.file)?,
        }
        let Processor { regs, sregs, fpu, debug, events } = &*state.processor;
        self.vcpu.set_sregs(sregs).map_err(failed("KVM_SET_SREGS"))?;
        self.vcpu.set_regs(regs).map_err(failed("KVM_SET_REGS"))?;
        self.vcpu.set_fpu(fpu).map_err(failed("KVM_SET_FPU"))?;
        self.vcpu.set_debug_regs(debug).map_err(failed("KVM_SET_DEBUGREGS"))?;
        self.vcpu.set_vcpu_events(events).map_err(failed("KVM_SET_VCPU_EVENTS"))?;
        self.last = LastExit::Before;
        Ok(())
    }

    /// Makes an end of what the last exit has left open, so that nothing of it comes when the guest runs again.
    fn give_up_exit(&mut self) -> Result<(), EngineError> {
        self.pending = None;
        while self.ring.take(&mut self.vcpu)?.is_some() {}
        match self.last {
            LastExit::In => {
                let registers = self.registers()?;
                self.set_registers(&registers)
            }
            LastExit::Out | LastExit::Fault(..) => {
                self.give_up_io()?;
                self.last = LastExit::Before;
                Ok(())
            }
            LastExit::Burst(burst) => {
                self.set_kvm_regs(&burst.regs())?;
                self.last = LastExit::Before;
                Ok(())
            }
            LastExit::Before | LastExit::After => Ok(()),
        }
    }

    /// Copies what is in RAM to a new file. Pages of zeros take no room in it.
    fn save_ram(&self) -> io::Result<File> {
        let file = File::from(memfd_create("flatland-snapshot", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(self.map.ram().bytes().into())?;
        const ZEROS: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];
        let mut page = ZEROS;
        for start in (0..self.map.ram().bytes()).step_by(ZEROS.len()) {
            self.read_ram(start, &mut page);
            if page != ZEROS {
                file.write_all_at(&page, start.into())?;
            }
        }
        Ok(file)
    }

    /// Maps the file where RAM is, privately.
    fn map_ram(&mut self, file: &Arc<File>) -> Result<(), EngineError> {
        let (start, size) = self.ram();
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: this replaces the mapping of RAM, which `self.memory` owns, by another of the same size, which it will
        // unmap in its place. Nobody has a reference into it: whoever is lent a part of RAM borrows `self`.
        let result = unsafe { mmap(Some(start.addr()), size, protection, flags, &**file, 0) };
        result.map_err(|errno| EngineError::Call { call: "mmap", cause: errno.into() })?;
        self.base = Some(file.clone());
        Ok(())
    }

    /// Lets RAM be what the file under it has.
    fn forget_writes(&mut self) -> Result<(), EngineError> {
        let (start, size) = self.ram();
        // SAFETY: the range is the mapping of RAM, and nobody has a reference into it.
        let result = unsafe { madvise(start, size.get(), MmapAdvise::MADV_DONTNEED) };
        result.map_err(|errno| EngineError::Call { call: "madvise", cause: errno.into() })
    }

    /// Where RAM is mapped in this process, and its size.
    fn ram(&self) -> (NonNull<c_void>, NonZeroUsize) {
        let start = self.memory.get_host_address(GuestAddress(0)).expect("RAM begins at 0");
        let start = NonNull::new(start).expect("it is mapped").cast();
        (start, NonZeroUsize::new(self.map.ram().bytes() as usize).expect("there is RAM"))
    }
}
