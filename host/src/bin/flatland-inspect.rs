//! `flatland-inspect`: shows a program's instructions and sizes, without running it.
//!
//! A separate program, because running a guest does not need it: `cargo xtask disasm` and `cargo xtask size` call it.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    flatland::cli::inspect::main(env::args_os().skip(1))
}
