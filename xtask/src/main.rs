//! `cargo xtask`: builds guest programs, runs them on the machine, and tests the project.
//!
//! Everybody compiles this program first, so it has few dependencies. It knows cargo and where files lie;
//! what a machine is, the host knows.

mod build;
mod cargo;
mod check;
mod guest;
mod image;
mod options;
mod programs;
mod run;
mod rust_source;
mod workspace;

use std::env;
use std::process::ExitCode;

use flatland_contract::status;
use options::{Command, HELP};
use workspace::Workspace;

/// What goes wrong, in a sentence that ends with what to do.
type Result<T, E = String> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let command = match options::parse(env::args_os().skip(1)) {
        Ok(command) => command,
        Err(message) => {
            eprintln!("xtask: {message}; `cargo xtask --help` lists what there is");
            return status::USAGE.into();
        }
    };
    // A run that cannot begin is told apart from a guest that fails, as by `flatland` itself.
    let failure = if matches!(command, Command::Run { .. }) { status::HOST } else { 1 };
    match dispatch(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            failure.into()
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Help => {
            println!("{HELP}");
            Ok(())
        }
        Command::Build { name, profile } => build::guests(&workspace, name.as_deref(), profile),
        Command::Run { name, profile, options } => run::run(&workspace, name.as_deref(), profile, &options),
        Command::Test { arguments } => check::test(&workspace, &arguments),
        Command::Differential => check::differential(&workspace),
        Command::Lint => check::lint(&workspace),
        Command::Portability => check::portability(&workspace),
        Command::List => programs::print_list(&workspace),
    }
}
