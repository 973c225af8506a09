//! `flatland-test`: runs the tests in guest programs, each in a machine in its initial state.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    flatland_test::main(env::args_os().skip(1))
}
