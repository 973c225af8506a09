//! `cargo xtask bench`: builds the programs to measure, and calls flatland-bench.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::guest::{self, Profile};
use crate::{Result, Workspace, run};

/// Builds everything as users get it, and replaces this process by flatland-bench.
pub fn bench(workspace: &Workspace, options: &[OsString]) -> Result<()> {
    // Measure the checkout, even if called in a guest's crate elsewhere.
    let workspace = &workspace.alone();
    guest::build(workspace, &["cat"], Profile::Release)?;
    let flatland = run::build_host(workspace)?;
    let runner = run::build_program(workspace, "flatland-test", "flatland-test")?;
    let bench = run::build_program(workspace, "flatland-bench", "flatland-bench")?;
    let mut command = Command::new(&bench);
    command.arg(workspace.root()).arg(flatland).arg(runner).args(options);
    let error = Workspace::forget_guest(&mut command).exec();
    Err(format!("cannot run {} ({error}): remove it and build again", bench.display()))
}
