//! `cargo xtask`: the commands of `cargo flatland` for the guests of this checkout, and those that test the project.
//!
//! Every user compiles this program first, so it has few dependencies. The host's programs are built by it, at the same
//! time as guests.

mod bench;
mod check;
mod checkout;
mod fuzz;
mod options;
mod package;
mod page;

use std::env;
use std::process::ExitCode;

use cargo_flatland::caller;
use checkout::Checkout;

fn main() -> ExitCode {
    caller::set(options::CALLER);
    cargo_flatland::main(env::args_os().skip(1), &options::OWN, |_| Ok(Checkout::find()?.context()))
}
