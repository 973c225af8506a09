//! Transfers at the machine's ports, by the instructions `insb` and `outsb`.

use core::arch::asm;

use flatland_contract::Port;

/// Sends bytes to a port, in order.
pub fn write(port: Port, bytes: &[u8]) {
    // SAFETY: `rep outsb` reads ECX bytes from ESI on, which are the slice; DF is clear. LLVM reserves ESI, so it
    // cannot be an operand: it is exchanged with one, and restored.
    unsafe {
        asm!(
            "xchg esi, {start}",
            "rep outsb",
            "mov esi, {start}",
            start = inout(reg) bytes.as_ptr() => _,
            inout("ecx") bytes.len() => _,
            in("dx") port.number(),
            options(nostack, preserves_flags, readonly),
        );
    }
}

/// Sends one byte to a port.
pub fn write_byte(port: Port, byte: u8) {
    // SAFETY: `outsb` reads the byte that ESI points to, a local variable; otherwise as in `write`.
    unsafe {
        asm!(
            "xchg esi, {start}",
            "outsb",
            "mov esi, {start}",
            start = inout(reg) &raw const byte => _,
            in("dx") port.number(),
            options(nostack, preserves_flags, readonly),
        );
    }
}

/// Fills the whole slice from a port, in order.
pub fn read(port: Port, bytes: &mut [u8]) {
    // SAFETY: `rep insb` writes ECX bytes from EDI on, which are the slice; DF is clear.
    unsafe {
        asm!(
            "rep insb",
            inout("edi") bytes.as_mut_ptr() => _,
            inout("ecx") bytes.len() => _,
            in("dx") port.number(),
            options(nostack, preserves_flags),
        );
    }
}

/// Reads `LEN` bytes from a port.
pub fn read_array<const LEN: usize>(port: Port) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    read(port, &mut bytes);
    bytes
}

/// Reads one byte from a port.
pub fn read_byte(port: Port) -> u8 {
    let mut byte = 0;
    // SAFETY: `insb` writes the byte that EDI points to, a local variable; DF is clear.
    unsafe {
        asm!(
            "insb",
            inout("edi") &raw mut byte => _,
            in("dx") port.number(),
            options(nostack, preserves_flags),
        );
    }
    byte
}
