//! `cargo xtask`: builds guest programs, runs them on the machine, and tests the project.
//!
//! Every user compiles this program first, so it has few dependencies. It knows cargo and the paths of files. What a
//! machine is, only the host knows.

mod bench;
mod build;
mod cargo;
mod check;
mod fuzz;
mod gdb;
mod guest;
mod guest_tests;
mod inspect;
mod new;
mod options;
mod programs;
mod run;
mod rust_source;
mod signals;
mod spelling;
mod workspace;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use flatland_contract::status;
use options::Command;
use workspace::Workspace;

/// The error is a sentence that ends with what to do.
type Result<T, E = String> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let (command, is_offline) = match options::parse(env::args_os().skip(1)) {
        Ok(parsed) => parsed,
        Err(message) => return fail(&message, status::USAGE),
    };
    if is_offline {
        cargo::go_offline();
    }
    // A run that cannot begin has another status than a guest that fails, as with `flatland` itself.
    let failure = match command {
        Command::Run { .. }
        | Command::Gdb { .. }
        | Command::GdbReplay { .. }
        | Command::Replay { .. }
        | Command::Exec { .. }
        | Command::Flatland { .. } => status::HOST,
        _ => 1,
    };
    let workspace = match Workspace::find() {
        Ok(workspace) => workspace,
        Err(message) => return fail(&message, failure),
    };
    let command = match options::in_workspace(command, workspace.is_elsewhere()) {
        Ok(command) => command,
        Err(message) => return fail(&message, status::USAGE),
    };
    if let Err(message) = check_name(&workspace, &command) {
        return fail(&message, status::USAGE);
    }
    match dispatch(&workspace, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message, failure),
    }
}

/// Checks that the program that the command names exists, or that its name is valid for a new one.
fn check_name(workspace: &Workspace, command: &Command) -> Result<()> {
    match command {
        Command::Run { name: None, options, .. } => {
            run::check_no_name_behind(workspace, "run", options)?;
            programs::default(workspace).map(|_| ())
        }
        Command::Gdb { name: None, options, .. } => {
            run::check_no_name_behind(workspace, "gdb", &options.flatland)?;
            programs::default(workspace).map(|_| ())
        }
        Command::Run { name: Some(name), .. }
        | Command::Gdb { name: Some(name), .. }
        | Command::Build { name: Some(name), .. }
        | Command::Disassemble { name, .. }
        | Command::Size { name, .. } => programs::find(workspace, name).map(|_| ()),
        Command::Fuzz { name, .. } if !fuzz::is_file(name) => programs::find(workspace, name).map(|_| ()),
        Command::New { name, .. } => new::check_name(name),
        Command::GdbReplay { options } => {
            let elf = options.elf.as_ref().map(|elf| elf.as_os_str());
            run::check_no_name_in_replay(workspace, options.recording.as_os_str(), elf)
        }
        Command::Replay { arguments } => {
            // Behind an option there may be its value.
            let is_option = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
            let pairs = arguments.windows(2).take_while(|pair| pair[1] != "--");
            let words = pairs.filter(|pair| !is_option(&pair[0])).map(|pair| pair[1].as_os_str());
            run::check_no_name_in_replay(workspace, &arguments[0], words)
        }
        _ => Ok(()),
    }
}

fn fail(message: &str, status: u8) -> ExitCode {
    eprintln!("xtask: {message}");
    status.into()
}

/// Prints to standard output. A closed pipe is no error: a reader such as `head` may stop early.
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
        Command::Print(text) => print(&text),
        Command::Build { name, profile } => build::guests(workspace, name.as_deref(), profile),
        Command::Run { name, profile, options } => run::run(workspace, name.as_deref(), profile, &options),
        Command::Gdb { name, profile, options } => gdb::gdb(workspace, name.as_deref(), profile, &options),
        Command::GdbReplay { options } => gdb::gdb_replay(workspace, &options),
        Command::Replay { arguments } => run::replay(workspace, &arguments),
        Command::Flatland { arguments } => run::flatland(workspace, &arguments),
        Command::Test { quick, arguments } => check::test(workspace, quick, &arguments),
        Command::Disassemble { name, profile, function } => {
            inspect::disassemble(workspace, &name, profile, function.as_deref())
        }
        Command::Size { name, profile, options } => inspect::sizes(workspace, &name, profile, &options),
        Command::New { name, kind, path: None } => print(&new::program(workspace, &name, kind)?),
        Command::New { name, kind, path: Some(path) } => {
            print(&new::package(workspace, &workspace.callers_folder().join(path), &name, kind)?)
        }
        Command::TestGuest(asked) => guest_tests::run(workspace, &asked),
        Command::Exec { built, arguments } => guest_tests::exec(workspace, &built, &arguments),
        Command::Differential { with } => check::differential(workspace, with),
        Command::Bench { options } => bench::bench(workspace, &options),
        Command::Pictures => check::pictures(workspace),
        Command::Fuzz { name, profile, options, arguments } => {
            fuzz::fuzz(workspace, &name, profile, &options, &arguments)
        }
        Command::FuzzParsers { arguments } => fuzz::parsers(workspace, &arguments),
        Command::CompareFuzzers { options } => fuzz::compare(workspace, &options),
        Command::Lint => check::lint(workspace),
        Command::Portability => check::portability(workspace),
        Command::List => print(&programs::list(workspace)?),
    }
}
