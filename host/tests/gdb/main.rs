//! The debugger: sessions of the real gdb with images that have no symbols, on each engine, and clients that violate
//! the protocol. xtask/tests/gdb tests programs with symbols.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod back;
mod processor;
mod protocol;
mod sessions;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A machine that waits for a debugger.
struct Waiting {
    child: Child,
    socket: PathBuf,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Waiting {
    /// Runs this code with these options.
    fn new(code: &[u8], options: &[&str]) -> Self {
        Self::reading(Stdio::null(), code, options)
    }

    fn reading(input: impl Into<Stdio>, code: &[u8], options: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let image = folder.join(format!("gdb-{}-{number}.bin", std::process::id()));
        fs::write(&image, code).expect("the folder for tests can be written");
        // A socket's path must be short, and the folder for tests may be deep.
        let socket = std::env::temp_dir().join(format!("flatland-test-{}-{number}", std::process::id()));
        let child = Command::new(env!("CARGO_BIN_EXE_flatland"))
            .arg(format!("--gdb=unix:{}", socket.display()))
            .args(cfg!(target_os = "linux").then_some("--sandbox"))
            .args(options)
            .arg(&image)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("flatland starts");
        let mut waiting = Self { child, socket };
        let start = Instant::now();
        while !waiting.socket.exists() {
            assert!(start.elapsed() < Duration::from_secs(10), "nobody listens");
            if waiting.child.try_wait().expect("it can be asked").is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        waiting
    }

    /// Waits for the end, and fails if it does not come.
    fn end(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("it can be asked") {
                Some(status) => break status,
                None if start.elapsed() > Duration::from_secs(20) => {
                    let _ = self.child.kill();
                    panic!("it does not end");
                }
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        let mut ended = Ended { status: status.code(), stdout: String::new(), stderr: String::new() };
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        stdout.expect("it is piped").read_to_string(&mut ended.stdout).expect("it is text");
        stderr.expect("it is piped").read_to_string(&mut ended.stderr).expect("it is text");
        assert!(!self.socket.exists(), "the socket is left behind");
        ended
    }

    /// Runs gdb with these commands, and returns its output.
    fn gdb(&self, commands: &str) -> String {
        let script = self.socket.with_extension("gdb");
        let socket = self.socket.display();
        // The message about a program without symbols differs among versions of gdb.
        let connect =
            format!("set architecture i386\ntarget remote {socket}\nshell rm {}\n", script.display());
        fs::write(&script, connect + commands).expect("it can be written");
        let output = Command::new("timeout")
            .args(["30", "gdb", "-nx", "-quiet", "-batch", "-x"])
            .arg(&script)
            .stdin(Stdio::null())
            .output()
            .expect("timeout (coreutils) starts");
        assert_ne!(
            output.status.code(),
            Some(127),
            "these tests need gdb: install it with `apt install gdb`"
        );
        let all = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        all.concat()
    }
}

/// Checks that gdb's output has these lines, in this order.
#[track_caller]
fn assert_lines(output: &str, expected: &[&str]) {
    let mut lines = output.lines();
    for line in expected {
        assert!(lines.any(|other| other == *line), "no line {line:?}, or not in this order:\n{output}");
    }
}
