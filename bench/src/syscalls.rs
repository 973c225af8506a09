//! What the conversation asks of the kernel, counted by strace(1).
//!
//! Two conversations, one longer than the other: what is in the loop is what there is more of in the longer one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Result, images};

/// How many bytes the conversations have. Few, because strace takes its time with each call; and the longer one has a
/// buffer of input more.
pub const BYTES: [usize; 2] = [4 << 10, 68 << 10];

/// What may be in the loop: the guest, input and output.
const IN_THE_LOOP: [&str; 4] = ["ioctl KVM_RUN", "preadv2", "read", "write"];

/// How often each call was made in each of the conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By the thread that runs the guest.
    pub run: BTreeMap<String, [usize; 2]>,
    /// By others.
    pub others: BTreeMap<String, [usize; 2]>,
}

impl Counts {
    /// Counts, or says why not.
    pub fn take(flatland: &Path, image: &Path, folder: &Path) -> std::result::Result<Self, String> {
        let mut counts = Self::default();
        for (column, bytes) in BYTES.into_iter().enumerate() {
            let logs = folder.join("strace");
            let _ = fs::remove_dir_all(&logs);
            fs::create_dir_all(&logs).map_err(|error| error.to_string())?;
            trace(flatland, image, &logs, bytes)?;
            for log in fs::read_dir(&logs).map_err(|error| error.to_string())?.flatten() {
                counts.add(column, &fs::read_to_string(log.path()).map_err(|error| error.to_string())?);
            }
        }
        Ok(counts)
    }

    /// Adds what a thread did.
    fn add(&mut self, column: usize, log: &str) {
        // The first thread is the one that runs the guest; others are not there from the beginning.
        let of_thread = if log.starts_with("execve(") { &mut self.run } else { &mut self.others };
        for call in log.lines().filter_map(call) {
            of_thread.entry(call).or_default()[column] += 1;
        }
    }

    /// What there is more of in the longer conversation, and should not be.
    pub fn too_many(&self) -> Vec<&str> {
        let grows = |(name, [short, long]): (&'_ String, &[usize; 2])| {
            !IN_THE_LOOP.contains(&name.as_str()) && long > short
        };
        self.run.iter().filter(|call| grows(*call)).map(|(name, _)| name.as_str()).collect()
    }

    /// The same in words.
    pub fn judge(&self) -> String {
        let too_many = self.too_many();
        let verdict = if too_many.is_empty() {
            "met".into()
        } else {
            format!("NOT MET, there is {}", too_many.join(", "))
        };
        format!("in the loop nothing but KVM_RUN, reads and writes: {verdict}")
    }
}

/// Leaves a file for each thread.
fn trace(flatland: &Path, image: &Path, logs: &Path, bytes: usize) -> std::result::Result<(), String> {
    let run = || -> Result<bool> {
        let mut child = Command::new("strace")
            .args(["-ff", "-o"])
            .args([&logs.join("thread"), flatland, image])
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

/// The call in a line of strace's: `ioctl(5, KVM_RUN, 0) = 0`.
fn call(line: &str) -> Option<String> {
    let (name, arguments) = line.split_once('(')?;
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
pub mod tests {
    use super::*;

    /// A short and a longer conversation.
    pub fn counts() -> Counts {
        let mut counts = Counts::default();
        let start = "execve(\"flatland\") = 0\n";
        let byte = "ioctl(5, KVM_RUN, 0) = 0\nwrite(1, \"(\", 1) = 1\n";
        let look = "futex(0x7f00, FUTEX_WAIT_BITSET) = -1 ETIMEDOUT\n";
        counts.add(0, &[start, byte].concat());
        counts.add(0, look);
        counts.add(1, &[start, byte, byte, byte].concat());
        counts.add(1, &[look, look, look].concat());
        counts
    }

    #[test]
    fn calls_are_named() {
        for (line, expected) in [
            ("ioctl(5, KVM_RUN, 0)        = 0", Some("ioctl KVM_RUN")),
            ("ioctl(5, KVM_RUN, 0) = -1 EINTR (Interrupted)", Some("ioctl KVM_RUN, interrupted")),
            ("write(1, \"(\", 1)      = 1", Some("write")),
            ("--- SIGALRM {si_signo=SIGALRM} ---", None),
            ("+++ exited with 0 +++", None),
        ] {
            assert_eq!(call(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn what_grows_in_the_loop_is_told() {
        let mut counts = counts();
        assert_eq!(counts.run["ioctl KVM_RUN"], [1, 3]);
        assert_eq!(counts.others["futex"], [1, 3]);
        assert_eq!(counts.judge(), "in the loop nothing but KVM_RUN, reads and writes: met");
        counts.run.insert("timer_settime".into(), [1, 2]);
        assert!(counts.judge().ends_with("NOT MET, there is timer_settime"), "{}", counts.judge());
    }
}
