//! How tests run xtask, and where the files are.

// Each test program uses only a part of this.
#![allow(dead_code)]

mod target;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, Once};
use std::thread;

pub use target::target;

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}

/// A file of the tests' own.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// xtask with these words, in the checkout.
pub fn xtask<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(words).current_dir(root());
    command
}

/// Keeps tests apart: they share target/guest, where a release build replaces the images that other tests expect.
pub fn lock() -> MutexGuard<'static, ()> {
    static TARGET: Mutex<()> = Mutex::new(());
    // A lock poisoned by a failed test can be used: the next build repairs what the test left behind.
    let lock = TARGET.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    build();
    lock
}

/// Builds the guest programs and the machine, and returns a file's path in `target`.
pub fn built(name: &str) -> PathBuf {
    build();
    target().join(name)
}

/// Builds the guest programs, the machine and what lists a program's parts. After that, builds print nothing and take
/// little time. `size` builds for release: the images of `build` replace its own.
fn build() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        for words in [&["size", "answer", "--release"][..], &["build"], &["run", "hello"]] {
            succeed(&mut xtask(words.iter().copied()));
        }
    });
}

/// Runs a command with this input. Without KVM, flatland first prints a notice: that is left out.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    let mut output = thread::scope(|scope| {
        // Write in another thread: otherwise full pipes would block both processes. Ignore errors, because a guest may
        // stop before it has read everything.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("the command ends")
    });
    if output.stderr.starts_with(b"flatland: running on the soft engine, because ") {
        let end = output.stderr.iter().position(|byte| *byte == b'\n').expect("the line has an end");
        output.stderr.drain(..=end);
    }
    output
}

/// Runs a command that must succeed, without input.
#[track_caller]
pub fn succeed(command: &mut Command) -> Output {
    let output = run(command, b"");
    assert!(output.status.success(), "{command:?}: {}\n{}", text(&output.stdout), text(&output.stderr));
    output
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn new(status: i32, stdout: &str, stderr: &str) -> Self {
        Self { status: Some(status), stdout: stdout.into(), stderr: stderr.into() }
    }
}

/// Runs a command that may start gdb, with this input.
pub fn run_with_gdb(command: &mut Command, input: &[u8]) -> Ended {
    let output = run(command, input);
    let text = |bytes| String::from_utf8(bytes).expect("it is UTF-8");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(!stderr.contains("there is no `gdb`"), "these tests need gdb: install it with `apt install gdb`");
    Ended { status: output.status.code(), stdout, stderr }
}
