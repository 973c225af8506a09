//! `cargo xtask fuzz --parsers` and `--compare`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_flatland::guest::{self, Profile};
use cargo_flatland::host::become_it;
use cargo_flatland::{Context, Result, cargo, programs};

use crate::checkout::Checkout;

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
pub fn parsers(context: &Context, arguments: &[OsString]) -> Result<()> {
    const NAME: &str = "flatland-fuzz-parsers";
    let checkout = Checkout::find()?;
    // An ELF file to begin with.
    build_guest(context, "hello", Profile::Release)?;
    let build = checkout.cargo(["build", "--package", "flatland-fuzz", "--bin", NAME]);
    let program = instrumented(build, &checkout.target().join("parsers"), &COVERAGE)?;
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(context.callers_folder());
    command
        .arg("--folder")
        .arg(checkout.target().join("fuzz/parsers"))
        .arg("--elf")
        .arg(checkout.elf("hello"));
    become_it(command)
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
pub fn compare(context: &Context, options: &[OsString]) -> Result<()> {
    let checkout = Checkout::find()?;
    build_guest(context, "planted", Profile::Dev)?;
    let libfuzzer = |sanitizer: Option<&str>| {
        let mut build = cargo::cargo(&checkout.root().join("fuzz/libfuzzer"), ["build"]);
        // A sanitizer is a flag that a stable compiler allows for this build alone.
        build.envs(sanitizer.map(|_| ("RUSTC_BOOTSTRAP", "1")));
        let flags: Vec<_> = LIBFUZZER.into_iter().chain(sanitizer).collect();
        let folder = if sanitizer.is_some() { "libfuzzer-asan" } else { "libfuzzer" };
        instrumented(build, &checkout.target().join(folder), &flags)
    };
    let (plain, with_asan) = (libfuzzer(None)?, libfuzzer(Some("-Zsanitizer=address"))?);
    let fuzz = checkout.build("flatland-fuzz", "flatland-fuzz")?;
    let program = checkout.build("flatland-fuzz", "flatland-fuzz-compare")?;
    let mut command = Command::new(&program);
    command.arg("--planted").arg(checkout.elf("planted"));
    command.arg("--folder").arg(checkout.target().join("fuzz/compare"));
    command
        .arg("--flatland-fuzz")
        .arg(fuzz)
        .arg("--libfuzzer")
        .arg(plain)
        .arg("--libfuzzer-asan")
        .arg(with_asan);
    command.args(options);
    become_it(command)
}

fn build_guest(context: &Context, name: &str, profile: Profile) -> Result<()> {
    guest::build(context, &[programs::find(context.package()?, name)?], profile).map(drop)
}
