//! Builds guest programs for the bare target, with the standard library from source, and makes flat images of them.

use std::env::{self, consts};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatland_contract::memory::{DEFAULT_RAM_SIZE, Layout, MAX_RAM_SIZE, default_stack_size};
use flatland_contract::test::SECTION;
use flatland_elf::{Elf, ElfError, note_command, remove_dropped};

use crate::cargo::{self, cargo};
use crate::{Result, Workspace, programs, rust_source};

/// The RAM for a program in a machine of default size, in bytes: all that is below the stack and its guard.
const ROOM: u32 = Layout::new(DEFAULT_RAM_SIZE, default_stack_size(DEFAULT_RAM_SIZE)).heap_end;

/// How a guest program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// cargo's `dev`: overflow checks, quick to build.
    Dev,
    /// `dev` for a debugger: the program itself is not optimized, so that each of its functions and lines is there.
    Debugger,
    /// `dev` for coverage: the crate itself is not optimized, so that each of its lines is there, and what the linker
    /// leaves out is known.
    Coverage,
    /// cargo's `release`: small.
    Release,
}

impl Profile {
    /// A command that builds with this profile.
    fn command(self) -> &'static str {
        match self {
            Profile::Dev => "cargo xtask build",
            Profile::Debugger => "cargo xtask gdb",
            Profile::Coverage => "cargo xtask run --coverage",
            Profile::Release => "cargo xtask build --release",
        }
    }

    /// The name of cargo's folder for this profile.
    fn folder(self) -> &'static str {
        match self {
            Profile::Dev | Profile::Debugger | Profile::Coverage => "debug",
            Profile::Release => "release",
        }
    }
}

/// Prepares a call of cargo for the guest's crate, with the settings of guest/.cargo/bare.toml. A crate elsewhere does
/// not have these settings itself, because cargo would apply them to xtask's build too.
pub fn guest_cargo(workspace: &Workspace, subcommand: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = cargo(workspace.guest(), [subcommand]);
    if workspace.is_elsewhere() {
        command.arg("--config").arg(workspace.root().join("guest/.cargo/bare.toml"));
    }
    command.args(arguments);
    build_std(workspace, &mut command)?;
    // The user's setting is for programs of this machine. Guests have their own target.
    command.env_remove("CARGO_BUILD_TARGET");
    // `build` takes the programs from there.
    command.env("CARGO_TARGET_DIR", cargo_target(workspace));
    Ok(command)
}

/// Lets a call of cargo build the standard library from its source.
pub fn build_std(workspace: &Workspace, command: &mut Command) -> Result<()> {
    // Building the standard library is unstable, and so is a target given as a file. This variable allows both on a
    // stable compiler, for this build only. Rust in the Linux kernel is built the same way.
    command.env("RUSTC_BOOTSTRAP", "1");
    if let Some(library) = rust_source::find(workspace)? {
        // Names another source of the standard library. cargo has this variable for its own tests.
        command.env("__CARGO_TESTS_ONLY_SRC_ROOT", library);
    }
    Ok(())
}

/// Builds these programs and writes their flat images and ELF files to target/guest. Unchanged files are not written.
/// Returns a message for each program that does not fit a machine of default size.
pub fn build(workspace: &Workspace, names: &[&str], profile: Profile) -> Result<Vec<String>> {
    let features = features(workspace)?;
    let (with_a_feature, plain): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| features.iter().any(|feature| feature == *name));
    if !plain.is_empty() {
        build_programs(workspace, &plain, None, profile)?;
    }
    // Build each of these by itself, as if it were the only one asked for. So cargo reuses earlier builds, images are
    // the same to the byte, and no program's dependencies have features that another program asks for.
    for name in with_a_feature {
        build_programs(workspace, &[name], Some(name), profile)?;
    }

    let built = cargo_target(workspace).join("i686-bare").join(profile.folder());
    let mut large = Vec::new();
    for name in names {
        let elf = workspace.elf(name);
        let end = write_image(&built.join(name), &elf, &workspace.image(name), profile)?;
        if end > ROOM.into() {
            large.push(format!(
                "{name} takes {} KiB of RAM, more than the {} KiB there are below its stack: run it with --memory SIZE",
                end.div_ceil(1024),
                ROOM / 1024
            ));
        }
    }
    Ok(large)
}

/// Builds the guest's tests. If the filter begins with the name of a program or test file that has tests, builds only
/// that one. Returns the ELF files, each with its flat image beside it.
pub fn build_tests(workspace: &Workspace, filter: Option<&str>, profile: Profile) -> Result<Vec<PathBuf>> {
    // Without all features, cargo would silently leave out the programs that need one.
    const BUILD: [&str; 4] = ["--no-run", "--all-features", "--message-format", "json-render-diagnostics"];
    let build = |target: &[&str]| {
        let settings = settings(workspace, profile);
        let built = call_cargo(workspace, "test", &[&BUILD, settings, target].concat())?;
        built.iter().map(|path| test_image(workspace, path, profile)).collect::<Result<Vec<_>>>()
    };
    if let Some((kind, name)) = filter.and_then(|filter| named_target(workspace, filter)) {
        let elves = build(&[kind, &name])?;
        if elves.iter().any(|elf| has_tests(elf)) {
            return Ok(elves);
        }
    }
    build(&[])
}

/// Whether a program that was built for its tests has any tests.
fn has_tests(path: &Path) -> bool {
    let file = fs::read(path).unwrap_or_default();
    Elf::parse(&*file).and_then(|elf| elf.section(SECTION)).is_ok_and(|section| section.is_some())
}

/// cargo's option and name for the program or test file that a test's path begins with.
fn named_target(workspace: &Workspace, path: &str) -> Option<(&'static str, String)> {
    let first = path.split("::").next().unwrap_or_default().replace('-', "_");
    let is_it = |name: &String| name.replace('-', "_") == first;
    let program = programs::all(workspace).ok()?.into_iter().map(|program| program.name).find(is_it);
    let file = || {
        let files = fs::read_dir(workspace.guest().join("tests")).ok()?;
        let mut stems = files.filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()));
        stems.find(is_it)
    };
    program.map(|name| ("--bin", name)).or_else(|| Some(("--test", file()?)))
}

/// Makes the flat image of a program that cargo has built for its tests. Returns the path of the ELF file.
pub fn test_image(workspace: &Workspace, built: &Path, profile: Profile) -> Result<PathBuf> {
    let folder = workspace.images().join("tests");
    fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make {} ({error}): make room", folder.display()))?;
    // Keep cargo's file name with its hash, because a program and a test file may have the same name.
    let elf = folder.join(built.file_name().unwrap_or_default()).with_added_extension("elf");
    write_image(built, &elf, &elf.with_extension("bin"), profile)?;
    Ok(elf)
}

/// Makes the flat image of an ELF file, and a copy of the ELF file without debug information of discarded functions,
/// except for coverage, which counts them. The copy says how it was built. Returns the end of the RAM that the program takes.
pub fn write_image(built: &Path, elf_path: &Path, image_path: &Path, profile: Profile) -> Result<u64> {
    let mut elf =
        fs::read(built).map_err(|error| format!("cannot read {} ({error}): build again", built.display()))?;
    let (flat, end) = Elf::parse(&*elf)
        .and_then(|elf| Ok((elf.image(MAX_RAM_SIZE)?, elf.end())))
        .map_err(|error: ElfError| format!("{} makes no flat image: {error}", built.display()))?;
    if profile != Profile::Coverage {
        remove_dropped(&mut elf);
    }
    note_command(&mut elf, profile.command());
    write_if_changed(elf_path, &elf)?;
    write_if_changed(image_path, &flat)?;
    Ok(end)
}

fn build_programs(
    workspace: &Workspace,
    names: &[&str],
    feature: Option<&str>,
    profile: Profile,
) -> Result<()> {
    let mut arguments = Vec::new();
    if profile == Profile::Release {
        arguments.push("--release");
    }
    arguments.extend(settings(workspace, profile));
    arguments.extend(feature.iter().flat_map(|feature| ["--features", feature]));
    arguments.extend(names.iter().flat_map(|name| ["--bin", name]));
    let subcommand = match profile {
        Profile::Debugger => {
            arguments.extend(["--", "-C", "opt-level=0"]);
            "rustc"
        }
        Profile::Dev | Profile::Coverage | Profile::Release => "build",
    };
    match call_cargo(workspace, subcommand, &arguments) {
        Ok(_) => Ok(()),
        Err(error) => Err(missing_lines(workspace, names)?.unwrap_or(error)),
    }
}

/// cargo's options for a profile. The profile of guest/ is optimized.
fn settings(workspace: &Workspace, profile: Profile) -> &'static [&'static str] {
    match profile {
        Profile::Coverage if !workspace.is_elsewhere() => &[
            "--config",
            "profile.dev.package.flatland-gallery.opt-level=0",
            "--config",
            "profile.dev.package.flatland-guest.opt-level=0",
        ],
        _ => &[],
    }
}

/// Runs a build of the guest's crate. If it fails and the user has set flags for the compiler, the error names them as
/// a possible cause.
fn call_cargo(workspace: &Workspace, subcommand: &str, arguments: &[&str]) -> Result<Vec<PathBuf>> {
    // cargo applies the user's flags to guests, too. Many are for programs of this machine, such as those that choose
    // another linker, and no guest can be built with them.
    const VARIABLES: [&str; 3] = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"];
    cargo::build(guest_cargo(workspace, subcommand, arguments)?).map_err(|message| {
        match VARIABLES.iter().find(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
            None => message,
            Some(name) => format!(
                "{message}; {name} is for guests, too: flags for programs of this machine belong in \
                 CARGO_TARGET_{}_UNKNOWN_{}_GNU_RUSTFLAGS",
                consts::ARCH.to_uppercase(),
                consts::OS.to_uppercase()
            ),
        }
    })
}

/// Returns an error message for the first program that lacks a required line, if there is one.
fn missing_lines(workspace: &Workspace, names: &[&str]) -> Result<Option<String>> {
    for name in names {
        let program = programs::find(workspace, name)?;
        let lines = program.missing_lines();
        if !lines.is_empty() {
            let source = workspace.show(&program.source);
            return Ok(Some(format!("{source} is no guest program yet: add `{}`", lines.join("`, `"))));
        }
    }
    Ok(None)
}

/// The features of the guest's crate. A feature with the name of a program enables that program's dependencies. Builds
/// of other programs do not compile them (guest/README.md, "A guest with dependencies").
fn features(workspace: &Workspace) -> Result<Vec<String>> {
    let path = workspace.guest().join("Cargo.toml");
    let manifest = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {} ({error}): it names the guest's package", path.display()))?;
    Ok(features_of(&manifest).map(Into::into).collect())
}

/// The names in the table `[features]`, each of which begins a line. A TOML parser is not worth its compile time for
/// this.
fn features_of(manifest: &str) -> impl Iterator<Item = &str> {
    let lines = manifest.lines().map(str::trim);
    let table = lines.skip_while(|line| *line != "[features]").skip(1);
    table.take_while(|line| !line.starts_with('[')).filter_map(|line| {
        let (name, _) = line.split_once('=')?;
        (!name.starts_with('#')).then(|| name.trim().trim_matches('"'))
    })
}

fn cargo_target(workspace: &Workspace) -> PathBuf {
    workspace.images().join("cargo")
}

/// Writes a file atomically, unless it has these contents already.
fn write_if_changed(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    let temporary = path.with_added_extension(std::process::id().to_string());
    fs::write(&temporary, contents).and_then(|()| fs::rename(&temporary, path)).map_err(|error| {
        format!("cannot write {} ({error}): make room, or mend the folder's permissions", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_the_names_in_their_table() {
        let manifest = "[package]\nname = \"a\"\n\n[features]\ndefault = [\"x\"]\n# a = no\n\"b\" = []\nc-d=[\n  \"e\",\n]\n\n\
                        [dependencies]\nf = \"1\"\n";
        assert_eq!(features_of(manifest).collect::<Vec<_>>(), ["default", "b", "c-d"]);
        assert_eq!(features_of("[package]\n").count(), 0);
    }
}
