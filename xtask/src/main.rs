//! `cargo xtask`: builds guest programs, runs them on the machine, and tests the project.
//!
//! Everybody compiles this program first, so it has few dependencies. It knows cargo and where files lie;
//! what a machine is, the host knows.

mod bench;
mod build;
mod cargo;
mod check;
mod gdb;
mod guest;
mod guest_tests;
mod inspect;
mod new;
mod options;
mod programs;
mod run;
mod rust_source;
mod workspace;

use std::env;
use std::io::{self, Write};
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
    let failure = if matches!(command, Command::Run { .. } | Command::Gdb { .. } | Command::Exec { .. }) {
        status::HOST
    } else {
        1
    };
    let workspace = match Workspace::find() {
        Ok(workspace) => workspace,
        Err(message) => return fail(&message, failure),
    };
    let nameless = match &command {
        Command::Run { name: None, options, .. } => Some(("run", options)),
        Command::Gdb { name: None, options, .. } => Some(("gdb", &options.flatland)),
        _ => None,
    };
    if let Some((word, options)) = nameless
        && let Err(message) = run::check_no_name_behind(&workspace, word, options)
    {
        return fail(&message, status::USAGE);
    }
    match dispatch(&workspace, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message, failure),
    }
}

fn fail(message: &str, status: u8) -> ExitCode {
    eprintln!("xtask: {message}");
    status.into()
}

/// Prints what was asked for. Whoever reads it may stop when they have seen enough.
fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => {
            result.map_err(|error| format!("standard output cannot be written ({error}): send it elsewhere"))
        }
    }
}

fn dispatch(workspace: &Workspace, command: Command) -> Result<()> {
    match command {
        Command::Help => print(&format!("{HELP}\n")),
        Command::Build { name, profile } => build::guests(workspace, name.as_deref(), profile),
        Command::Run { name, profile, options } => run::run(workspace, name.as_deref(), profile, &options),
        Command::Gdb { name, profile, options } => gdb::gdb(workspace, name.as_deref(), profile, &options),
        Command::Test { arguments } => check::test(workspace, &arguments),
        Command::Disassemble { name, profile, function } => {
            inspect::disassemble(workspace, &name, profile, function.as_deref())
        }
        Command::Size { name, profile } => inspect::sizes(workspace, &name, profile),
        Command::New { name, path: None } => print(&new::program(workspace, &name)?),
        Command::New { name, path: Some(path) } => {
            print(&new::package(workspace, &workspace.callers_folder().join(path), &name)?)
        }
        Command::TestGuest { engine, libtest } => guest_tests::run(workspace, engine.as_deref(), &libtest),
        Command::Exec { built, arguments } => guest_tests::exec(workspace, &built, &arguments),
        Command::Differential { unicorn } => check::differential(workspace, unicorn),
        Command::Bench { options } => bench::bench(workspace, &options),
        Command::Lint => check::lint(workspace),
        Command::Portability => check::portability(workspace),
        Command::List => print(&programs::list(workspace)?),
    }
}
