//! `cargo xtask run`.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::cargo::{self, host_cargo};
use crate::guest::{self, Profile};
use crate::{Result, Workspace, programs};

/// The variable with the command that opens a recording in gdb, if its path follows. flatland names it where it leaves a
/// recording of a failure.
pub const CARGO: &str = "FLATLAND_CARGO";

/// The files for a run.
#[derive(Debug)]
pub struct Built {
    /// The guest program's name.
    pub name: String,
    /// Its flat image.
    pub image: PathBuf,
    /// The ELF file that the image was made of.
    pub elf: PathBuf,
    /// The program `flatland`.
    pub flatland: PathBuf,
}

/// Builds a guest program and flatland, and replaces this process by flatland. So signals, exit status and streams are
/// directly between flatland and the caller.
pub fn run(workspace: &Workspace, name: Option<&str>, profile: Profile, options: &[OsString]) -> Result<()> {
    let Built { image, elf, flatland, .. } = build(workspace, name, profile)?;
    let mut command = Command::new(&flatland);
    command.current_dir(workspace.callers_folder());
    command.env(CARGO, "cargo xtask");
    let error = command.arg("--symbols").arg(elf).arg(image).args(options).exec();
    Err(format!("cannot run {} ({error}): remove it and build again", flatland.display()))
}

/// Builds flatland, and replaces this process by its replay of a recording.
pub fn replay(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    flatland(workspace, &[&["replay".into()], arguments].concat())
}

/// Builds flatland, and replaces this process by it, with these arguments.
pub fn flatland(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let flatland = build_host(workspace)?;
    let error = Command::new(&flatland).args(arguments).current_dir(workspace.callers_folder()).exec();
    Err(format!("cannot run {} ({error}): remove it and build again", flatland.display()))
}

/// Builds a guest program, or the default one, and flatland.
pub fn build(workspace: &Workspace, name: Option<&str>, profile: Profile) -> Result<Built> {
    let program = match name {
        Some(name) => programs::find(workspace, name)?,
        None => programs::default(workspace)?,
    };
    // Both builds run at once: if there is nothing to do, they take as long as one.
    let (host, guest) = thread::scope(|scope| {
        let host = scope.spawn(|| build_host(workspace));
        let guest = guest::build(workspace, &[&program.name], profile);
        (host.join(), guest)
    });
    // Drop the messages about large programs: flatland knows the actual size of RAM and reports what does not fit.
    guest?;
    let flatland = host.map_err(|_| "xtask itself failed: report it")??;
    let (image, elf) = (workspace.image(&program.name), workspace.elf(&program.name));
    Ok(Built { name: program.name, image, elf, flatland })
}

/// Builds flatland, and returns its path.
pub fn build_host(workspace: &Workspace) -> Result<PathBuf> {
    build_program(workspace, "flatland-vmm", "flatland")
}

/// Builds the program of this name in a package of the host's workspace, and returns its path.
pub fn build_program(workspace: &Workspace, package: &str, name: &str) -> Result<PathBuf> {
    // cargo reports the program's path: the user's settings may name a target, and then the folder is another one.
    let mut arguments = vec![
        "rustc",
        "--release",
        "--package",
        package,
        "--bin",
        name,
        "--message-format",
        "json-render-diagnostics",
    ];
    if has_static_libc() {
        arguments.extend(["--", "-C", "target-feature=+crt-static"]);
    }
    cargo::build(host_cargo(workspace, arguments))?
        .pop()
        .ok_or_else(|| format!("cargo does not say where it has built {name}: report it"))
}

/// Whether the C library can be linked statically. A dynamic linker takes a fifth of the time from start to exit of a
/// small guest. The static library is not installed everywhere, and asking the compiler would take as long.
fn has_static_libc() -> bool {
    const FOLDERS: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let is_there = |folder: &&str| Path::new(folder).join("libc.a").exists();
    cfg!(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")) && FOLDERS.iter().any(is_there)
}

/// Rejects a program's name where a replay takes the path of a recording, or that of an ELF file.
pub fn check_no_name_in_replay<'a>(
    workspace: &Workspace,
    recording: &OsStr,
    elves: impl IntoIterator<Item = &'a OsStr>,
) -> Result<()> {
    let programs = programs::all(workspace).unwrap_or_default();
    let name = |word: &OsStr| {
        let program = programs.iter().find(|program| *program.name == *word)?;
        (!workspace.callers_folder().join(word).exists()).then_some(&*program.name)
    };
    if let Some(name) = name(recording) {
        return Err(format!(
            "a replay needs a recording, and `{name}` is a program: `cargo xtask run {name} --record FILE` records it"
        ));
    }
    elves.into_iter().find_map(name).map_or(Ok(()), |name| {
        Err(format!(
            "a replay has the program of its run, and `{name}` would be the path of its ELF file: leave it out, or give such \
             a path, as {}",
            workspace.show(&workspace.elf(name))
        ))
    })
}

/// Rejects a program's name after options. It would be taken for the value of an option, and `flatland` would run
/// `answer` with it.
pub fn check_no_name_behind(workspace: &Workspace, command: &str, options: &[OsString]) -> Result<()> {
    let programs = programs::all(workspace)?;
    let before_dashes = options.iter().position(|option| option == "--").unwrap_or(options.len());
    let options = &options[..before_dashes];
    let Some(name) = options
        .iter()
        .filter_map(|option| option.to_str())
        .find(|option| programs.iter().any(|program| program.name == *option))
    else {
        return Ok(());
    };
    let others: Vec<_> =
        options.iter().filter(|option| *option != name).map(|option| option.to_string_lossy()).collect();
    Err(format!("the program's name stands first: try `cargo xtask {command} {name} {}`", others.join(" ")))
}
