//! What the conversation asks of the kernel, counted by strace(1).

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Result, images};

/// How often each call was made in a conversation, and how often when there was nothing to say.
pub type Counts = BTreeMap<String, [usize; 2]>;

/// How many bytes the conversation has: few, because strace takes its time with each call.
pub const BYTES: usize = 20_000;

/// Counts, or says why not.
pub fn count(flatland: &Path, image: &Path, folder: &Path) -> std::result::Result<Counts, String> {
    let log = folder.join("strace.log");
    let mut counts = Counts::new();
    for (column, bytes) in [BYTES, 0].into_iter().enumerate() {
        trace(flatland, image, &log, bytes)?;
        let text = fs::read_to_string(&log).map_err(|error| error.to_string())?;
        for name in text.lines().filter_map(name) {
            counts.entry(name).or_default()[column] += 1;
        }
    }
    Ok(counts)
}

fn trace(flatland: &Path, image: &Path, log: &Path, bytes: usize) -> std::result::Result<(), String> {
    let run = || -> Result<bool> {
        let mut child = Command::new("strace")
            .args(["-f", "-o"])
            .args([log, flatland, image])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        // What it does not fit the pipe it takes at once: it reads in large pieces.
        child.stdin.take().ok_or("it is piped")?.write_all(&images::input(bytes))?;
        Ok(child.wait()?.success())
    };
    match run() {
        Ok(true) => Ok(()),
        Ok(false) => Err("strace cannot trace here".into()),
        Err(error) => Err(format!("strace is not installed ({error})")),
    }
}

/// The call in a line of strace's: `1234 ioctl(5, KVM_RUN, 0) = 0`.
fn name(line: &str) -> Option<String> {
    let call = line.split_once(' ')?.1.trim_start();
    let (name, arguments) = call.split_once('(')?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') || name.is_empty() {
        return None;
    }
    if name != "ioctl" {
        return Some(name.into());
    }
    let request = arguments.split([',', ')']).nth(1)?.trim();
    let interrupted = if line.contains("EINTR") { ", interrupted" } else { "" };
    Some(format!("ioctl {request}{interrupted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_named() {
        for (line, expected) in [
            ("12  ioctl(5, KVM_RUN, 0)        = 0", Some("ioctl KVM_RUN")),
            ("12  ioctl(5, KVM_RUN, 0) = -1 EINTR (Interrupted)", Some("ioctl KVM_RUN, interrupted")),
            ("12  write(1, \"(\", 1)      = 1", Some("write")),
            ("12  --- SIGALRM {si_signo=SIGALRM} ---", None),
            ("12  +++ exited with 0 +++", None),
        ] {
            assert_eq!(name(line).as_deref(), expected, "{line}");
        }
    }
}
