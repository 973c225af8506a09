//! `cargo xtask test` and `cargo xtask lint`.

use std::ffi::OsString;

use xshell::Shell;

use crate::cargo::{cargo, show_and_run};
use crate::guest::{Profile, guest_cargo};
use crate::{Result, Workspace, build};

/// Runs the tests of the whole project. They need the guest programs, so those are built first.
pub fn test(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    build::guests(workspace, None, Profile::Dev)?;
    let shell = Shell::new().map_err(|error| error.to_string())?;
    shell.change_dir(workspace.root());
    let arguments = ["test".into(), "--workspace".into()].into_iter().chain(arguments.iter().cloned());
    let mut command = cargo(&shell, arguments);
    command.env("CARGO_TARGET_DIR", workspace.target());
    show_and_run(command)
}

/// Checks formatting, clippy and documentation, of the host's workspace and of the guest's.
pub fn lint(workspace: &Workspace) -> Result<()> {
    const FORMAT: &[&str] = &["fmt", "--all", "--check"];
    const HOST_CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    // The programs have no `test` crate to be built with on a bare machine, so not `--all-targets`.
    const GUEST_CLIPPY: &[&str] = &["clippy", "--lib", "--bins", "--", "-D", "warnings"];
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
