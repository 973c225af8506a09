//! The program `flatland` as the shell sees it: exact standard output, standard error and status, with each engine.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/elf.rs"]
mod elf;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// 0: in al, 0xe9; 2: inc al; 4: out 0xe9, al; 6: jmp 0
const SUCCESSOR: &[u8] = &[0xe4, 0xe9, 0xfe, 0xc0, 0xe6, 0xe9, 0xeb, 0xf8];
/// 0: hlt
const HALT: &[u8] = &[0xf4];
/// 0: mov al, 'A'; 2: out 0xe9, al; 4: jmp 4
const SAY_AND_SPIN: &[u8] = &[0xb0, b'A', 0xe6, 0xe9, 0xeb, 0xfe];
/// 0: mov al, 'A'; 2: out 0xe9, al; 4: in al, 0xe9; 6: out 0xe9, al; 8: hlt
const SAY_AND_ASK: &[u8] = &[0xb0, b'A', 0xe6, 0xe9, 0xe4, 0xe9, 0xe6, 0xe9, 0xf4];
/// 0: mov al, 'y'; 2: out 0xe9, al; 4: jmp 2
const SAY_FOR_EVER: &[u8] = &[0xb0, b'y', 0xe6, 0xe9, 0xeb, 0xfc];
/// 0: mov al, 'A'; 2: out 0xe9, al; 4: ud2
const SAY_AND_FAULT: &[u8] = &[0xb0, b'A', 0xe6, 0xe9, 0x0f, 0x0b];
/// 0: mov al, 'A'; 2: out 0xea, al; 4: ud2
const LOG_AND_FAULT: &[u8] = &[0xb0, b'A', 0xe6, 0xea, 0x0f, 0x0b];

const PORTS: &str = "use one of the machine's ports, a byte at a time: 0xe9 console (in, out), 0xea \
                     diagnostics (out), 0xeb input ready (in), 0xec layout (in), 0xed arguments (in), 0xee clock (in), \
                     0xef random (in), 0xf4 exit (out), 0xf5 test (in, out), 0xf6 span (in, out), 0xf7 timer (out)";
const EXCEPTION: &str =
    "correct the instruction there, or handle the exception with an IDT of the guest's own";

/// Writes an image file for this test only.
fn image(test: &str, code: &[u8]) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{number}.bin"));
    fs::write(&path, code).expect("the folder for tests can be written");
    path
}

/// The option, where there is one.
const SANDBOX: Option<&str> = if cfg!(target_os = "linux") { Some("--sandbox") } else { None };

/// The program in its sandbox, where all that it does without must be done, too. Most other tests have none.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flatland"));
    without_colors(&mut command);
    command.args(SANDBOX).stdin(Stdio::null());
    command
}

fn flatland(engine: &str) -> Command {
    let mut command = program();
    command.args(["--engine", engine]);
    command
}

/// Takes away what whoever runs these tests may have said of colours. `CI`, which a service for tests sets, makes any terminal one
/// that has them.
fn without_colors(command: &mut Command) {
    for name in ["CARGO_TERM_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR", "CI"] {
        command.env_remove(name);
    }
}

/// A shell command with `$flatland` and `$image`.
fn shell(engine: &str, script: &str, image: &Path) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", script]).env("image", image);
    // Not quoted in the scripts, so that it is four words.
    let sandbox = SANDBOX.unwrap_or_default();
    command.env("flatland", format!("{} {sandbox} --engine {engine}", env!("CARGO_BIN_EXE_flatland")));
    without_colors(&mut command);
    command.stdin(Stdio::null());
    command
}

/// Compares only the sentences of a report: `reports.rs` tests registers, stack and calls.
#[track_caller]
fn assert_ended(output: Output, status: i32, stdout: &str, stderr: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let actual = (output.status.code(), text(&output.stdout), sentences(&text(&output.stderr)));
    assert_eq!(actual, (Some(status), stdout.to_owned(), stderr.to_owned()));
}

/// Standard error without the indented lines below a sentence.
fn sentences(stderr: &str) -> String {
    stderr.split_inclusive('\n').filter(|line| !line.starts_with(' ')).collect()
}

/// Runs this code with no input and these options.
#[track_caller]
fn assert_run(
    engine: &str,
    test: &str,
    code: &[u8],
    options: &[&str],
    status: i32,
    stdout: &str,
    stderr: &str,
) {
    let output = flatland(engine).args(options).arg(image(test, code)).output().expect("flatland starts");
    assert_ended(output, status, stdout, stderr);
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

/// The file that a test records to.
fn recording_file(test: &str) -> PathBuf {
    image(test, &[]).with_extension("rec")
}

/// Replays with input that nobody reads.
fn replay(recording: &Path, options: &[&str]) -> Output {
    let mut command = program();
    let mut child = spawn(command.arg("replay").arg(recording).args(options));
    let _ = child.stdin.take().expect("it is piped").write_all(b"other input");
    child.wait_with_output().expect("it ends")
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("the child is there");
}

/// Reads exactly this from the child's output. Fails after 60 s instead of hanging.
#[track_caller]
fn assert_says(child: &mut Child, expected: &[u8]) {
    let mut stdout = child.stdout.take().expect("it is piped");
    let mut bytes = vec![0; expected.len()];
    let (said, hears) = mpsc::channel();
    thread::spawn(move || {
        let read = stdout.read_exact(&mut bytes);
        // The receiver is gone after 60 s.
        let _ = said.send((stdout, bytes, read));
    });
    match hears.recv_timeout(Duration::from_secs(60)) {
        Ok((stdout, bytes, read)) => {
            read.expect("the child goes on");
            assert_eq!(bytes, expected);
            child.stdout = Some(stdout);
        }
        Err(_) => {
            child.kill().expect("it is ours");
            panic!("it has not said {:?} for a minute", String::from_utf8_lossy(expected));
        }
    }
}

/// Ctrl-C ends this run of [`SAY_AND_ASK`] while it waits for input.
#[track_caller]
fn assert_ctrl_c_ends(command: &mut Command) {
    let mut child = spawn(command);
    assert_says(&mut child, b"A");
    let stdin = child.stdin.take();
    signal(&child, Signal::SIGINT);
    let message = "flatland: interrupted by Ctrl-C, the guest at 0x00000004: --timeout SECONDS ends a run by \
                   itself\n";
    assert_ended(child.wait_with_output().unwrap(), 130, "", message);
    drop(stdin);
}

/// Makes two tests of each function: one with the engine `soft`, and one with `kvm`.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        mod soft {
            $(#[test] fn $test() { super::$test("soft"); })*
        }
        mod kvm {
            $(#[test] fn $test() {
                if crate::common::engines().contains(&EngineChoice::Kvm) {
                    super::$test("kvm");
                }
            })*
            use flatland::EngineChoice;
        }
        /// The run begins on KVM, and moves if that is better.
        mod auto {
            $(#[test] fn $test() {
                if crate::common::engines().contains(&EngineChoice::Kvm) {
                    super::$test("auto");
                }
            })*
            use flatland::EngineChoice;
        }
    };
}

mod colors;
mod command_line;
mod engine;
mod faults;
mod images;
mod limits;
mod much_output;
mod origins;
mod profiles;
mod protection;
mod recorded_ends;
mod recordings;
mod reports;
mod snapshots;
mod spans;
mod streams;
mod traces;
