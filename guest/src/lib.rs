#![no_std]
use core::arch::{asm, global_asm};
use flatland_contract::port;
global_asm!(".pushsection .text.entry,\"ax\",@progbits", ".globl _start", "_start:", "xor ebp, ebp", "call {main}", "2: hlt", "jmp 2b", ".popsection", main = sym entry);
unsafe extern "Rust" { fn __main(); }
extern "C" fn entry() { unsafe { __main() } }
pub fn read_byte() -> u8 {
    let mut b = 0u8;
    unsafe { asm!("insb", inout("edi") &raw mut b => _, in("dx") port::CONSOLE, options(nostack, preserves_flags)) };
    b
}
pub fn write_byte(b: u8) {
    let p = &raw const b;
    unsafe { asm!("xchg esi, {0}", "outsb", "mov esi, {0}", inout(reg) p => _, in("dx") port::CONSOLE, options(nostack, preserves_flags)) };
}
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
#[macro_export]
macro_rules! entry { ($main:path) => { #[unsafe(no_mangle)] fn __main() { $main() } } }
