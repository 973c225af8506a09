//! `cargo xtask test`, `differential`, `lint` and `portability`.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};

use flatland_contract::status;
use xshell::Shell;

use crate::cargo::{cargo, show_and_run};
use crate::guest::{Profile, build_std, guest_cargo};
use crate::{Result, Workspace, build, guest_tests, run};

/// Runs the tests of the whole project: the host's, which need the guest programs, and the guest's.
pub fn test(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    build::guests(workspace, None, Profile::Dev)?;
    let shell = Shell::new().map_err(|error| error.to_string())?;
    shell.change_dir(workspace.root());
    let for_cargo = ["test".into(), "--workspace".into()].into_iter().chain(arguments.iter().cloned());
    let mut command = cargo(&shell, for_cargo);
    command.env("CARGO_TARGET_DIR", workspace.target());
    let without_kvm = why_no_kvm(workspace)?;
    if let Some(why) = &without_kvm {
        eprintln!(
            "xtask: the tests that are about KVM itself are left out, and others use the soft engine: {why}"
        );
        // What the tests ask: see host/tests/common.
        command.env("FLATLAND_TEST_WITHOUT_KVM", why);
    }
    show_and_run(command)?;
    // Options of cargo's own choose among the host's tests.
    let dashes = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    if arguments[..dashes].iter().any(|argument| argument.as_encoded_bytes().starts_with(b"-")) {
        return Ok(());
    }
    let libtest: Vec<_> = arguments.iter().filter(|argument| *argument != "--").cloned().collect();
    eprintln!("$ cargo xtask test --guest");
    let engine = without_kvm.is_some().then_some("soft");
    match guest_tests::prepare(workspace, engine, &libtest)?.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => {
            Err("tests in the guest failed, and their messages stand above: `cargo xtask test --guest`"
                .into())
        }
        Err(error) => Err(format!("cannot run the guest's tests ({error}): build again")),
    }
}

/// Runs all of the differential tests, of which [`test()`] runs a quick slice, and shows their numbers: those against
/// KVM and this processor, or those against Unicorn, which nothing else runs.
pub fn differential(workspace: &Workspace, unicorn: bool) -> Result<()> {
    // The module of host/tests/differential, and how many cases it has.
    const PARTS: [(&str, &str); 5] = [
        ("on_purpose", "1"),
        ("processor", "20000"),
        ("forms", "50000"),
        ("random_streams", "1000"),
        ("random_bytes", "100000"),
    ];
    /// The first of them are not about Unicorn.
    const WITHOUT_UNICORN: usize = 2;
    let shell = Shell::new().map_err(|error| error.to_string())?;
    shell.change_dir(workspace.root());
    for (part, cases) in PARTS.into_iter().skip(if unicorn { WITHOUT_UNICORN } else { 0 }) {
        let arguments = [
            "test",
            "--release",
            "--package",
            "flatland",
            "--test",
            "differential",
            part,
            "--",
            "--nocapture",
        ];
        // They are `#[ignore]`d.
        let arguments = arguments.into_iter().chain(unicorn.then_some("--ignored"));
        let mut command = cargo(&shell, arguments);
        command.env("CARGO_TARGET_DIR", workspace.target());
        command.env("FLATLAND_CASES", cases);
        show_and_run(command)?;
    }
    Ok(())
}

/// Why KVM cannot be used here, as the machine itself says when it is to run one `hlt` on it.
fn why_no_kvm(workspace: &Workspace) -> Result<Option<String>> {
    const HLT: [u8; 1] = [0xf4];
    let flatland = run::build_host(workspace)?;
    let image = workspace.images().join("halt.probe");
    let output = fs::write(&image, HLT).and_then(|()| {
        Command::new(&flatland).args(["--engine", "kvm"]).arg(&image).stdin(Stdio::null()).output()
    });
    let _ = fs::remove_file(&image);
    match output {
        Ok(output) if output.status.success() => Ok(None),
        Ok(output) if output.status.code() == Some(status::HOST.into()) => {
            let message = String::from_utf8_lossy(&output.stderr);
            let why = message.trim_end().trim_start_matches("flatland: ");
            Ok(Some(why.trim_end_matches("; or choose --engine soft").to_owned()))
        }
        Ok(output) => Err(format!(
            "KVM does not run a `hlt` ({}, {}): report it, with your kernel's version",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        )),
        Err(error) => Err(format!("cannot run {} ({error}): remove it and build again", flatland.display())),
    }
}

/// Checks that the host needs neither KVM nor Linux: without its feature `kvm`, and for other systems, whose
/// standard library is built from source like the guest's. Nothing is linked, so no other tools are needed.
pub fn portability(workspace: &Workspace) -> Result<()> {
    const WITHOUT_KVM: &[&str] = &[
        "clippy",
        "--package",
        "flatland",
        "--no-default-features",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    const TARGETS: [&str; 3] =
        ["aarch64-apple-darwin", "x86_64-pc-windows-msvc", "aarch64-unknown-linux-gnu"];
    let shell = Shell::new().map_err(|error| error.to_string())?;
    shell.change_dir(workspace.root());
    let mut command = cargo(&shell, WITHOUT_KVM);
    command.env("CARGO_TARGET_DIR", workspace.target());
    show_and_run(command)?;
    for target in TARGETS {
        let arguments = ["check", "--package", "flatland", "-Zbuild-std=std,panic_abort", "--target", target];
        let mut command = cargo(&shell, arguments);
        command.env("CARGO_TARGET_DIR", workspace.target().join("portability"));
        build_std(workspace, &mut command)?;
        show_and_run(command)?;
    }
    Ok(())
}

/// Checks formatting, clippy and documentation, of the host's workspace and of the guest's.
pub fn lint(workspace: &Workspace) -> Result<()> {
    const FORMAT: &[&str] = &["fmt", "--all", "--check"];
    const HOST_CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    const GUEST_CLIPPY: &[&str] = &["clippy", "--all-targets", "--all-features", "--", "-D", "warnings"];
    const DOCS: &[&str] = &["doc", "--workspace", "--no-deps"];
    const GUEST_DOCS: &[&str] = &["doc", "--no-deps", "--lib"];

    let shell = Shell::new().map_err(|error| error.to_string())?;
    for arguments in [FORMAT, HOST_CLIPPY, DOCS] {
        shell.change_dir(workspace.root());
        let mut command = cargo(&shell, arguments);
        command.env("RUSTDOCFLAGS", "-D warnings");
        show_and_run(command)?;
    }
    for arguments in [FORMAT, GUEST_CLIPPY, GUEST_DOCS] {
        let mut command = guest_cargo(workspace, &shell, arguments)?;
        command.env("RUSTDOCFLAGS", "-D warnings");
        show_and_run(command)?;
    }
    Ok(())
}
