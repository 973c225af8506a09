//! `cargo xtask` inside guest/: the same command as everywhere else in the checkout.
//!
//! A cargo alias can only name a package of the workspace it is called in, and the guest is another workspace. So this
//! program calls `cargo xtask` in the folder above.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    // If the checkout was copied with its `target`, the path compiled into the program is the old one. cargo sets the
    // variable to the new one.
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&here).parent().and_then(Path::parent).expect("this package is in guest/xtask");
    // The settings in guest/.cargo are not for the host's workspace, so cargo must be called in the other folder.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.arg("xtask").args(env::args_os().skip(1)).current_dir(root);
    // Paths in the arguments are relative to this folder (xtask/src/run.rs), and so is cargo's target folder.
    let folder = env::current_dir().unwrap_or_default();
    if let Some(target) = env::var_os("CARGO_TARGET_DIR") {
        command.env("CARGO_TARGET_DIR", folder.join(target));
    }
    command.env("FLATLAND_XTASK_FOLDER", folder);
    let error = command.exec();
    eprintln!("xtask: cannot run cargo ({error}): install Rust with rustup");
    ExitCode::FAILURE
}
