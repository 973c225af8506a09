//! `cargo xtask fuzz`: builds a guest and flatland-fuzz, and starts it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{self, host_cargo};
use crate::guest::{self, Profile};
use crate::{Result, Workspace, programs, run};

/// Whether this names a file and not a guest program.
pub fn is_file(name: &str) -> bool {
    name.contains(['/', '.'])
}

/// The compiler's flags for flatland-fuzz-parsers and all that it is made of: a counter for each edge of the control flow
/// ("SanitizerCoverage" in Clang's manual), and the checks that a debug build has.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];

/// Builds the host's parsers with coverage, in a folder of their own, and replaces this process by what fuzzes them.
pub fn parsers(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    const NAME: &str = "flatland-fuzz-parsers";
    if workspace.is_elsewhere() {
        return Err("the parsers are Flatland's own: call this in its checkout".into());
    }
    // An ELF file to begin with.
    guest::build(workspace, &["hello"], Profile::Release)?;
    let build = host_cargo(workspace, ["build", "--package", "flatland-fuzz", "--bin", NAME]);
    let program = instrumented(build, &workspace.target().join("parsers"), &COVERAGE)?;
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(workspace.callers_folder());
    command
        .arg("--folder")
        .arg(workspace.target().join("fuzz/parsers"))
        .arg("--elf")
        .arg(workspace.elf("hello"));
    let error = command.exec();
    Err(format!("cannot run {} ({error}): remove it and build again", program.display()))
}

/// Builds a program with these flags for all that it is made of, in a folder of its own.
fn instrumented(mut build: Command, target: &Path, flags: &[&str]) -> Result<PathBuf> {
    // Without a target the flags would be those of build scripts, too, which have nobody to count for.
    build.args(["--release", "--target", "host-tuple", "--message-format", "json-render-diagnostics"]);
    build.env("CARGO_TARGET_DIR", target).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let program = cargo::build(build)?.pop();
    program.ok_or_else(|| "cargo does not say where it has built the program: report it".into())
}

/// The flags of `cargo fuzz` for what libFuzzer runs.
const LIBFUZZER: [&str; 9] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
    "--cfg=fuzzing",
];

/// Builds the planted bugs for both fuzzers, and replaces this process by what compares these.
pub fn compare(workspace: &Workspace, options: &[OsString]) -> Result<()> {
    if workspace.is_elsewhere() {
        return Err("the planted bugs are Flatland's own: call this in its checkout".into());
    }
    guest::build(workspace, &["planted"], Profile::Dev)?;
    let libfuzzer = |sanitizer: Option<&str>| {
        let mut build = cargo::cargo(&workspace.root().join("fuzz/libfuzzer"), ["build"]);
        // A sanitizer is a flag that a stable compiler allows for this build alone.
        build.envs(sanitizer.map(|_| ("RUSTC_BOOTSTRAP", "1")));
        let flags: Vec<_> = LIBFUZZER.into_iter().chain(sanitizer).collect();
        let folder = if sanitizer.is_some() { "libfuzzer-asan" } else { "libfuzzer" };
        instrumented(build, &workspace.target().join(folder), &flags)
    };
    let (plain, with_asan) = (libfuzzer(None)?, libfuzzer(Some("-Zsanitizer=address"))?);
    let fuzz = run::build_program(workspace, "flatland-fuzz", "flatland-fuzz")?;
    let program = run::build_program(workspace, "flatland-fuzz", "flatland-fuzz-compare")?;
    let mut command = Command::new(&program);
    command.arg("--planted").arg(workspace.elf("planted"));
    command.arg("--folder").arg(workspace.target().join("fuzz/compare"));
    command
        .arg("--flatland-fuzz")
        .arg(fuzz)
        .arg("--libfuzzer")
        .arg(plain)
        .arg("--libfuzzer-asan")
        .arg(with_asan);
    let error = command.args(options).exec();
    Err(format!("cannot run {} ({error}): remove it and build again", program.display()))
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
