//! From the processor's first instruction to `main`.

use core::arch::global_asm;

// The linker script puts .text.entry at address 0, where the processor starts with ESP at the end of RAM. A
// zero in EBP ends the chain of frame pointers for whoever walks it. Arguments and results there are none.
global_asm!(
    ".pushsection .text.entry, \"ax\", @progbits",
    ".global _start",
    ".type _start, @function",
    "_start:",
    "    xor ebp, ebp",
    "    call __flatland_main",
    "0:  hlt",
    "    jmp 0b",
    ".size _start, . - _start",
    ".popsection",
);

/// Declares the program's main function, once in a program: `entry!(main);` for a `fn main()`.
///
/// When it returns, the run ends with status 0.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // The runtime's entry calls it; there can be one in a program only.
        #[unsafe(no_mangle)]
        extern "C" fn __flatland_main() {
            let main: fn() = $main;
            main()
        }
    };
}
