#![doc = include_str!("../README.md")]
//!
//! One VM, one vCPU, two memory slots: RAM from 0, and an exception page (`exception_page.rs`) far above it. With
//! memory protection RAM is several slots. The guard has no slot. A store to a read-only slot is the same exit as an
//! access without a slot. There is no interrupt controller: interrupts of devices are
//! queued when the guest takes one (`interrupts.rs`). An exit is an I/O, a `hlt`, a
//! fault, or an [interrupt](Interrupt) from outside.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod call;
mod device;
mod exception_page;
mod fast_io;
mod faults;
mod interrupt;
mod interrupts;
mod measure;
mod msrs;
mod ram;
mod registers;
mod run_page;
mod state;
mod stopping;
mod unfinished;
mod unfinished_input;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flatland_contract::Direction;
use flatland_x86::{
    Access, DebugStop, Engine, EngineError, Exit, Interrupt, Location, MemoryMap, Part, PendingInterrupts,
    Position, Processor, RamCopy, Registers, Settled, Speed, Stops, SystemRegisters, Unsupported, Vector,
    entry,
};
use kvm_bindings::{KVM_MEM_READONLY, kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, MmapRegion,
};

pub use device::KvmError;
pub use ram::GuestRam;

use exception_page::EXCEPTION_PAGE;
use fast_io::{Found, Repeated, Rest, Ring, StringIo};
use interrupt::Entrance;
use msrs::Reset;
use ram::Copies;
use registers::{cpuid_answers, kvm_regs_of, registers};
use run_page::Io;
use stopping::Stopping;

/// KVM needs three pages of the guest's address space for itself on Intel processors without "unrestricted guest"
/// (KVM API 4.13, KVM_SET_TSS_ADDR). QEMU, crosvm and Firecracker use the same address.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// A processor that KVM runs.
#[derive(Debug)]
pub struct KvmEngine {
    // In the order they must be dropped: the kernel uses the memory until both descriptors are closed.
    vcpu: VcpuFd,
    vm: VmFd,
    kvm: Kvm,
    memory: GuestMemoryMmap,
    map: MemoryMap,
    last: LastExit,
    stopping: Stopping,
    entrance: Entrance,
    /// Whether the shortcuts of [`fast_io`] may be used.
    is_fast: bool,
    /// Whether each transfer must be an exit: [`Stops::each_transfer`].
    each_transfer: bool,
    ring: Ring,
    strings: StringIo,
    /// Output that is no longer in the ring. It is reported before anything else.
    unreported: VecDeque<Output>,
    /// The output that was reported last, if it came from `unreported`.
    reported: Vec<u8>,
    /// The exit to report after the output in the ring.
    pending: Option<Kind>,
    /// RAM is zeros from this address on: the guest has not run yet, and the host has not written there.
    zeros_from: u32,
    copies: Copies,
    reset: Reset,
    /// The interrupts of devices that KVM has not accepted yet.
    interrupts: PendingInterrupts,
    /// The processor is as the last exit has left it, so that the run page says whether it would take an interrupt.
    is_as_left: bool,
    /// The guest has run, or registers have been set.
    may_have_set_msrs: bool,
    /// Instructions since entry, as another engine counted them, until this one runs.
    instructions: Option<u64>,
    /// The time stamp counter when it was read last. It only grows.
    seen_time_stamp: u64,
}

/// Output transfers that the guest has made and that have not been reported.
#[derive(Clone, Debug)]
struct Output {
    port: u16,
    width: u8,
    bytes: Vec<u8>,
    /// The engine's `last` once this is reported.
    last: LastExit,
}

/// The last exit, as far as EIP depends on it.
#[derive(Clone, Copy, Debug)]
enum LastExit {
    /// EIP is at the instruction to run next.
    Before,
    /// EIP is past the instruction.
    After,
    /// An `in`: EIP is at it. The next run takes its data.
    In,
    /// The rest of a `rep outsb` or `rep insb`, whose data lies in RAM. Until the next run KVM holds the registers
    /// from before it.
    Repeated(Repeated),
    /// An `out`: EIP is past it on one KVM and at it on another until the I/O is finished.
    Out,
    /// An `out` whose I/O is finished: EIP is past it, or at it if it is repeated and not complete. The step has not
    /// been reported yet.
    Sent { goes_on: bool },
    /// A fault, with the registers to report.
    Fault(Location, Registers),
    /// The last exit was another engine's, and came from here.
    Elsewhere(Location),
}

impl KvmEngine {
    /// A machine's processor and zeroed RAM, in the contract's state at entry, on /dev/kvm.
    pub fn new(memory: impl Into<MemoryMap>) -> Result<Self, KvmError> {
        Self::on_device(Path::new("/dev/kvm"), memory.into())
    }

    /// The same on another device file.
    pub fn on_device(device: &Path, map: MemoryMap) -> Result<Self, KvmError> {
        let ram = GuestRam::new(map.ram())?;
        // SAFETY: no other engine has this RAM.
        unsafe { Self::open(device, map, ram) }
    }

    /// A processor in the state at entry, with this RAM.
    ///
    /// # Safety
    ///
    /// Of all engines with this RAM, only one is used at a time. The RAM has the size that the map says.
    pub unsafe fn with_ram(map: MemoryMap, ram: GuestRam) -> Result<Self, KvmError> {
        // SAFETY: the caller's promise.
        unsafe { Self::open(Path::new("/dev/kvm"), map, ram) }
    }

    /// See [`Self::with_ram`].
    unsafe fn open(device: &Path, map: MemoryMap, ram: GuestRam) -> Result<Self, KvmError> {
        assert_eq!(ram.region.len(), u64::from(map.ram().bytes()), "the map is of this RAM");
        let kvm = device::open(device)?;
        let vm = kvm.create_vm().map_err(KvmError::call("KVM_CREATE_VM"))?;
        vm.set_tss_address(TSS_ADDRESS).map_err(KvmError::call("KVM_SET_TSS_ADDR"))?;

        let page = MmapRegion::new(exception_page::SIZE).ok();
        let page = page.and_then(|page| GuestRegionMmap::new(page, GuestAddress(EXCEPTION_PAGE.into())));
        let regions = page.map(|page| vec![ram.region.clone(), Arc::new(page)]);
        let memory = regions.and_then(|regions| GuestMemoryMmap::from_arc_regions(regions).ok());
        let memory = memory.ok_or(KvmError::NoMemory(map.ram()))?;
        memory
            .write_slice(&exception_page::contents(), GuestAddress(EXCEPTION_PAGE.into()))
            .expect("the page was just mapped");
        let end_of_page = EXCEPTION_PAGE + exception_page::SIZE as u32;
        let page = Part { range: EXCEPTION_PAGE..end_of_page, writable: false };
        for (slot, Part { range, writable }) in map.parts().into_iter().chain([page]).enumerate() {
            let start = GuestAddress(range.start.into());
            let region = kvm_userspace_memory_region {
                slot: slot as u32,
                flags: if writable { 0 } else { KVM_MEM_READONLY },
                guest_phys_addr: start.0,
                memory_size: range.len() as u64,
                userspace_addr: memory.get_host_address(start).expect("the range was just mapped") as u64,
            };
            // SAFETY: the range is mapped by `memory`, which lives as long as the VM: `Self` holds both and
            // drops the VM first.
            unsafe { vm.set_user_memory_region(region) }
                .map_err(KvmError::call("KVM_SET_USER_MEMORY_REGION"))?;
        }

        let vcpu = vm.create_vcpu(0).map_err(KvmError::call("KVM_CREATE_VCPU"))?;
        let reset = Reset::new(vcpu.get_sregs().map_err(KvmError::call("KVM_GET_SREGS"))?);
        vcpu.set_cpuid2(&cpuid_answers()).map_err(KvmError::call("KVM_SET_CPUID2"))?;
        let entry = Processor::at_entry(map.ram());
        let sregs = state::kvm_sregs_of(&entry, &reset.sregs);
        vcpu.set_sregs(&sregs).map_err(KvmError::call("KVM_SET_SREGS"))?;
        vcpu.set_regs(&kvm_regs_of(&entry.registers)).map_err(KvmError::call("KVM_SET_REGS"))?;
        Ok(Self {
            vcpu,
            vm,
            kvm,
            memory,
            map,
            last: LastExit::Before,
            stopping: Stopping::default(),
            entrance: Entrance::default(),
            is_fast: true,
            each_transfer: false,
            ring: Ring::new(),
            strings: StringIo::new(),
            unreported: VecDeque::new(),
            reported: Vec::new(),
            pending: None,
            zeros_from: 0,
            copies: Copies::new(ram),
            reset,
            interrupts: PendingInterrupts::NONE,
            is_as_left: false,
            may_have_set_msrs: false,
            instructions: Some(0),
            seen_time_stamp: 0,
        })
    }

    /// Turns the shortcuts of [`fast_io`] on or off.
    fn choose_shortcuts(&mut self) {
        let off = self.each_transfer || !self.is_fast;
        self.strings.turn_off(off);
        if off {
            self.ring.disable(&self.vm);
        }
    }

    fn kvm_regs(&self) -> Result<kvm_regs, EngineError> {
        if let LastExit::Repeated(repeated) = &self.last {
            return Ok(repeated.regs());
        }
        self.vcpu.get_regs().map_err(EngineError::call("KVM_GET_REGS"))
    }

    fn set_kvm_regs(&self, regs: &kvm_regs) -> Result<(), EngineError> {
        self.vcpu.set_regs(regs).map_err(EngineError::call("KVM_SET_REGS"))
    }

    /// Runs the guest until the next exit.
    fn run_vcpu(&mut self) -> Result<Kind, EngineError> {
        self.zeros_from = self.map.ram().bytes();
        (self.may_have_set_msrs, self.instructions) = (true, None);
        if self.entrance.is_entered() {
            return self.run_entered();
        }
        self.enter()?;
        let kind = self.run_entered();
        self.leave();
        kind
    }

    /// KVM_RUN.
    fn enter_kvm(&mut self) -> Result<Kind, EngineError> {
        let mut kind = Kind::of(self.vcpu.run())?;
        if let Kind::InternalError { suberror } = &mut kind {
            *suberror = run_page::suberror(self.vcpu.get_kvm_run());
        }
        Ok(kind)
    }

    fn run_entered(&mut self) -> Result<Kind, EngineError> {
        let requested = self.entrance.take_request();
        if requested {
            // KVM still completes the I/O of the last exit.
            self.vcpu.set_kvm_immediate_exit(1);
        }
        let kind = self.enter_kvm_with_interrupts();
        if requested {
            self.vcpu.set_kvm_immediate_exit(0);
        }
        match kind {
            Ok(Kind::Interrupted) => self.entrance.after_signal(),
            _ if requested => self.entrance.request_again(),
            _ => {}
        }
        kind
    }

    /// Reports the rest of a repeated instruction, with RAM itself as the data.
    fn on_repeated(&mut self, repeated: Repeated) -> Result<Exit<'_>, EngineError> {
        let Repeated { direction, port, rest, .. } = repeated;
        self.last = LastExit::Repeated(repeated);
        let data = self.ram_mut(rest);
        Ok(match direction {
            Direction::Out => Exit::Out { port, width: 1, data },
            Direction::In => Exit::In { port, width: 1, data },
        })
    }

    fn read_ram_at(&self, address: u32, bytes: &mut [u8]) -> usize {
        let len = bytes.len().min(self.ram_size().saturating_sub(address) as usize);
        self.memory.read_slice(&mut bytes[..len], GuestAddress(address.into())).map_or(0, |()| len)
    }

    /// A part of RAM. All of it must exist.
    fn ram_mut(&mut self, Rest { address, len }: Rest) -> &mut [u8] {
        let slice = self.memory.get_slice(GuestAddress(address.into()), len as usize);
        let start = slice.expect("it lies in RAM").ptr_guard_mut().as_ptr();
        // SAFETY: this many bytes are mapped there as long as `self.memory` lives. The guest, which could change
        // them, runs inside KVM_RUN only, and all else that reads, writes or maps RAM borrows `self`, as the slice
        // does.
        unsafe { std::slice::from_raw_parts_mut(start, len as usize) }
    }
}

/// [`VcpuExit`] without its borrow, so that the run page can be read again. Only [`Kind::Io`] has more data there.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Debug,
    /// The guest is at a breakpoint. KVM_RUN was not called.
    Breakpoint,
    Io,
    Halt,
    InternalError {
        suberror: u32,
    },
    Shutdown,
    Mmio(Access, u64, Option<u32>),
    Interrupted,
    /// The guest would take an interrupt here.
    InterruptWindow,
}

impl Kind {
    fn of(result: Result<VcpuExit<'_>, kvm_ioctls::Error>) -> Result<Self, EngineError> {
        Ok(match result {
            Ok(VcpuExit::IoIn(..) | VcpuExit::IoOut(..)) => Self::Io,
            Ok(VcpuExit::Hlt) => Self::Halt,
            Ok(VcpuExit::MmioRead(address, _)) => Self::Mmio(Access::Read, address, None),
            Ok(VcpuExit::MmioWrite(address, data)) => {
                Self::Mmio(Access::Write, address, data.try_into().ok().map(u32::from_le_bytes))
            }
            Ok(VcpuExit::InternalError) => Self::InternalError { suberror: 0 },
            Ok(VcpuExit::Shutdown) => Self::Shutdown,
            Ok(VcpuExit::Debug(_)) => Self::Debug,
            Ok(VcpuExit::IrqWindowOpen) => Self::InterruptWindow,
            Ok(VcpuExit::Intr) => Self::Interrupted,
            Ok(other) => return Err(EngineError::UnknownExit(format!("{other:?}").into())),
            Err(errno) if matches!(errno.errno(), nix::libc::EINTR | nix::libc::EAGAIN) => Self::Interrupted,
            Err(errno) => return Err(EngineError::Call { call: "KVM_RUN", cause: errno.into() }),
        })
    }
}

impl Engine for KvmEngine {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn memory_map(&self) -> &MemoryMap {
        &self.map
    }

    fn enter(&mut self) -> Result<(), EngineError> {
        self.entrance.enter(&self.vcpu)
    }

    fn leave(&mut self) {
        self.entrance.leave();
    }

    fn interrupt_handle(&self) -> Arc<dyn Interrupt> {
        self.entrance.handle()
    }

    fn run(&mut self) -> Result<Exit<'_>, EngineError> {
        match self.last {
            LastExit::Repeated(repeated) if self.stopping.is_active() => {
                self.set_kvm_regs(&repeated.regs_after())?;
                self.last = LastExit::Before;
            }
            LastExit::Repeated(repeated) => self.complete_repeated(&repeated),
            _ => {}
        }
        if let Some(Output { port, width, bytes, last }) = self.unreported.pop_front() {
            self.last = last;
            self.reported = bytes;
            return Ok(Exit::Out { port, width, data: &self.reported });
        }
        let kind = match self.pending.take() {
            Some(kind) => kind,
            None if self.stopping.is_active() => self.enter_until_stop()?,
            None => match self.find_repeated()? {
                Found::Repeated(repeated) => return self.on_repeated(repeated),
                Found::Exit(kind) => kind,
                Found::Nothing => self.run_vcpu()?,
            },
        };
        if let Some(port) = self.ring.take(&mut self.vcpu)? {
            // The exit has happened. Its data stays in the run page until it is reported.
            self.pending = Some(kind);
            self.last = LastExit::Before;
            return Ok(Exit::Out { port, width: 1, data: self.ring.bytes() });
        }
        match kind {
            Kind::Io => {
                let Io { port, width, direction, data } = run_page::io(self.vcpu.get_kvm_run());
                match width {
                    1 => self.strings.count_exit(direction, port, data.len()),
                    _ => self.strings.end(),
                }
                let can_collect = self.is_fast && !self.each_transfer;
                if can_collect && direction == Direction::Out && fast_io::collects(port) && data.len() == 1 {
                    self.ring.count_exit(&self.vm, &mut self.vcpu);
                }
                let Io { data, .. } = run_page::io(self.vcpu.get_kvm_run());
                match direction {
                    Direction::In => {
                        self.last = LastExit::In;
                        Ok(Exit::In { port, width, data })
                    }
                    Direction::Out => {
                        self.last = LastExit::Out;
                        Ok(Exit::Out { port, width, data })
                    }
                }
            }
            Kind::Halt => self.on_halt(),
            Kind::Mmio(access, address, value) => self.on_mmio(access, address, value),
            Kind::InternalError { suberror } => self.on_internal_error(suberror),
            Kind::Shutdown => self.on_shutdown(),
            Kind::Debug => self.on_debug(DebugStop::Step),
            Kind::Breakpoint => self.on_debug(DebugStop::Breakpoint),
            // The latter has been handled where it came.
            Kind::Interrupted | Kind::InterruptWindow => {
                self.last = LastExit::Before;
                Ok(Exit::Interrupted)
            }
        }
    }

    fn raise(&mut self, vector: Vector) -> Result<(), Unsupported> {
        self.interrupts.raise(vector);
        Ok(())
    }

    fn pending_interrupts(&self) -> PendingInterrupts {
        self.interrupts
    }

    fn interrupt_after(&mut self, time: Duration) -> bool {
        self.entrance.interrupt_after(time).is_ok()
    }

    fn pending_input(&mut self) -> Option<(u16, u8, &mut [u8])> {
        match self.last {
            LastExit::In => {
                let Io { port, width, data, .. } = run_page::io(self.vcpu.get_kvm_run());
                Some((port, width, data))
            }
            LastExit::Repeated(Repeated { direction: Direction::In, port, rest, .. }) => {
                Some((port, 1, self.ram_mut(rest)))
            }
            _ => None,
        }
    }

    fn registers(&mut self) -> Result<Registers, EngineError> {
        match self.last {
            LastExit::Fault(_, registers) => Ok(registers),
            _ => Ok(registers(&self.kvm_regs()?)),
        }
    }

    fn set_registers(&mut self, registers: &Registers) -> Result<(), EngineError> {
        match self.pending {
            // The guest has sent this already.
            Some(Kind::Io) => self.give_up_pending_io()?,
            // An interrupt does not depend on registers, and must not be lost.
            Some(Kind::Interrupted) => {}
            _ => self.pending = None,
        }
        // An unfinished I/O would change registers and RAM afterwards.
        match self.last {
            LastExit::In => self.give_up_input(0)?,
            _ => self.give_up_io()?,
        }
        for output in &mut self.unreported {
            output.last = LastExit::Before;
        }
        self.stopping.forget_progress();
        self.stop_stepping()?;
        self.set_kvm_regs(&kvm_regs_of(&registers.as_held()))?;
        self.is_as_left = false;
        self.last = LastExit::Before;
        Ok(())
    }

    fn system_registers(&mut self) -> Result<SystemRegisters, EngineError> {
        let sregs = self.vcpu.get_sregs().map_err(EngineError::call("KVM_GET_SREGS"))?;
        Ok(SystemRegisters {
            cs: sregs.cs.selector,
            ds: sregs.ds.selector,
            es: sregs.es.selector,
            fs: sregs.fs.selector,
            gs: sregs.gs.selector,
            ss: sregs.ss.selector,
            cr0: sregs.cr0 as u32,
            cr2: sregs.cr2 as u32,
            cr3: sregs.cr3 as u32,
            cr4: sregs.cr4 as u32,
        })
    }

    fn set_stops(&mut self, stops: &Stops) -> Result<(), Unsupported> {
        let stopping = Stopping::new(stops)?;
        self.stopping.replace(stopping);
        self.each_transfer = stops.each_transfer;
        self.choose_shortcuts();
        // It fails only if KVM has no KVM_SET_GUEST_DEBUG, which the next run reports.
        let _ = self.vcpu.set_guest_debug(&stopping::NOTHING);
        Ok(())
    }

    fn set_fast_transfers(&mut self, on: bool) {
        self.is_fast = on;
        self.choose_shortcuts();
    }

    fn instructions(&self) -> Option<u64> {
        None
    }

    fn settle(&mut self, filled: usize) -> Result<Settled, EngineError> {
        self.settle_exit(filled)
    }

    fn processor(&mut self) -> Result<(Processor, Position), EngineError> {
        self.state()
    }

    fn set_processor(&mut self, processor: &Processor, position: Position) -> Result<(), EngineError> {
        self.set_state(processor, position)
    }

    fn save_ram(&mut self) -> Result<RamCopy, EngineError> {
        self.copy_ram()
    }

    fn restore_ram(&mut self, copy: &RamCopy) -> Result<(), EngineError> {
        self.put_back(copy)
    }

    fn measure(&mut self) -> Option<Speed> {
        self.measure_speed().ok()
    }

    fn ram_was_written(&mut self) {
        self.zeros_from = self.map.ram().bytes();
    }

    fn holds_output(&self) -> bool {
        self.ring.is_enabled()
    }

    fn location(&mut self) -> Result<Location, EngineError> {
        match self.last {
            LastExit::Fault(location, _) | LastExit::Elsewhere(location) => Ok(location),
            LastExit::Before | LastExit::In | LastExit::Repeated(_) | LastExit::Sent { goes_on: true } => {
                Ok(Location::At(self.kvm_regs()?.rip as u32))
            }
            LastExit::After | LastExit::Sent { goes_on: false } => {
                Ok(Location::EndsAt(self.kvm_regs()?.rip as u32))
            }
            LastExit::Out => {
                self.last = self.finish_out()?;
                self.location()
            }
        }
    }

    fn read_ram(&self, address: u32, bytes: &mut [u8]) -> usize {
        self.read_ram_at(address, bytes)
    }

    fn write_ram(&mut self, address: u32, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.ram_size().saturating_sub(address) as usize);
        self.zeros_from = self.zeros_from.max(address.saturating_add(len as u32));
        self.memory.write_slice(&bytes[..len], GuestAddress(address.into())).map_or(0, |()| len)
    }
}

impl KvmError {
    /// For `map_err`: the named call failed.
    fn call(call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |errno| KvmError::Call { call, cause: io::Error::from_raw_os_error(errno.errno()) }
    }
}
