//! The commands of `cargo flatland`: build guest programs, run, test, debug and fuzz them.
//!
//! `cargo xtask` of a checkout is another program with the same commands, and more of its own ([`Own`]). Every user of a
//! checkout compiles this library first, so it has few dependencies. It knows cargo and the paths of files. What a machine
//! is, only the host's programs know, which a program finds or contains ([`host::Host`]).

pub mod build;
pub mod caller;
pub mod cargo;
pub mod checkout;
mod context;
mod doctor;
mod files;
mod fuzz;
#[cfg(unix)]
mod gdb;
#[cfg(not(unix))]
#[path = "gdb/by_hand.rs"]
mod gdb;
pub mod guest;
pub mod guest_tests;
mod help;
pub mod host;
mod init;
mod inspect;
pub mod kvm;
pub mod metadata;
mod new;
pub mod options;
pub mod package;
mod places;
pub mod programs;
mod progress;
mod run;
pub mod rust_source;
pub mod settings;
#[cfg(unix)]
mod signals;
mod spelling;
pub mod target;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

pub use context::Context;
use flatland_contract::status;
use options::{Command, Own, Parsed, Table};

/// The error is a sentence that ends with what to do.
pub type Result<T, E = String> = std::result::Result<T, E>;

/// Runs the command that these arguments are. `context` makes what it works with, of the name of a package.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    own: &Own,
    context: impl FnOnce(Option<String>) -> Result<Context>,
) -> ExitCode {
    let Parsed { command, settings, package } = match options::parse(arguments, own) {
        Ok(parsed) => parsed,
        Err(message) => return fail(&message, status::USAGE),
    };
    settings::set(settings);
    // A run that cannot begin has another status than a guest that fails, as with `flatland` itself.
    let failure = match command {
        Ok(
            Command::Run { .. }
            | Command::Gdb { .. }
            | Command::GdbReplay { .. }
            | Command::Replay { .. }
            | Command::Exec { .. }
            | Command::Flatland { .. },
        ) => status::HOST,
        _ => 1,
    };
    let context = match context(package) {
        Ok(context) => context,
        Err(message) => return fail(&message, failure),
    };
    let result = match command {
        Ok(command) => {
            if needs_package(&command)
                && let Err(message) = context.package()
            {
                return fail(&message, failure);
            }
            if let Err(message) = check_name(&context, &command) {
                return fail(&message, status::USAGE);
            }
            dispatch(&context, &own.table, command)
        }
        Err(task) => task(&context),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message, failure),
    }
}

fn needs_package(command: &Command) -> bool {
    match command {
        Command::Run { .. }
        | Command::Gdb { .. }
        | Command::Build { .. }
        | Command::Disassemble { .. }
        | Command::Size { .. }
        | Command::Test(_)
        | Command::List => true,
        Command::Fuzz { name, .. } => !fuzz::is_file(name),
        _ => false,
    }
}

/// Checks that the program that the command names exists, or that its name is valid for a new one.
fn check_name(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::Run { name: None, options, .. } => {
            run::check_no_name_behind(context, "run", options)?;
            programs::default(context.package()?).map(|_| ())
        }
        Command::Gdb { name: None, options, .. } => {
            run::check_no_name_behind(context, "gdb", &options.flatland)?;
            programs::default(context.package()?).map(|_| ())
        }
        Command::Run { name: Some(name), .. }
        | Command::Gdb { name: Some(name), .. }
        | Command::Build { name: Some(name), .. }
        | Command::Disassemble { name, .. }
        | Command::Size { name, .. } => programs::find(context.package()?, name).map(|_| ()),
        Command::Fuzz { name, .. } if !fuzz::is_file(name) => {
            programs::find(context.package()?, name).map(|_| ())
        }
        Command::New { name, .. } => new::check_name(name),
        Command::GdbReplay { options } => {
            let elf = options.elf.as_ref().map(|elf| elf.as_os_str());
            run::check_no_name_in_replay(context, options.recording.as_os_str(), elf)
        }
        Command::Replay { arguments } => {
            // Behind an option there may be its value.
            let is_option = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
            let pairs = arguments.windows(2).take_while(|pair| pair[1] != "--");
            let words = pairs.filter(|pair| !is_option(&pair[0])).map(|pair| pair[1].as_os_str());
            run::check_no_name_in_replay(context, &arguments[0], words)
        }
        _ => Ok(()),
    }
}

fn fail(message: &str, status: u8) -> ExitCode {
    caller::say(message);
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

fn dispatch(context: &Context, table: &Table, command: Command) -> Result<()> {
    match command {
        Command::Print(text) => print(&text),
        Command::Build { name, profile } => build::guests(context, name.as_deref(), profile),
        Command::Run { name, profile, options } => run::run(context, name.as_deref(), profile, &options),
        Command::Gdb { name, profile, options } => gdb::gdb(context, name.as_deref(), profile, &options),
        Command::GdbReplay { options } => gdb::gdb_replay(context, &options),
        Command::Replay { arguments } => run::replay(context, &arguments),
        Command::Flatland { arguments } => run::flatland(context, &arguments),
        Command::Disassemble { name, profile, function } => {
            inspect::disassemble(context, &name, profile, function.as_deref())
        }
        Command::Size { name, profile, options } => inspect::sizes(context, &name, profile, &options),
        Command::New { name, kind, path } => print(&new::new(context, &name, kind, path.as_deref())?),
        Command::Doctor => {
            let (text, is_enough) = doctor::doctor(context);
            print(&text)?;
            match is_enough {
                true => Ok(()),
                false => Err("a guest cannot be run before what stands behind `no` is mended".into()),
            }
        }
        Command::Init => print(&init::init(context)?),
        Command::Test(asked) => guest_tests::run(context, &asked),
        Command::Exec { built, arguments } => guest_tests::exec(context, &built, &arguments),
        Command::Fuzz { name, profile, options, arguments } => {
            fuzz::fuzz(context, &name, profile, &options, &arguments)
        }
        Command::Completions { shell } => help::completions(context, table, shell),
        Command::Man { folder } => help::man(context, table, folder.as_deref()),
        Command::List => print(&programs::list(context.package()?)),
    }
}
