//! `cargo flatland fuzz`: builds a guest, and starts flatland-fuzz.

use std::ffi::OsString;

use crate::guest::{self, Profile};
use crate::host::{Program, become_it};
use crate::{Context, Result, programs};

/// Whether this names a file and not a guest program.
pub fn is_file(name: &str) -> bool {
    name.contains(['/', '.'])
}

/// Builds the program, unless it is a file, and becomes flatland-fuzz.
pub fn fuzz(
    context: &Context,
    name: &str,
    profile: Profile,
    options: &[OsString],
    arguments: &[OsString],
) -> Result<()> {
    let (name, program) = if is_file(name) {
        let path = context.callers_folder().join(name);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("program").to_owned();
        (stem, path)
    } else {
        let package = context.package()?;
        let program = programs::find(package, name)?;
        guest::build(context, &[program], profile)?;
        (name.to_owned(), package.elf(name))
    };
    let folder = |what: &str| context.images().with_file_name("fuzz").join(&name).join(what);
    let mut command = context.host().find(Program::Fuzz)?.command();
    command.arg("--name").arg(&name);
    command.arg("--corpus").arg(folder("corpus")).arg("--findings").arg(folder("findings"));
    command.current_dir(context.callers_folder()).args(options).arg(program).args(arguments);
    become_it(command)
}
