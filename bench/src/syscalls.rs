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
        let log = folder.join("strace.log");
        let mut counts = Self::default();
        for (column, bytes) in BYTES.into_iter().enumerate() {
            trace(flatland, image, &log, bytes)?;
            counts.add(column, &fs::read_to_string(&log).map_err(|error| error.to_string())?);
        }
        Ok(counts)
    }

    fn add(&mut self, column: usize, log: &str) {
        let mut first = None;
        for (thread, call) in log.lines().filter_map(call) {
            let of_thread =
                if *first.get_or_insert(thread) == thread { &mut self.run } else { &mut self.others };
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

/// Thread and call in a line of strace's: `1234 ioctl(5, KVM_RUN, 0) = 0`.
fn call(line: &str) -> Option<(&str, String)> {
    let (thread, call) = line.split_once(' ')?;
    let (name, arguments) = call.trim_start().split_once('(')?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') || name.is_empty() {
        return None;
    }
    if name != "ioctl" {
        return Some((thread, name.into()));
    }
    let request = arguments.split([',', ')']).nth(1)?.trim();
    let interrupted = if line.contains("EINTR") { ", interrupted" } else { "" };
    Some((thread, format!("ioctl {request}{interrupted}")))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A short and a longer conversation.
    pub fn counts() -> Counts {
        let mut counts = Counts::default();
        let before = "12 mmap(NULL, 4096) = 0x7f00\n";
        let byte =
            "12 ioctl(5, KVM_RUN, 0) = 0\n12 write(1, \"(\", 1) = 1\n13 futex(0x7f00, <unfinished ...>\n";
        counts.add(0, &[before, byte].concat());
        counts.add(1, &[before, byte, byte, byte].concat());
        counts
    }

    #[test]
    fn calls_are_named() {
        for (line, expected) in [
            ("12  ioctl(5, KVM_RUN, 0)        = 0", Some("ioctl KVM_RUN")),
            ("12  ioctl(5, KVM_RUN, 0) = -1 EINTR (Interrupted)", Some("ioctl KVM_RUN, interrupted")),
            ("12  write(1, \"(\", 1)      = 1", Some("write")),
            ("12  <... futex resumed>) = 0", None),
            ("12  --- SIGALRM {si_signo=SIGALRM} ---", None),
            ("12  +++ exited with 0 +++", None),
        ] {
            assert_eq!(call(line), expected.map(|name| ("12", name.to_owned())), "{line}");
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
