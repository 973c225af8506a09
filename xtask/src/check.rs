//! `cargo xtask test`, `differential`, `pictures`, `lint`, `portability` and `package --check`.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anstream::{AutoStream, ColorChoice};
use cargo_flatland::cargo::{cargo, show_and, show_and_run, without_colors};
use cargo_flatland::guest::{Profile, build_std, guest_cargo};
use cargo_flatland::host::{Host, Program};
use cargo_flatland::options::GuestTests;
use cargo_flatland::settings;
use cargo_flatland::target::Target;
use cargo_flatland::{Context, Result, build, guest_tests, kvm};

use crate::checkout::{Built, Checkout};
use crate::page;

/// Runs all tests of the project, or the quick ones: the host's, which need the guest programs, and the guest's.
/// Prints their number at the end.
pub fn test(context: &Context, quick: bool, arguments: &[OsString]) -> Result<()> {
    // Unit tests, and the tests of the contract, on which everything else is built.
    const QUICK: [&str; 6] = ["--lib", "--bins", "--test", "contract", "--test", "faults"];
    let start = Instant::now();
    let (mut host, mut guest) = (Tally::default(), Tally::default());
    let result = test_all(context, if quick { &QUICK } else { &[] }, arguments, &mut host, &mut guest);
    let seconds = start.elapsed().as_secs();
    let sum = format!("host {host}; guest {guest}; {} min {} s", seconds / 60, seconds % 60);
    match result {
        Ok(()) if host.is_none() && guest.is_none() && host.filtered + guest.filtered > 0 => {
            Err("no test has such a name: `cargo xtask test -- --list` lists them".into())
        }
        Ok(()) => {
            eprintln!("xtask: tests: {sum}");
            Ok(())
        }
        Err(message) => Err(format!("{message} ({sum})")),
    }
}

fn test_all(
    context: &Context,
    targets: &[&str],
    arguments: &[OsString],
    host: &mut Tally,
    guest: &mut Tally,
) -> Result<()> {
    build::guests(context, None, Profile::Dev)?;
    let mut command = Checkout::find()?.cargo(["test", "--workspace"]);
    // For cargo alone: the programs that are tested write what the tests expect.
    if let Some(colors) = settings::colors() {
        command.args(["--color", settings::name_of(colors)]);
    }
    command.env_remove(settings::CARGO_TERM_COLOR);
    command.args(targets).args(arguments);
    let without_kvm = kvm::why_not(Built.find(Program::Flatland)?)?;
    if let Some(why) = &without_kvm {
        eprintln!(
            "xtask: the tests that are about KVM itself are left out, and others use the soft engine: {why}"
        );
        // The tests read this variable: see host/tests/common.
        command.env("FLATLAND_TEST_WITHOUT_KVM", why);
    }
    let dashes = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    // Both programs of tests have a pipe here, and this process maybe a terminal.
    let is_coloured = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    let is_said = |word: &OsString| word.to_str().is_some_and(|word| word.starts_with("--color"));
    if is_coloured && !arguments[dashes..].iter().any(is_said) {
        let begin = (dashes == arguments.len()).then_some("--");
        command.args(begin.into_iter().chain(["--color", "always"]));
    }
    show_and(command, |command| host.count(command))?;
    // Options of cargo choose among the host's tests, so the guest's are left out.
    if arguments[..dashes].iter().any(|argument| argument.as_encoded_bytes().starts_with(b"-")) {
        return Ok(());
    }
    let libtest = arguments.iter().filter(|argument| *argument != "--").cloned().collect();
    let machine = without_kvm.iter().flat_map(|_| ["--engine", "soft"]).map(OsString::from).collect();
    if !settings::is_quiet() {
        eprintln!("$ cargo xtask test --guest");
    }
    let mut command = guest_tests::prepare(context, &GuestTests { filter: None, machine, libtest })?;
    if is_coloured {
        command.env(settings::CARGO_TERM_COLOR, settings::name_of(ColorChoice::Always));
    }
    match guest.count(&mut command) {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => {
            Err("tests in the guest failed, and their messages stand above: `cargo xtask test --guest`"
                .into())
        }
        Err(error) => Err(format!("cannot run the guest's tests ({error}): build again")),
    }
}

/// The number of tests, summed over the result lines that libtest prints for each test program.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    filtered: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, ignored, .. } = self;
        write!(f, "{passed} passed, {failed} failed, {ignored} ignored")
    }
}

impl Tally {
    fn is_none(&self) -> bool {
        self.passed + self.failed + self.ignored == 0
    }

    /// Runs a command, passes on its output, and counts the tests.
    fn count(&mut self, command: &mut Command) -> io::Result<ExitStatus> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut output = child.stdout.take().expect("it is piped");
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let len = output.read(&mut buffer)?;
            if len == 0 {
                break;
            }
            text.extend_from_slice(&buffer[..len]);
            // Finish the tests even if standard output is closed.
            let _ = io::stdout().write_all(&buffer[..len]).and_then(|()| io::stdout().flush());
        }
        self.add(&without_colors(&String::from_utf8_lossy(&text)));
        child.wait()
    }

    fn add(&mut self, output: &str) {
        for line in output.lines().filter(|line| line.starts_with("test result: ")) {
            let number = |name: &str| {
                let before = line.split_once(name)?.0.trim_end();
                before.rsplit(' ').next()?.parse::<u64>().ok()
            };
            self.passed += number("passed").unwrap_or(0);
            self.failed += number("failed").unwrap_or(0);
            self.ignored += number("ignored").unwrap_or(0);
            self.filtered += number("filtered").unwrap_or(0);
        }
    }
}

/// What `cargo xtask differential` compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The soft engine with KVM and this processor.
    Kvm,
    /// The soft engine with Unicorn.
    Unicorn,
    /// `--coverage` with `-Cinstrument-coverage`.
    CompilersCoverage,
}

/// Runs all differential tests and shows their numbers; [`test()`] runs a quick part. Those
/// against Unicorn and against the compiler's coverage are run by no other command.
pub fn differential(with: Against) -> Result<()> {
    let checkout = Checkout::find()?;
    if with == Against::CompilersCoverage {
        let arguments = ["test", "--release", "--package", "xtask", "--test", "coverage_agrees"];
        return show_and_run(checkout.cargo(arguments.into_iter().chain(["--", "--nocapture", "--ignored"])));
    }
    let unicorn = with == Against::Unicorn;
    // Modules of host/tests/differential, the number of cases of each, and whether it has a test against Unicorn.
    const PARTS: [(&str, &str, bool); 9] = [
        ("on_purpose", "1", false),
        ("processor", "20000", false),
        ("floats", "100000", false),
        ("functions", "10000", false),
        ("privileged", "20000", false),
        ("moved", "500", false),
        ("forms", "50000", true),
        ("random_streams", "1000", true),
        ("random_bytes", "100000", true),
    ];
    for (part, cases, _) in PARTS.into_iter().filter(|(.., has_unicorn)| *has_unicorn || !unicorn) {
        let arguments =
            ["test", "--release", "--workspace", "--test", "differential", part, "--", "--nocapture"];
        // The tests against Unicorn are `#[ignore]`d.
        let arguments = arguments.into_iter().chain(unicorn.then_some("--ignored"));
        let mut command = checkout.cargo(arguments);
        command.env("FLATLAND_CASES", cases);
        show_and_run(command)?;
    }
    Ok(())
}

/// Makes the pictures of docs/what-did-it-do.md anew, of what its commands make: that is a part of their test.
pub fn pictures() -> Result<()> {
    let arguments = ["test", "--package", "xtask", "--test", "what_did_it_do"];
    show_and_run(Checkout::find()?.cargo(arguments.into_iter().chain(["--", "--nocapture", "--ignored"])))
}

/// Packs what is published, installs it in an empty home, and uses it there.
pub fn packages() -> Result<()> {
    let arguments = ["test", "--package", "xtask", "--test", "packages", "--", "--nocapture", "--ignored"];
    show_and_run(Checkout::find()?.cargo(arguments))
}

/// The features of the crate `flatland-vmm`, which host/Cargo.toml describes: none, each alone, and all.
const FEATURES: [&str; 10] = [
    "",
    "cli",
    "elf",
    "gdb",
    "kvm",
    "page",
    "report",
    "symbols",
    "trace",
    "cli,elf,gdb,kvm,page,report,symbols,trace",
];

/// Checks that the crate `flatland-vmm` builds without warnings with each combination of [`FEATURES`]. Checks that the
/// host needs neither KVM nor Linux: builds it without its feature `kvm`, and for other systems. The standard library
/// of these is built from source like the guest's. Nothing is linked, so no other tools are needed.
pub fn portability(context: &Context) -> Result<()> {
    // Without the programs that run guests: they take the feature `kvm`.
    const HOST: [&str; 9] = [
        "--workspace",
        "--exclude",
        "xtask",
        "--exclude",
        "flatland-test",
        "--exclude",
        "flatland-bench",
        "--exclude",
        "flatland-fuzz",
    ];
    // With the features that everybody gets, for other systems: all that is published but the fuzzer. cargo-flatland contains
    // the host's programs, and those that run tests.
    const PUBLISHED: [&str; 7] =
        ["--workspace", "--exclude", "xtask", "--exclude", "flatland-bench", "--exclude", "flatland-fuzz"];
    const WITHOUT_KVM: [&str; 5] = ["--no-default-features", "--all-targets", "--", "-D", "warnings"];
    const TARGETS: [&str; 3] =
        ["aarch64-apple-darwin", "x86_64-pc-windows-msvc", "aarch64-unknown-linux-gnu"];
    let checkout = Checkout::find()?;
    let mut command = checkout.cargo(["clippy"]);
    command.args(HOST).args(WITHOUT_KVM);
    show_and_run(command)?;
    for features in FEATURES {
        let mut command = checkout.cargo(["clippy", "--package", "flatland-vmm", "--lib", "--bins"]);
        command.args(["--no-default-features", "--features", features, "--", "-D", "warnings"]);
        show_and_run(command)?;
    }
    for target in TARGETS {
        let mut command = checkout.cargo(["check"]);
        command.args(PUBLISHED).args(["-Zbuild-std=std,panic_abort", "-Zwarnings", "--target", target]);
        // A warning of a package of ours is an error; the compiler's flags would be those of the standard library, too.
        command.env("CARGO_BUILD_WARNINGS", "deny");
        run_for(target, context, command)?;
    }
    // Builds the software processor alone, without the standard library: for a browser, and for another bare
    // processor. The guest program `nested` runs it on Flatland's.
    for target in ["wasm32-unknown-unknown", "aarch64-unknown-none"] {
        let mut command = checkout.cargo(["build", "--package", "flatland-soft"]);
        command.args(["-Zbuild-std=core,alloc", "--target", target]);
        run_for(target, context, command)?;
    }
    // The machine without an operating system.
    page::build_viewer(context).map(drop)
}

/// Runs a command of cargo that builds for another system. What it built is removed: with a standard library each, these
/// folders together would take a gigabyte.
fn run_for(target: &str, context: &Context, mut command: Command) -> Result<()> {
    let folder = Checkout::find()?.target().join("portability");
    command.env("CARGO_TARGET_DIR", &folder);
    build_std(context, &mut command)?;
    show_and_run(command)?;
    let built = folder.join(target);
    fs::remove_dir_all(&built).map_err(|error| {
        format!("cannot remove {}: {error}: remove it yourself, and run this again", built.display())
    })
}

/// Checks formatting, clippy and documentation of the host's workspace and of the guest's package.
pub fn lint(context: &Context) -> Result<()> {
    const NO_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];
    let run = |mut command: Command| {
        command.env("RUSTDOCFLAGS", "-D warnings");
        show_and_run(command)
    };
    let guest = |subcommand: &str, arguments: &[&str]| {
        run(guest_cargo(context, Target::Bare, subcommand, arguments)?)
    };
    let checkout = Checkout::find()?;
    run(checkout.cargo(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--workspace", "--all-targets"].into_iter().chain(NO_WARNINGS);
    run(checkout.cargo(clippy))?;
    run(checkout.cargo(["doc", "--workspace", "--no-deps"]))?;
    run(cargo(&checkout.root().join("guest"), ["fmt", "--all", "--check"]))?;
    run(cargo(&checkout.root().join("fuzz/libfuzzer"), ["fmt", "--check"]))?;
    guest("clippy", &[&["--all-targets", "--all-features"][..], &NO_WARNINGS].concat())?;
    guest("doc", &["--no-deps", "--all-features"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_feature_is_left_out() {
        let manifest = include_str!("../../host/Cargo.toml");
        let (_, features) = manifest.split_once("[features]\n").unwrap();
        let (features, _) = features.split_once("\n[").unwrap();
        let names = features.lines().filter_map(|line| line.split_once(" = ["));
        let names: Vec<_> = names.map(|(name, _)| name).filter(|name| *name != "default").collect();
        let (all, some) = FEATURES.split_last().unwrap();
        assert_eq!(all.split(',').collect::<Vec<_>>(), names);
        assert!(names.iter().all(|name| some.contains(name)), "{some:?}");
    }

    #[test]
    fn tests_are_counted() {
        let mut tally = Tally::default();
        tally.add(
            "running 2 tests\ntest a ... ok\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out\n\
             \ntest result: FAILED. 10 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n",
        );
        assert_eq!(tally, Tally { passed: 12, failed: 4, ignored: 1, filtered: 3 });
    }
}
