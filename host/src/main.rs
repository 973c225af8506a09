//! `flatland`: runs a program on a bare 32-bit processor.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    flatland::cli::main(env::args_os().skip(1))
}
