//! Builds guest programs for the bare target, with the standard library from source, and makes flat images of them.

use std::env::{self, consts};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatland_contract::memory::{DEFAULT_RAM_SIZE, Layout, MAX_RAM_SIZE, default_stack_size};
use flatland_contract::test::SECTION;
use flatland_elf::{Elf, ElfError, note_command, remove_dropped};

use crate::cargo::{self, cargo};
use crate::files::write_if_changed;
use crate::metadata::Program;
use crate::package::{Package, RUNTIME};
use crate::target::{HardFloats, Target};
use crate::{Context, Result, caller, rust_source, settings};

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
    fn command(self) -> String {
        let command = match self {
            Profile::Dev => "build",
            Profile::Debugger => "gdb",
            Profile::Coverage => "run --coverage",
            Profile::Release => "build --release",
        };
        format!("{} {command}", caller::cargo())
    }

    /// The name of cargo's folder for this profile.
    fn folder(self) -> &'static str {
        match self {
            Profile::Dev | Profile::Debugger | Profile::Coverage => "debug",
            Profile::Release => "release",
        }
    }
}

/// Prepares a call of cargo for the guest's package, with the settings for the bare machine.
pub fn guest_cargo(
    context: &Context,
    target: Target,
    subcommand: &str,
    arguments: &[&str],
) -> Result<Command> {
    let package = context.package()?;
    let mut command = cargo(&package.folder, [subcommand]);
    command.args(&package.settings).args(package.choose_target(target)).args(arguments);
    build_std(context, &mut command)?;
    // The user's setting is for programs of this machine. Guests have their own target.
    command.env_remove("CARGO_BUILD_TARGET");
    // `build` takes the programs from there.
    command.env("CARGO_TARGET_DIR", package.cargo_target());
    Ok(command)
}

/// Lets a call of cargo build the standard library from its source.
pub fn build_std(context: &Context, command: &mut Command) -> Result<()> {
    // Building the standard library is unstable, and so is a target given as a file. This variable allows both on a
    // stable compiler, for this build only. Rust in the Linux kernel is built the same way.
    command.env("RUSTC_BOOTSTRAP", "1");
    if let Some(library) = rust_source::find(context.downloads())? {
        // Names another source of the standard library. cargo has this variable for its own tests.
        command.env("__CARGO_TESTS_ONLY_SRC_ROOT", library);
    }
    Ok(())
}

/// Builds these programs and writes their flat images and ELF files to target/guest. Unchanged files are not written.
/// Returns a message for each program that does not fit a machine of default size.
pub fn build(context: &Context, programs: &[&Program], profile: Profile) -> Result<Vec<String>> {
    let package = context.package()?;
    for target in Target::ALL {
        let of_target = programs.iter().filter(|program| package.hard_floats.target(&program.name) == target);
        let (plain, with_features): (Vec<&Program>, Vec<_>) =
            of_target.partition(|program| program.features.is_empty());
        if !plain.is_empty() {
            build_programs(context, target, &plain, profile)?;
        }
        // Build each of these by itself, as if it were the only one asked for. So cargo reuses earlier builds, images are
        // the same to the byte, and no program's dependencies have features that another program asks for.
        for program in with_features {
            build_programs(context, target, &[program], profile)?;
        }
    }

    let mut large = Vec::new();
    for Program { name, .. } in programs {
        let target = package.hard_floats.target(name).name();
        let built = package.cargo_target().join(target).join(profile.folder()).join(name);
        let end = write_image(&built, &package.elf(name), &package.image(name), profile)?;
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
pub fn build_tests(context: &Context, filter: Option<&str>, profile: Profile) -> Result<Vec<PathBuf>> {
    let package = context.package()?;
    if !package.has_test_crate() {
        return Err(format!(
            "rustc's --test needs a crate `test`, and {} has none: add it with `cargo add --dev flatland-guest-test --rename test`",
            package.name
        ));
    }
    // The programs that were built are in the messages.
    let format = settings::message_format().unwrap_or("json-render-diagnostics");
    let build_options = ["--no-run", "--message-format", format];
    // cargo would silently leave out the programs that need features. Others stay off, because they may need std.
    let features = package.programs.iter().flat_map(|program| &program.features);
    let features: Vec<_> = features.flat_map(|feature| ["--features", feature]).collect();
    let build = |target: Target, tests: &[&str]| {
        let settings = settings(package, profile);
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let built =
            call_cargo(context, target, "test", &[&build_options, &*features, &*settings, tests].concat())?;
        built.iter().map(|path| test_image(&package.images, path, profile)).collect::<Result<Vec<_>>>()
    };
    if let Some((target, kind, name)) = filter.and_then(|filter| named_tests(package, filter)) {
        let elves = build(target, &[kind, &name])?;
        if elves.iter().any(|elf| has_tests(elf)) {
            return Ok(elves);
        }
    }
    let HardFloats::Programs(_) = package.hard_floats else {
        return build(package.hard_floats.of_package(), &[]);
    };
    let mut elves = Vec::new();
    for target in Target::ALL {
        let tests = tests_for(package, target);
        if !tests.is_empty() {
            elves.extend(build(target, &tests)?);
        }
    }
    Ok(elves)
}

/// cargo's options for the tests that are built for this target, where not all are for the same.
fn tests_for(package: &Package, target: Target) -> Vec<&str> {
    let programs = package.programs_for(target).filter(|program| program.has_tests);
    let mut options: Vec<_> = programs.flat_map(|program| ["--bin", &program.name]).collect();
    if package.hard_floats.of_package() == target {
        let files = package.tests.iter().filter(|file| file.is_default);
        options.extend(files.flat_map(|file| ["--test", &file.name]));
        // cargo builds the tests of the runtime beside it, too.
        options.extend((package.has_library || package.has_runtime_beside).then_some("--lib"));
    }
    options
}

/// Whether a program that was built for its tests has any tests.
fn has_tests(path: &Path) -> bool {
    let file = fs::read(path).unwrap_or_default();
    Elf::parse(&*file).and_then(|elf| elf.section(SECTION)).is_ok_and(|section| section.is_some())
}

/// The target of the program or test file that a test's path begins with, and cargo's option and name for it.
fn named_tests(package: &Package, path: &str) -> Option<(Target, &'static str, String)> {
    let first = path.split("::").next().unwrap_or_default().replace('-', "_");
    let is_it = |name: &&String| name.replace('-', "_") == first;
    let program = package.programs.iter().map(|program| &program.name).find(is_it);
    let file = package.tests.iter().map(|file| &file.name).find(is_it);
    let floats = &package.hard_floats;
    program
        .map(|name| (floats.target(name), "--bin", name.clone()))
        .or_else(|| Some((floats.of_package(), "--test", file?.clone())))
}

/// Makes the flat image of a program that cargo has built for its tests. Returns the path of the ELF file.
pub fn test_image(images: &Path, built: &Path, profile: Profile) -> Result<PathBuf> {
    let folder = images.join("tests");
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
    note_command(&mut elf, &profile.command());
    write_if_changed(elf_path, &elf)?;
    write_if_changed(image_path, &flat)?;
    Ok(end)
}

fn build_programs(context: &Context, target: Target, programs: &[&Program], profile: Profile) -> Result<()> {
    let mut arguments = Vec::new();
    if let Some(format) = settings::message_format() {
        arguments.extend(["--message-format", format]);
    }
    if profile == Profile::Release {
        arguments.push("--release");
    }
    let settings = settings(context.package()?, profile);
    arguments.extend(settings.iter().map(String::as_str));
    for program in programs {
        arguments.extend(program.features.iter().flat_map(|feature| ["--features", feature]));
        arguments.extend(["--bin", &program.name]);
    }
    let subcommand = match profile {
        Profile::Debugger => {
            arguments.extend(["--", "-C", "opt-level=0"]);
            "rustc"
        }
        Profile::Dev | Profile::Coverage | Profile::Release => "build",
    };
    match call_cargo(context, target, subcommand, &arguments) {
        Ok(_) => Ok(()),
        Err(error) => Err(missing_lines(context, programs).unwrap_or(error)),
    }
}

/// cargo's options for a profile. Where the runtime is a member of the workspace, as in guest/, its lines count, too.
fn settings(package: &Package, profile: Profile) -> Vec<String> {
    if profile != Profile::Coverage {
        return Vec::new();
    }
    let runtime = package.has_runtime_beside.then_some(RUNTIME);
    let unoptimized = |name: &str| ["--config".into(), format!("profile.dev.package.\"{name}\".opt-level=0")];
    [&*package.spec].into_iter().chain(runtime).flat_map(unoptimized).collect()
}

/// Runs a build of the guest's crate. If it fails and the user has set flags for the compiler, the error names them as
/// a possible cause.
fn call_cargo(
    context: &Context,
    target: Target,
    subcommand: &str,
    arguments: &[&str],
) -> Result<Vec<PathBuf>> {
    // cargo applies the user's flags to guests, too. Many are for programs of this machine, such as those that choose
    // another linker, and no guest can be built with them.
    const VARIABLES: [&str; 3] = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"];
    let command = guest_cargo(context, target, subcommand, arguments)?;
    let built = match settings::message_format() {
        Some(_) => cargo::build_telling(command),
        None => cargo::build(command),
    };
    built.map_err(|message| {
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
fn missing_lines(context: &Context, programs: &[&Program]) -> Option<String> {
    programs.iter().find_map(|program| {
        let lines = program.missing_lines();
        let source = context.show(&program.source);
        (!lines.is_empty()).then(|| format!("{source} is no guest program yet: add `{}`", lines.join("`, `")))
    })
}
