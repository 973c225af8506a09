//! Reads the page that KVM shares with us, `struct kvm_run` (KVM API 5).

use flatland_contract::Direction;
use kvm_bindings::{KVM_EXIT_IO_IN, kvm_run};

/// An I/O exit's transfers.
pub struct Io<'a> {
    pub port: u16,
    /// Bytes per transfer.
    pub width: u8,
    pub direction: Direction,
    /// All transfers, one after the other.
    pub data: &'a mut [u8],
}

/// The transfers of a KVM_EXIT_IO.
///
/// kvm-ioctls returns the data but not the width of a transfer.
pub fn io(run: &mut kvm_run) -> Io<'_> {
    // SAFETY: every bit pattern is a value of this member, which holds integers only.
    let io = unsafe { run.__bindgen_anon_1.io };
    let start = std::ptr::from_mut(run).cast::<u8>();
    let size = usize::from(io.size) * io.count as usize;
    // SAFETY: KVM places the data inside the area of KVM_GET_VCPU_MMAP_SIZE bytes that begins with `run` and
    // is mapped as long as its vCPU lives (KVM API 5, "kvm_run.io.data_offset").
    let data = unsafe { start.add(io.data_offset as usize) };
    // SAFETY: as above for all of its `size` bytes; `run` stays borrowed as long as the slice lives, and the
    // kernel writes here only inside KVM_RUN.
    let data = unsafe { std::slice::from_raw_parts_mut(data, size) };
    let direction = if u32::from(io.direction) == KVM_EXIT_IO_IN { Direction::In } else { Direction::Out };
    Io { port: io.port, width: io.size, direction, data }
}

/// Whether the guest would take an interrupt where the last exit has left it.
pub fn takes_interrupt(run: &kvm_run) -> bool {
    run.ready_for_interrupt_injection != 0 && run.if_flag != 0
}

/// The suberror of a KVM_EXIT_INTERNAL_ERROR.
pub fn suberror(run: &kvm_run) -> u32 {
    // SAFETY: every bit pattern is a value of this member, which holds integers only.
    unsafe { run.__bindgen_anon_1.internal.suberror }
}

/// DR6 of a KVM_EXIT_DEBUG.
pub fn debug_status(run: &kvm_run) -> u64 {
    // SAFETY: every bit pattern is a value of this member, which holds integers only.
    unsafe { run.__bindgen_anon_1.debug.arch.dr6 }
}
