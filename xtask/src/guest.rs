//! Building guest programs: the bare target, the standard library's source, and flat images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatland_contract::memory::{DEFAULT_RAM_SIZE, Layout, MAX_RAM_SIZE, default_stack_size};
use flatland_elf::{Elf, ElfError, remove_dropped};
use xshell::Shell;

use crate::cargo::{self, cargo};
use crate::{Result, Workspace, rust_source};

/// What a machine has for a program where nobody asks for another size: below the stack, and the hole there.
const ROOM: u32 = Layout::new(DEFAULT_RAM_SIZE, default_stack_size(DEFAULT_RAM_SIZE)).heap_end;

/// How a guest program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// cargo's `dev`: overflow checks, quick to build.
    Dev,
    /// cargo's `release`: small.
    Release,
}

impl Profile {
    /// The folder that cargo builds it in.
    fn folder(self) -> &'static str {
        match self {
            Profile::Dev => "debug",
            Profile::Release => "release",
        }
    }
}

/// A call of cargo for the guest's workspace: what its own .cargo/config.toml asks for, made possible.
pub fn guest_cargo(workspace: &Workspace, shell: &Shell, arguments: &[&str]) -> Result<Command> {
    shell.change_dir(workspace.guest());
    let mut command = cargo(shell, arguments);
    build_std(workspace, &mut command)?;
    // A person's settings for programs of their own machine mean nothing on a bare one.
    command.env_remove("CARGO_BUILD_TARGET");
    // None, before all other places that flags can stand in.
    command.env("CARGO_ENCODED_RUSTFLAGS", "");
    // Where the images are looked for.
    command.env("CARGO_TARGET_DIR", cargo_target(workspace));
    Ok(command)
}

/// Lets a call of cargo build the standard library from its source.
pub fn build_std(workspace: &Workspace, command: &mut Command) -> Result<()> {
    // That is unstable, and so is a target that is a file; this variable allows it on a stable compiler, for this
    // one build. Rust in the Linux kernel is built the same way.
    command.env("RUSTC_BOOTSTRAP", "1");
    if let Some(library) = rust_source::find(workspace)? {
        // cargo's own way to name another source of the standard library, meant for its tests.
        command.env("__CARGO_TESTS_ONLY_SRC_ROOT", library);
    }
    Ok(())
}

/// Builds these programs and leaves their flat images and ELF files in target/guest. What has not changed
/// is not written. Returns a sentence about each program that does not fit a machine as it is by default.
pub fn build(workspace: &Workspace, names: &[&str], profile: Profile) -> Result<Vec<String>> {
    let features = features(workspace)?;
    let (with_a_feature, plain): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| features.iter().any(|feature| feature == *name));
    if !plain.is_empty() {
        call_cargo(workspace, &plain, None, profile)?;
    }
    // Each by itself, as when it is the only one that is asked for: what cargo has built once is then there, the
    // same to the byte, and no program's dependencies have features that another one asks for.
    for name in with_a_feature {
        call_cargo(workspace, &[name], Some(name), profile)?;
    }

    let built = cargo_target(workspace).join("i686-bare").join(profile.folder());
    let mut large = Vec::new();
    for name in names {
        let end = write_image(&built.join(name), &workspace.elf(name), &workspace.image(name))?;
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

/// Builds all tests of the guest's crate and its programs. Returns their ELF files, each with its flat image beside
/// it.
pub fn build_tests(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let shell = Shell::new().map_err(|error| error.to_string())?;
    // Without all features, cargo would leave out the programs that need one, and nobody would know.
    const BUILD: &[&str] =
        &["test", "--no-run", "--all-features", "--message-format", "json-render-diagnostics"];
    let built = cargo::build(guest_cargo(workspace, &shell, BUILD)?)?;
    built.iter().map(|path| test_image(workspace, path)).collect()
}

/// Makes the flat image of a program that cargo has built for its tests. Returns its ELF file.
pub fn test_image(workspace: &Workspace, built: &Path) -> Result<PathBuf> {
    let folder = workspace.images().join("tests");
    fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make {} ({error}): make room", folder.display()))?;
    // cargo's own name, with its hash: a program and a file of tests may have the same.
    let elf = folder.join(built.file_name().unwrap_or_default()).with_added_extension("elf");
    write_image(built, &elf, &elf.with_extension("bin"))?;
    Ok(elf)
}

/// Makes the flat image of an ELF file, and a copy of the file without what it says of dropped functions. Returns the end of what the program takes of RAM.
pub fn write_image(built: &Path, elf_path: &Path, image_path: &Path) -> Result<u64> {
    let mut elf =
        fs::read(built).map_err(|error| format!("cannot read {} ({error}): build again", built.display()))?;
    let (flat, end) = Elf::parse(&*elf)
        .and_then(|elf| Ok((elf.image(MAX_RAM_SIZE)?, elf.end())))
        .map_err(|error: ElfError| format!("{} makes no flat image: {error}", built.display()))?;
    remove_dropped(&mut elf);
    write_if_changed(elf_path, &elf)?;
    write_if_changed(image_path, &flat)?;
    Ok(end)
}

fn call_cargo(workspace: &Workspace, names: &[&str], feature: Option<&str>, profile: Profile) -> Result<()> {
    let mut arguments = vec!["build"];
    if profile == Profile::Release {
        arguments.push("--release");
    }
    arguments.extend(feature.iter().flat_map(|feature| ["--features", feature]));
    arguments.extend(names.iter().flat_map(|name| ["--bin", name]));
    let shell = Shell::new().map_err(|error| error.to_string())?;
    cargo::build(guest_cargo(workspace, &shell, &arguments)?).map(|_| ())
}

/// The features of the guest's crate. One that is named like a program brings this program's dependencies, which
/// nobody else compiles (guest/README.md, "A guest with dependencies").
fn features(workspace: &Workspace) -> Result<Vec<String>> {
    let path = workspace.guest().join("Cargo.toml");
    let manifest = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {} ({error}): it names the guest's package", path.display()))?;
    Ok(features_of(&manifest).map(Into::into).collect())
}

/// The names in the table `[features]`, each of which begins a line. All that is asked of a manifest does not make up
/// for a TOML parser that everybody compiles.
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

/// Writes a file as a whole, so that nobody ever sees half of it; or not at all if it is there already.
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
