//! From the processor's first instruction to `main`.

use core::arch::global_asm;

use crate::process::{ExitCode, Termination, exit};

// The linker script puts .text.entry at address 0, where the processor starts with ESP at the end of RAM. The zero in
// EBP ends the chain of frame pointers.
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

/// Calls the program's main function. If this returns, the run ends with status 0.
#[doc(hidden)]
pub fn run<R: Termination>(main: impl FnOnce() -> R) {
    match main().report() {
        ExitCode::SUCCESS => {}
        code => exit(code.0.into()),
    }
}

/// Declares the program's main function, once in a program: `entry!(main);`.
///
/// The function takes no arguments (see [`env::args`](crate::env::args)). It returns nothing, an
/// [`ExitCode`](crate::process::ExitCode), or a `Result` of these, whose error is shown: any
/// [`Termination`](crate::process::Termination). When it returns, the run ends with that status.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // For `env::args`. Without cargo, the crate has the program's name.
        #[unsafe(no_mangle)]
        static __flatland_name: &str = match ::core::option_env!("CARGO_BIN_NAME") {
            Some(name) => name,
            None => ::core::module_path!(),
        };

        // `_start` calls this.
        #[cfg(not(test))]
        #[unsafe(no_mangle)]
        extern "C" fn __flatland_main() {
            $crate::__private::run($main)
        }

        // A program that is built for its tests runs one of them instead.
        #[cfg(test)]
        #[unsafe(no_mangle)]
        extern "C" fn __flatland_main() {
            let _ = $main;
            $crate::__private::run_test()
        }
    };
}
