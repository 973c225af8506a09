//! What translated code calls.

use crate::cpu::{Cpu, register};
use crate::event::Break;
use crate::operation::Op;

/// A handler's result as a number: 0, or one more than the reason's.
fn number(result: Result<(), Break>) -> u32 {
    result.map_or_else(|reason| reason as u32 + 1, |()| 0)
}

/// Executes an operation by the interpreter's handler.
///
/// # Safety
///
/// Both must be what `execute` was called with.
pub unsafe extern "sysv64" fn call_handler(cpu: *mut Cpu, op: *const Op) -> u32 {
    // SAFETY: `execute` has borrowed both, and the code that it executes uses neither meanwhile.
    let cpu = unsafe { &mut *cpu };
    // SAFETY: as above.
    let op = unsafe { &*op };
    number((op.handler)(cpu, op))
}

/// Loads for an operation what its code could not load itself, and leaves it in [`LOADED`].
///
/// # Safety
///
/// As for [`call_handler`].
pub unsafe extern "sysv64" fn load<T: crate::int::Int>(cpu: *mut Cpu, op: *const Op) -> u32 {
    // SAFETY: as in `call_handler`.
    let cpu = unsafe { &mut *cpu };
    // SAFETY: as above.
    let op = unsafe { &*op };
    let loaded = cpu.load::<T>(op.segment, cpu.effective_address(op));
    number(loaded.map(|value| cpu.set_reg(register::ADDRESS, value.zero_extend())))
}

/// Where [`load`] leaves its value. No operation of one instruction uses that register.
pub const LOADED: usize = Cpu::OFFSETS.registers + register::ADDRESS as usize * size_of::<u32>();
