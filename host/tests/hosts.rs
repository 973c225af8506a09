//! What each host's users expect of the program `flatland`, on any host: pipes, exit statuses, and Ctrl-C.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// 0: in al, 0xe9; 2: inc al; 4: out 0xe9, al; 6: jmp 0
const SUCCESSOR: &[u8] = &[0xe4, 0xe9, 0xfe, 0xc0, 0xe6, 0xe9, 0xeb, 0xf8];
/// 0: mov al, 'A'; 2: out 0xe9, al; 4: jmp 4
const SAY_AND_SPIN: &[u8] = &[0xb0, b'A', 0xe6, 0xe9, 0xeb, 0xfe];
/// 0: mov al, 'A'; 2: out 0xe9, al; 4: in al, 0xe9; 6: hlt
const SAY_AND_ASK: &[u8] = &[0xb0, b'A', 0xe6, 0xe9, 0xe4, 0xe9, 0xf4];
/// 0: mov al, 0xff; 2: out 0xe9, al; 4: jmp 2
const SAY_FOR_EVER: &[u8] = &[0xb0, 0xff, 0xe6, 0xe9, 0xeb, 0xfc];
/// 0: mov al, 7; 2: out 0xf4, al
const EXIT: &[u8] = &[0xb0, 7, 0xe6, 0xf4];

/// Starts `flatland` with this code, this limit in seconds, and pipes. Ctrl-C goes to it alone.
fn start_for(limit: &str, test: &str, code: &[u8]) -> Child {
    let path: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hosts-{test}.bin"));
    fs::write(&path, code).expect("the folder for tests can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_flatland"));
    command.args(["--engine", "soft"]).args(["--timeout", limit]).arg(path);
    #[cfg(windows)]
    {
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        std::os::windows::process::CommandExt::creation_flags(&mut command, CREATE_NEW_PROCESS_GROUP);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("flatland starts")
}

/// The same with a limit that no test reaches.
fn start(test: &str, code: &[u8]) -> Child {
    start_for("60", test, code)
}

#[cfg(unix)]
fn ctrl_c(child: &Child) {
    use nix::sys::signal::{Signal, kill};

    kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("the child is there");
}

/// Ctrl-Break: a new group of processes ignores Ctrl-C.
#[cfg(windows)]
fn ctrl_c(child: &Child) {
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GenerateConsoleCtrlEvent(event: u32, group: u32) -> i32;
    }

    const CTRL_BREAK_EVENT: u32 = 1;
    // SAFETY: it takes two numbers.
    let is_sent = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, child.id()) };
    assert_ne!(is_sent, 0, "{}", std::io::Error::last_os_error());
}

/// Reads one byte of the output, which was written before the guest went on.
fn first_byte(child: &mut Child) -> u8 {
    let mut byte = [0];
    child.stdout.as_mut().expect("it is piped").read_exact(&mut byte).expect("there is output");
    byte[0]
}

#[track_caller]
fn assert_ended(child: Child, status: i32, stdout: &str, stderr: &str) {
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("it is UTF-8");
    let stderr_said = text(output.stderr);
    let sentences: String = stderr_said.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        (output.status.code(), text(output.stdout), sentences),
        (Some(status), stdout.into(), stderr.into())
    );
}

#[test]
fn input_and_output_go_through_pipes_as_they_are() {
    let mut child = start("pipes", SUCCESSOR);
    let mut input = child.stdin.take().expect("it is piped");
    for byte in [b'H', b'\r', 0xfe, 0] {
        // Each answer comes before the next question.
        input.write_all(&[byte]).expect("it is read");
        assert_eq!(first_byte(&mut child), byte + 1);
    }
    drop(input);
    assert_ended(child, 0, "", "");
}

#[test]
fn the_status_is_the_guests() {
    assert_ended(start("exit", EXIT), 7, "", "");
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let mut child = start("reader", SAY_FOR_EVER);
    assert_eq!(first_byte(&mut child), 0xff);
    drop(child.stdout.take());
    assert_ended(child, 141, "", "");
}

const INTERRUPTED: &str =
    "flatland: interrupted by Ctrl-C, the guest at 0x00000004: --timeout SECONDS ends a run by itself";

#[test]
fn ctrl_c_ends_a_busy_guest() {
    let mut child = start("busy", SAY_AND_SPIN);
    assert_eq!(first_byte(&mut child), b'A');
    ctrl_c(&child);
    assert_ended(child, 130, "", INTERRUPTED);
}

#[test]
fn ctrl_c_ends_a_wait_for_input() {
    let mut child = start("waiting", SAY_AND_ASK);
    // `wait_with_output` would close it.
    let input = child.stdin.take();
    assert_eq!(first_byte(&mut child), b'A');
    ctrl_c(&child);
    assert_ended(child, 130, "", INTERRUPTED);
    drop(input);
}

#[test]
fn a_reader_that_does_not_read_holds_nobody() {
    let mut child = start_for("0.3", "blocked", SAY_FOR_EVER);
    let mut output = child.stdout.take().expect("it is piped");
    let mut first = [0];
    output.read_exact(&mut first).expect("there is output");
    // The pipe is full, and the limit passes.
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(124));
    drop(output);
}

#[test]
fn a_second_ctrl_c_ends_the_program_at_once() {
    let mut child = start("twice", SAY_FOR_EVER);
    thread::sleep(Duration::from_millis(500));
    ctrl_c(&child);
    thread::sleep(Duration::from_millis(50));
    ctrl_c(&child);
    let status = child.wait().expect("it ends");
    #[cfg(unix)]
    let by_system = std::os::unix::process::ExitStatusExt::signal(&status) == Some(2);
    // STATUS_CONTROL_C_EXIT
    #[cfg(windows)]
    let by_system = status.code() == Some(0xc000_013a_u32 as i32);
    // Or with its own status, if it has ended before.
    assert!(by_system || status.code() == Some(130), "{status}");
}
