//! `cargo xtask disasm` and `cargo xtask size`: list a program's instructions and the sizes of its parts.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::guest::{self, Profile};
use crate::{Result, Workspace, programs, run};

/// Lists a program's instructions beside its source: those of functions with this text in their names, or all.
pub fn disassemble(
    workspace: &Workspace,
    name: &str,
    profile: Profile,
    function: Option<&str>,
) -> Result<()> {
    let mut command = inspect(workspace, name, profile)?;
    command.arg("disasm").arg(workspace.elf(name)).args(function);
    become_it(command)
}

/// Lists what takes up space in a program, with these options of flatland-inspect.
pub fn sizes(workspace: &Workspace, name: &str, profile: Profile, options: &[OsString]) -> Result<()> {
    let mut command = inspect(workspace, name, profile)?;
    command.arg("size").arg(workspace.elf(name)).args(options);
    become_it(command)
}

fn inspect(workspace: &Workspace, name: &str, profile: Profile) -> Result<Command> {
    let program = programs::find(workspace, name)?;
    guest::build(workspace, &[&program.name], profile)?;
    let mut command = Command::new(run::build_program(workspace, "flatland-vmm", "flatland-inspect")?);
    command.current_dir(workspace.callers_folder());
    Ok(command)
}

fn become_it(mut command: Command) -> Result<()> {
    let error = command.exec();
    Err(format!("cannot run {} ({error}): remove it and build again", command.get_program().display()))
}
