//! `cargo flatland gdb` where there are no Unix sockets: says how gdb is started by hand.

use crate::guest::Profile;
use crate::options::{GdbOptions, GdbReplayOptions};
use crate::{Context, Result, caller};

/// Says what to do for a guest program.
pub fn gdb(_: &Context, name: Option<&str>, _: Profile, _: &GdbOptions) -> Result<()> {
    let (cargo, name) = (caller::cargo(), name.unwrap_or("NAME"));
    Err(by_hand(&format!("{cargo} run {name} --gdb")))
}

/// Says what to do for a recording.
pub fn gdb_replay(_: &Context, options: &GdbReplayOptions) -> Result<()> {
    Err(by_hand(&format!("{} replay {} --gdb", caller::cargo(), options.recording.display())))
}

fn by_hand(command: &str) -> String {
    format!("gdb is started for you on Unix only: call `{command}`, which says where gdb can connect")
}
