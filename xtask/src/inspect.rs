//! `cargo xtask disasm` and `cargo xtask size`: what a program is made of.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::guest::{self, Profile};
use crate::{Result, Workspace, programs, run};

/// Lists a program's instructions beside its source: of the functions with this in their names, or of all.
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

/// Lists what takes the room in a program.
pub fn sizes(workspace: &Workspace, name: &str, profile: Profile) -> Result<()> {
    let mut command = inspect(workspace, name, profile)?;
    command.arg("size").arg(workspace.elf(name));
    become_it(command)
}

fn inspect(workspace: &Workspace, name: &str, profile: Profile) -> Result<Command> {
    let program = programs::find(workspace, name)?;
    guest::build(workspace, &[&program.name], profile)?;
    let mut command = Command::new(run::build_program(workspace, "flatland", "flatland-inspect")?);
    command.current_dir(workspace.callers_folder());
    Ok(command)
}

fn become_it(mut command: Command) -> Result<()> {
    let error = command.exec();
    Err(format!("cannot run {} ({error}): remove it and build again", command.get_program().display()))
}
