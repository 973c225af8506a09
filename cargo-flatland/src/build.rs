//! `cargo flatland build`.

use crate::guest::{self, Profile};
use crate::{Context, Result, caller, programs};

/// Builds one guest program, or all of them.
pub fn guests(context: &Context, name: Option<&str>, profile: Profile) -> Result<()> {
    let package = context.package()?;
    let programs: Vec<_> = match name {
        Some(name) => vec![programs::find(package, name)?],
        None => package.programs.iter().collect(),
    };
    for message in guest::build(context, &programs, profile)? {
        caller::say(&message);
    }
    Ok(())
}
