//! `cargo xtask` inside guest/: the same command as everywhere else in the checkout.
//!
//! A cargo alias can only name a package of the workspace it is called in, and the guest is a workspace of
//! its own. So this program goes up one folder and calls `cargo xtask` there.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    // Of a checkout that was copied with its `target` the program is still the other one's: cargo says where it runs it.
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&here).parent().and_then(Path::parent).expect("this package lies in guest/xtask");
    // `cargo xtask` builds in its own folder, and the settings of guest/.cargo must not reach it.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.arg("xtask").args(env::args_os().skip(1)).current_dir(root);
    // Paths among the arguments are meant from here (xtask/src/run.rs), and so is cargo's folder.
    let folder = env::current_dir().unwrap_or_default();
    if let Some(target) = env::var_os("CARGO_TARGET_DIR") {
        command.env("CARGO_TARGET_DIR", folder.join(target));
    }
    command.env("FLATLAND_XTASK_FOLDER", folder);
    let error = command.exec();
    eprintln!("xtask: cannot run cargo ({error}): install Rust with rustup");
    ExitCode::FAILURE
}
