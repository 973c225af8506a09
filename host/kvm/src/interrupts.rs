//! Interrupts of devices, without an interrupt controller in the kernel.
//!
//! While any is pending, KVM_RUN returns where the guest would take one (KVM API 5, `request_interrupt_window`), and the
//! highest is queued there (KVM API 4.16, KVM_INTERRUPT), or at any other exit where it would (`ready_for_interrupt_injection`).
//! So IF and the shadows of `sti` and `mov ss` are KVM's and the processor's to know. A KVM that emulates looks only after some
//! hundred instructions. None is delivered while a debugger steps, as in QEMU.

use std::os::fd::AsRawFd;

use flatland_x86::{EngineError, PendingInterrupts, Vector};
use kvm_bindings::{kvm_interrupt, kvm_vcpu_events};
use kvm_ioctls::VcpuFd;
use nix::errno::Errno;
use nix::libc;

use super::{Kind, KvmEngine, run_page};

impl KvmEngine {
    /// KVM_RUN, with the interrupts that are pending.
    pub(super) fn enter_kvm_with_interrupts(&mut self) -> Result<Kind, EngineError> {
        if self.interrupts.is_empty() || self.stopping.is_stepping() {
            self.is_as_left = true;
            return self.enter_kvm();
        }
        loop {
            if self.is_as_left && run_page::takes_interrupt(self.vcpu.get_kvm_run()) {
                self.is_as_left = false;
                if let Some(vector) = self.interrupts.take_highest() {
                    queue(&self.vcpu, vector)?;
                }
            }
            self.vcpu.get_kvm_run().request_interrupt_window = (!self.interrupts.is_empty()).into();
            let kind = self.enter_kvm();
            self.vcpu.get_kvm_run().request_interrupt_window = 0;
            self.is_as_left = true;
            match kind? {
                Kind::InterruptWindow => {}
                kind => return Ok(kind),
            }
        }
    }
}

/// The vector that KVM has accepted and the guest has not taken yet, if there is one, and those that are `pending`.
pub fn with_accepted(events: &kvm_vcpu_events, mut pending: PendingInterrupts) -> PendingInterrupts {
    let accepted = &events.interrupt;
    if accepted.injected != 0
        && accepted.soft == 0
        && let Some(vector) = Vector::new(accepted.nr)
    {
        pending.raise(vector);
    }
    pending
}

/// KVM_INTERRUPT (KVM API 4.16): the guest takes this vector before its next instruction.
fn queue(vcpu: &VcpuFd, vector: Vector) -> Result<(), EngineError> {
    let request = nix::request_code_write!(0xae, 0x86, size_of::<kvm_interrupt>());
    let argument = kvm_interrupt { irq: vector.number().into() };
    // SAFETY: KVM reads the argument, which lives through the call.
    let result = unsafe { libc::ioctl(vcpu.as_raw_fd(), request, &raw const argument) };
    Errno::result(result).map(drop).map_err(EngineError::call("KVM_INTERRUPT"))
}
