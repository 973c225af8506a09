//! Interrupts of devices, which are off at entry, and the machine's timer. The names are those of the crate `x86_64`.
//!
//! A program that enables them has loaded a table of handlers (LIDT) before: an interrupt without a handler ends the run as a
//! fault. Its handlers save all registers that they change.

use core::arch::asm;

use flatland_contract::Port;

use crate::port;

pub use flatland_contract::timer::VECTOR as TIMER_VECTOR;

/// Enables interrupts. The first one comes after the instruction that follows.
#[inline]
pub fn enable() {
    // SAFETY: handlers change no register. What they do to memory, the compiler expects here.
    unsafe { asm!("sti", options(preserves_flags, nostack)) };
}

/// Disables interrupts. Those that are raised meanwhile come when they are enabled.
#[inline]
pub fn disable() {
    // SAFETY: it changes only IF.
    unsafe { asm!("cli", options(preserves_flags, nostack)) };
}

/// Whether interrupts are enabled.
#[inline]
pub fn are_enabled() -> bool {
    const IF: u32 = 1 << 9;
    let eflags: u32;
    // SAFETY: what it pushes it pops.
    unsafe { asm!("pushfd", "pop {}", out(reg) eflags, options(nomem, preserves_flags)) };
    eflags & IF != 0
}

/// Calls `action` with interrupts disabled, and enables them again if they were enabled.
#[inline]
pub fn without_interrupts<R>(action: impl FnOnce() -> R) -> R {
    let were_enabled = are_enabled();
    disable();
    let result = action();
    if were_enabled {
        enable();
    }
    result
}

/// Waits for the next interrupt. Where none can come, which is so while interrupts are disabled, the run ends with status 0.
#[inline]
pub fn hlt() {
    // SAFETY: as `enable`.
    unsafe { asm!("hlt", options(preserves_flags, nostack)) };
}

/// Enables interrupts and waits for the next one. None is lost between the two.
#[inline]
pub fn enable_and_hlt() {
    // SAFETY: as `enable`.
    unsafe { asm!("sti", "hlt", options(preserves_flags, nostack)) };
}

/// Sets the timer to raise [`TIMER_VECTOR`] each `ticks`; 0 stops it. A tick is an instruction on the soft engine, and a
/// nanosecond on KVM, where no period is shorter than a millisecond.
pub fn set_timer(ticks: u32) {
    port::write(Port::Timer, &ticks.to_le_bytes());
}
