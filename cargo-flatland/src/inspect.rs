//! `cargo flatland disasm` and `cargo flatland size`: list a program's instructions and the sizes of its parts.

use std::ffi::OsString;
use std::process::Command;

use crate::guest::{self, Profile};
use crate::host::{self, become_it};
use crate::{Context, Result, programs};

/// Lists a program's instructions beside its source: those of functions with this text in their names, or all.
pub fn disassemble(context: &Context, name: &str, profile: Profile, function: Option<&str>) -> Result<()> {
    let mut command = inspect(context, "disasm", name, profile)?;
    command.args(function);
    become_it(command)
}

/// Lists what takes up space in a program, with these options of flatland-inspect.
pub fn sizes(context: &Context, name: &str, profile: Profile, options: &[OsString]) -> Result<()> {
    let mut command = inspect(context, "size", name, profile)?;
    command.args(options);
    become_it(command)
}

fn inspect(context: &Context, listing: &str, name: &str, profile: Profile) -> Result<Command> {
    let package = context.package()?;
    guest::build(context, &[programs::find(package, name)?], profile)?;
    let mut command = context.host().find(host::Program::Inspect)?.command();
    command.arg(listing).arg(package.elf(name)).current_dir(context.callers_folder());
    Ok(command)
}
