//! `cargo xtask test --guest`, and what runs programs for a plain cargo inside guest/.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::options::GuestTests;
use crate::{Result, Workspace, guest, run};

/// Builds the guest's tests, and returns the command that runs them with these arguments of libtest.
pub fn prepare(workspace: &Workspace, asked: &GuestTests) -> Result<Command> {
    // Side by side: two builds that have nothing to do take as long as one.
    let (runner, tests) = thread::scope(|scope| {
        let runner = scope.spawn(|| build_runner(workspace));
        let tests = guest::build_tests(workspace, asked.filter.as_deref());
        (runner.join(), tests)
    });
    let tests = tests?;
    let runner = runner.map_err(|_| "xtask itself failed: report it")??;
    let mut command = Command::new(runner);
    command.args(&asked.machine).args(tests).arg("--").args(&asked.filter).args(&asked.libtest);
    Ok(command)
}

/// Builds the guest's tests, and becomes what runs them.
pub fn run(workspace: &Workspace, asked: &GuestTests) -> Result<()> {
    let mut asked = asked.clone();
    // Whoever names tests wants to see some.
    asked.machine.push("--some".into());
    become_it(prepare(workspace, &asked)?)
}

/// Becomes the machine, or the runner of tests, with a program that cargo has built: see guest/.cargo/bare.toml.
pub fn exec(workspace: &Workspace, built: &Path, arguments: &[OsString]) -> Result<()> {
    let built = &workspace.callers_folder().join(built);
    // Where cargo keeps what it builds for tests.
    let is_test = built.parent().is_some_and(|folder| folder.ends_with("deps"));
    if is_test {
        let elf = guest::test_image(workspace, built)?;
        let mut command = Command::new(build_runner(workspace)?);
        command.arg(elf).arg("--").args(arguments);
        become_it(command)
    } else {
        let name = built.file_name().and_then(|name| name.to_str()).unwrap_or("program");
        guest::write_image(built, &workspace.elf(name), &workspace.image(name))?;
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

fn become_it(mut command: Command) -> Result<()> {
    let error = command.exec();
    Err(format!("cannot run {} ({error}): remove it and build again", command.get_program().display()))
}

fn build_runner(workspace: &Workspace) -> Result<PathBuf> {
    run::build_program(workspace, "flatland-test", "flatland-test")
}
