//! `cargo xtask test --guest`, and the runner for a plain cargo inside guest/ (`cargo xtask exec`).

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::guest::Profile;
use crate::options::GuestTests;
use crate::{Result, Workspace, guest, run};

/// Builds the guest's tests, and returns the command that runs them.
pub fn prepare(workspace: &Workspace, asked: &GuestTests) -> Result<Command> {
    // Both builds run at once: if there is nothing to do, they take as long as one.
    let (runner, tests) = thread::scope(|scope| {
        let runner = scope.spawn(|| build_runner(workspace));
        let profile = if asked.covers() { Profile::Coverage } else { Profile::Dev };
        let tests = guest::build_tests(workspace, asked.filter.as_deref(), profile);
        (runner.join(), tests)
    });
    let tests = tests?;
    let runner = runner.map_err(|_| "xtask itself failed: report it")??;
    let mut command = Command::new(runner);
    command.env(run::CARGO, "cargo xtask");
    leave_recordings(workspace, &mut command);
    command.args(&asked.machine).args(tests).arg("--").args(&asked.filter).args(&asked.libtest);
    Ok(command)
}

/// Builds the guest's tests, and replaces this process by their runner.
pub fn run(workspace: &Workspace, asked: &GuestTests) -> Result<()> {
    let mut asked = asked.clone();
    // A filter that matches no test is an error.
    asked.machine.extend(["--some".into(), "cargo xtask test --guest".into()]);
    become_it(prepare(workspace, &asked)?)
}

/// Runs a program that cargo has built, in place of this process: by flatland, or by flatland-test if it is a test
/// program. See guest/.cargo/bare.toml.
pub fn exec(workspace: &Workspace, built: &Path, arguments: &[OsString]) -> Result<()> {
    let built = &workspace.callers_folder().join(built);
    // cargo builds test programs in the folder `deps`.
    let is_test = built.parent().is_some_and(|folder| folder.ends_with("deps"));
    let is_release = built.ancestors().skip(1).take(2).any(|folder| folder.ends_with("release"));
    let profile = if is_release { Profile::Release } else { Profile::Dev };
    if is_test {
        let elf = guest::test_image(workspace, built, profile)?;
        let mut command = Command::new(build_runner(workspace)?);
        leave_recordings(workspace, &mut command);
        command.arg(elf).arg("--").args(arguments);
        become_it(command)
    } else {
        let name = built.file_name().and_then(|name| name.to_str()).unwrap_or("program");
        guest::write_image(built, &workspace.elf(name), &workspace.image(name), profile)?;
        let mut command = Command::new(run::build_host(workspace)?);
        command
            .arg("--symbols")
            .arg(workspace.elf(name))
            .arg(workspace.image(name))
            .arg("--")
            .args(arguments);
        become_it(command)
    }
}

/// Tests that fail leave recordings in `target/guest/failures`. The runner names them as they can be typed where the
/// caller stands.
fn leave_recordings(workspace: &Workspace, command: &mut Command) {
    let (folder, here) = (workspace.images().join("failures"), workspace.callers_folder());
    let shown = folder.strip_prefix(&here).unwrap_or(&folder);
    command.current_dir(&here).arg("--failures").arg(shown);
}

fn become_it(mut command: Command) -> Result<()> {
    let error = command.exec();
    Err(format!("cannot run {} ({error}): remove it and build again", command.get_program().display()))
}

fn build_runner(workspace: &Workspace) -> Result<PathBuf> {
    run::build_program(workspace, "flatland-test", "flatland-test")
}
