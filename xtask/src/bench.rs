//! `cargo xtask bench`: builds the programs to measure, and calls flatland-bench.

use std::ffi::OsString;
use std::process::Command;

use cargo_flatland::guest::{self, Profile};
use cargo_flatland::host::become_it;
use cargo_flatland::{Context, Result, programs};

use crate::checkout::{CALLERS_FOLDER, Checkout};

/// Builds everything as users get it, and replaces this process by flatland-bench.
pub fn bench(context: &Context, options: &[OsString]) -> Result<()> {
    let checkout = Checkout::find()?;
    guest::build(context, &[programs::find(context.package()?, "cat")?], Profile::Release)?;
    let flatland = checkout.build("flatland-vmm", "flatland")?;
    let runner = checkout.build("flatland-test", "flatland-test")?;
    let bench = checkout.build("flatland-bench", "flatland-bench")?;
    let mut command = Command::new(&bench);
    command.arg(checkout.root()).arg(flatland).arg(runner).args(options);
    // A nested call of `cargo xtask` determines these anew.
    command.env_remove(CALLERS_FOLDER).env_remove("CARGO_TARGET_DIR");
    become_it(command)
}
