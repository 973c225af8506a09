//! `cargo xtask fuzz`: builds a guest and flatland-fuzz, and starts it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::guest::{self, Profile};
use crate::{Result, Workspace, programs, run};

/// Whether this names a file and not a guest program.
pub fn is_file(name: &str) -> bool {
    name.contains(['/', '.'])
}

/// Builds the program, unless it is a file, and replaces this process by flatland-fuzz.
pub fn fuzz(
    workspace: &Workspace,
    name: &str,
    profile: Profile,
    options: &[OsString],
    arguments: &[OsString],
) -> Result<()> {
    let (name, program) = if is_file(name) {
        let path = workspace.callers_folder().join(name);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("program").to_owned();
        (stem, path)
    } else {
        let name = programs::find(workspace, name)?.name;
        guest::build(workspace, &[&name], profile)?;
        let elf = workspace.elf(&name);
        (name, elf)
    };
    let fuzz = run::build_program(workspace, "flatland-fuzz", "flatland-fuzz")?;
    let folder = |what: &str| workspace.images().with_file_name("fuzz").join(&name).join(what);
    let mut command = Command::new(&fuzz);
    command.arg("--name").arg(&name);
    command.arg("--corpus").arg(folder("corpus")).arg("--findings").arg(folder("findings"));
    command.current_dir(workspace.callers_folder()).args(options).arg(program).args(arguments);
    let error = command.exec();
    Err(format!("cannot run {} ({error}): remove it and build again", fuzz.display()))
}
