//! What KVM and the sandbox are good for on this machine, as the program `flatland` finds it.

use std::env;
use std::fs;
use std::process::{self, Output, Stdio};

use flatland_contract::status;

use crate::Result;
use crate::host::{Place, cannot_run};

/// Why KVM cannot be used here, if it cannot: flatland's own message when it is to run one `hlt` on KVM.
pub fn why_not(flatland: Place) -> Result<Option<String>> {
    let output = run(&flatland, &[0xf4], &["--engine", "kvm"])?;
    if output.status.success() {
        return Ok(None);
    }
    let message = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(status::HOST.into()) {
        return Err(format!(
            "KVM does not run a `hlt` ({}, {}): report it, with your kernel's version",
            output.status,
            message.trim_end()
        ));
    }
    let why = message.trim_end().trim_start_matches("flatland: ");
    Ok(Some(why.trim_end_matches("; or choose --engine soft").to_owned()))
}

/// Whether KVM only emulates the processor, so that a run that computes leaves it.
pub fn emulates(flatland: &Place) -> Result<bool> {
    // mov ecx, 50000000; loop -2; hlt
    const LOOP: [u8; 8] = [0xb9, 0x80, 0xf0, 0xfa, 0x02, 0xe2, 0xfe, 0xf4];
    let output = run(flatland, &LOOP, &["--stats", "--timeout", "0.5"])?;
    Ok(String::from_utf8_lossy(&output.stderr).contains("only emulates the processor"))
}

/// What `--sandbox` keeps a run in here: `sandbox of ...`.
pub fn sandbox(flatland: &Place) -> Result<String> {
    let output = run(flatland, &[0xf4], &["--engine", "soft", "--sandbox", "--stats"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    let stats = said.lines().last().and_then(|line| line.rsplit_once("; "));
    stats.map(|(_, sandbox)| sandbox.to_owned()).ok_or_else(|| {
        format!("flatland cannot enter its sandbox: {}", said.trim_end().trim_start_matches("flatland: "))
    })
}

fn run(flatland: &Place, image: &[u8], options: &[&str]) -> Result<Output> {
    let path = env::temp_dir().join(format!("flatland-{}.bin", process::id()));
    fs::write(&path, image).map_err(|error| {
        format!("cannot write {} ({error}): name a folder for it in the variable TMPDIR", path.display())
    })?;
    let mut command = flatland.command();
    let output = command.args(options).arg(&path).stdin(Stdio::null()).output();
    let _ = fs::remove_file(&path);
    output.map_err(|error| cannot_run(&command, &error))
}
