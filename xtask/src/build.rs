//! `cargo xtask build`.

use crate::guest::{self, Profile};
use crate::{Result, Workspace, programs};

/// Builds one guest program, or all of them.
pub fn guests(workspace: &Workspace, name: Option<&str>, profile: Profile) -> Result<()> {
    let programs = match name {
        Some(name) => vec![programs::find(workspace, name)?],
        None => programs::all(workspace)?,
    };
    let names: Vec<_> = programs.iter().map(|program| program.name.as_str()).collect();
    for message in guest::build(workspace, &names, profile)? {
        eprintln!("xtask: {message}");
    }
    Ok(())
}
