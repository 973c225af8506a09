//! From the processor's first instruction to `main`.

use core::arch::global_asm;

use crate::process::{ExitCode, Termination, exit};

/// Turns SSE on, where floats are computed with it (i686-bare-sse2.json). The machine is the same for all guests, so a
/// guest that wants SSE does this itself: CR4.OSFXSR and OSXMMEXCPT, and CR0.MP, are set; CR0.EM is clear (SDM volume 3,
/// chapter 14, "Enabling SSE").
#[cfg(target_feature = "sse")]
macro_rules! enable_sse {
    () => {
        "
        mov eax, cr4
        or eax, (1 << 9) | (1 << 10)
        mov cr4, eax
        mov eax, cr0
        and eax, ~(1 << 2)
        or eax, 1 << 1
        mov cr0, eax"
    };
}

#[cfg(not(target_feature = "sse"))]
macro_rules! enable_sse {
    () => {
        ""
    };
}

// The linker script puts .text.entry at address 0, where the processor starts with ESP at the end of RAM. The zero in
// EBP ends the chain of frame pointers.
global_asm!(
    ".pushsection .text.entry, \"ax\", @progbits",
    ".global _start",
    ".type _start, @function",
    "_start:",
    "    xor ebp, ebp",
    enable_sse!(),
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
