//! `cargo flatland run`, `replay` and `flatland`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::thread;

use crate::guest::{self, Profile};
use crate::host::{Place, Program, become_it};
use crate::{Context, Result, caller, programs};

/// The files for a run.
#[derive(Debug)]
pub struct Built {
    /// The guest program's name.
    #[cfg_attr(not(unix), expect(dead_code, reason = "only gdb asks, which is started on Unix"))]
    pub name: String,
    /// Its flat image.
    pub image: PathBuf,
    /// The ELF file that the image was made of.
    pub elf: PathBuf,
    /// The program `flatland`.
    pub flatland: Place,
}

/// Builds a guest program and flatland, and becomes flatland.
pub fn run(context: &Context, name: Option<&str>, profile: Profile, options: &[OsString]) -> Result<()> {
    let Built { image, elf, flatland, .. } = build(context, name, profile)?;
    let mut command = flatland.command();
    command.current_dir(context.callers_folder());
    command.arg("--symbols").arg(elf).arg(image).args(options);
    become_it(command)
}

/// Becomes flatland's replay of a recording.
pub fn replay(context: &Context, arguments: &[OsString]) -> Result<()> {
    flatland(context, &[&["replay".into()], arguments].concat())
}

/// Becomes flatland, with these arguments.
pub fn flatland(context: &Context, arguments: &[OsString]) -> Result<()> {
    let mut command = context.host().find(Program::Flatland)?.command();
    command.args(arguments).current_dir(context.callers_folder());
    become_it(command)
}

/// Builds a guest program, or the default one, and flatland.
pub fn build(context: &Context, name: Option<&str>, profile: Profile) -> Result<Built> {
    let host = context.host();
    // Both builds run at once: if there is nothing to do, they take as long as one.
    let (flatland, guest) = thread::scope(|scope| {
        let flatland = scope.spawn(|| host.find(Program::Flatland));
        let guest = build_guest(context, name, profile);
        (flatland.join(), guest)
    });
    let (name, image, elf) = guest?;
    let flatland = flatland.map_err(|_| "this program itself failed: report it")??;
    Ok(Built { name, image, elf, flatland })
}

fn build_guest(
    context: &Context,
    name: Option<&str>,
    profile: Profile,
) -> Result<(String, PathBuf, PathBuf)> {
    let package = context.package()?;
    let program = match name {
        Some(name) => programs::find(package, name)?,
        None => programs::default(package)?,
    };
    // Drop the messages about large programs: flatland knows the actual size of RAM and reports what does not fit.
    guest::build(context, &[program], profile)?;
    Ok((program.name.clone(), package.image(&program.name), package.elf(&program.name)))
}

/// Rejects a program's name where a replay takes the path of a recording, or that of an ELF file.
pub fn check_no_name_in_replay<'a>(
    context: &Context,
    recording: &OsStr,
    elves: impl IntoIterator<Item = &'a OsStr>,
) -> Result<()> {
    let package = context.package().ok();
    let name = |word: &OsStr| {
        let program = package?.programs.iter().find(|program| *program.name == *word)?;
        (!context.callers_folder().join(word).exists()).then_some(&*program.name)
    };
    if let Some(name) = name(recording) {
        let cargo = caller::cargo();
        return Err(format!(
            "a replay needs a recording, and `{name}` is a program: `{cargo} run {name} --record FILE` records it"
        ));
    }
    elves.into_iter().find_map(name).map_or(Ok(()), |name| {
        Err(format!(
            "a replay has the program of its run, and `{name}` would be the path of its ELF file: leave it out, or give such \
             a path, as {}",
            package.map(|package| context.show(&package.elf(name))).unwrap_or_default()
        ))
    })
}

/// Rejects a program's name after options. It would be taken for the value of an option, and `flatland` would run
/// `answer` with it.
pub fn check_no_name_behind(context: &Context, command: &str, options: &[OsString]) -> Result<()> {
    let programs = &context.package()?.programs;
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
    Err(format!(
        "the program's name stands first: try `{} {command} {name} {}`",
        caller::cargo(),
        others.join(" ")
    ))
}
