//! Ending the run.

use core::arch::asm;

use flatland_contract::Port;

use crate::port;

/// Ends the run with this status.
pub fn exit(status: u8) -> ! {
    port::write_byte(Port::Exit, status);
    // No machine comes here.
    halt()
}

/// Ends the run with status 0.
pub fn halt() -> ! {
    loop {
        // SAFETY: `hlt` touches neither memory nor registers.
        unsafe { asm!("hlt", options(nomem, nostack, preserves_flags)) };
    }
}
