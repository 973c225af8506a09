//! From the processor's first instruction to `main`.

use core::arch::global_asm;

use crate::process::{ExitCode, Termination, exit};

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

/// Calls the program's main function. When this returns, the run ends with status 0.
#[doc(hidden)]
pub fn run<R: Termination>(main: impl FnOnce() -> R) {
    match main().report() {
        ExitCode::SUCCESS => {}
        code => exit(code.into()),
    }
}

/// Declares the program's main function, once in a program: `entry!(main);`.
///
/// It takes no arguments (they come from [`args()`](crate::args)) and returns nothing, an
/// [`ExitCode`](crate::process::ExitCode), or a `Result` of them, whose error is then shown; whatever is
/// [`Termination`](crate::process::Termination). When it returns, the run ends with that status.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // The runtime's entry calls it; there can be one in a program only.
        #[cfg(not(test))]
        #[unsafe(no_mangle)]
        extern "C" fn __flatland_main() {
            $crate::__private::run($main)
        }

        // Built for its tests, the program runs the one that is asked for.
        #[cfg(test)]
        #[unsafe(no_mangle)]
        extern "C" fn __flatland_main() {
            let _ = $main;
            $crate::__private::run_test()
        }
    };
}
