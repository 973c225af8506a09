//! What `--sandbox` refuses. That it refuses nothing that a run needs is tested by `program`, `gdb` and xtask's tests, whose
//! runs are in it.
#![cfg(target_os = "linux")]

#[path = "../src/cli/sandbox.rs"]
mod sandbox;

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::{env, process, thread};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, fork};
use sandbox::Needs;

/// Where there is this variable, the test is the process that is in the sandbox. It has the path of a file.
const INSIDE: &str = "FLATLAND_TEST_INSIDE";

/// Runs this test again, in a process of its own, with a file that has text.
fn in_a_process(test: &str, backtrace: &str) -> Output {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sandbox-{}-{test}", process::id()));
    fs::write(&file, "text").expect("the folder for tests can be written");
    let mut command = Command::new(env::current_exe().expect("it has a path"));
    command.args([test, "--exact", "--nocapture"]).env(INSIDE, &file).env("RUST_BACKTRACE", backtrace);
    command.output().expect("it starts")
}

/// The file, if this is the process to enter the sandbox.
fn inside() -> Option<PathBuf> {
    env::var_os(INSIDE).map(PathBuf::from)
}

#[track_caller]
fn assert_refused<T>(result: io::Result<T>, expected: Errno) {
    assert_eq!(result.err().and_then(|error| error.raw_os_error()), Some(expected as i32));
}

#[track_caller]
fn assert_passes(test: &str) {
    let output = in_a_process(test, "0");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_plain_run_opens_nothing_and_reaches_nobody() {
    let Some(file) = inside() else { return assert_passes("a_plain_run_opens_nothing_and_reaches_nobody") };
    let mut open = File::options().append(true).open(&file).expect("it is there");
    let tries = &|| {
        assert_refused(File::open(&file), Errno::EPERM);
        assert_refused(File::create(&file), Errno::EPERM);
        assert_refused(fs::remove_file(&file), Errno::EPERM);
        assert_refused(UdpSocket::bind("127.0.0.1:0"), Errno::EPERM);
        assert_refused(TcpStream::connect("127.0.0.1:1"), Errno::EPERM);
        // SAFETY: it is refused; and a child would only fail.
        assert_eq!(unsafe { fork() }.err(), Some(Errno::EPERM));
        assert_eq!(kill(Pid::parent(), None::<Signal>), Err(Errno::EPERM));
    };
    thread::scope(|scope| {
        // In here, so that the thread ends if this one fails.
        let (go, wait) = mpsc::channel();
        scope.spawn(move || {
            if wait.recv().is_ok() {
                tries();
            }
        });
        assert_eq!(sandbox::enter(&Needs::default()).map(|it| it.lack()), Ok(None));
        tries();
        scope.spawn(tries);
        go.send(()).expect("the thread waits");
    });
    open.write_all(b"x").expect("what is open can be written");
}

#[test]
fn a_run_opens_the_files_that_it_names_and_no_others() {
    let Some(file) = inside() else {
        return assert_passes("a_run_opens_the_files_that_it_names_and_no_others");
    };
    let folder = file.with_extension("folder");
    fs::create_dir_all(&folder).expect("the folder for tests can be written");
    let (read, written) = (folder.join("read"), file.with_extension("written"));
    for file in [&read, &written] {
        fs::write(file, "text").expect("the folder for tests can be written");
    }
    let needs = Needs {
        reads: vec![read.clone()],
        writes: vec![written.clone()],
        moves: vec![folder.clone()],
        is_debugged: true,
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a network");
    let address = listener.local_addr().expect("it has an address");
    assert_eq!(sandbox::enter(&needs).map(|it| it.lack()), Ok(None));
    assert_eq!(fs::read_to_string(&read).expect("it is named"), "text");
    fs::write(&written, "other").expect("it is named");
    fs::rename(&read, folder.join("renamed")).expect("the folder is named");
    fs::remove_file(folder.join("renamed")).expect("the folder is named");
    fs::create_dir_all(&folder).expect("it is there");
    assert_refused(fs::create_dir(folder.join("new")), Errno::EACCES);
    assert_refused(File::open(&written), Errno::EACCES);
    assert_refused(File::open(&file), Errno::EACCES);
    assert_refused(File::open("/etc/passwd"), Errno::EACCES);
    assert_refused(fs::remove_file(&file), Errno::EACCES);
    assert_refused(TcpStream::connect(address), Errno::EPERM);
}

/// Panics in the sandbox.
#[inline(never)]
fn panics_on_purpose() {
    panic!("a bug in line {}", line!());
}

#[test]
fn a_panic_of_the_host_has_its_backtrace() {
    if inside().is_some() {
        assert_eq!(sandbox::enter(&Needs::default()).map(|it| it.lack()), Ok(None));
        panics_on_purpose();
    }
    let output = in_a_process("a_panic_of_the_host_has_its_backtrace", "1");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let line =
        stderr.split("a bug in line ").nth(1).and_then(|rest| rest.lines().next()).expect("it is told");
    let function = stderr.lines().skip_while(|line| !line.contains("sandbox::panics_on_purpose")).nth(1);
    assert_eq!(function.map(str::trim_start), Some(&*format!("at ./tests/sandbox.rs:{line}:5")), "{stderr}");
}

/// Whether each thread of a process has a filter, and how many there are (proc_pid_status(5)).
fn filtered(child: &Child) -> (bool, usize) {
    let threads = fs::read_dir(format!("/proc/{}/task", child.id())).expect("it runs");
    let filtered = threads.map(|thread| {
        let status = fs::read_to_string(thread.expect("it runs").path().join("status"));
        status.is_ok_and(|status| status.contains("\nSeccomp:\t2\n") && status.contains("\nNoNewPrivs:\t1\n"))
    });
    let filtered: Vec<bool> = filtered.collect();
    (filtered.iter().all(|it| *it), filtered.len())
}

#[test]
fn each_thread_of_a_run_is_in_it() {
    // 0: mov al, 'A'; 2: out 0xe9, al; 4: in al, 0xe9; 6: hlt
    let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sandbox-{}.bin", process::id()));
    fs::write(&image, [0xb0, b'A', 0xe6, 0xe9, 0xe4, 0xe9, 0xf4]).expect("the folder can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_flatland"));
    let recording = image.with_extension("rec");
    command.args(["--sandbox", "--timeout", "60", "--record"]).arg(recording).arg(image);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut stdout = child.stdout.take().expect("it is piped");
    io::Read::read_exact(&mut stdout, &mut [0]).expect("it says A");
    let (all, threads) = filtered(&child);
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
    assert!(all && threads > 1, "{threads} threads");
}

#[test]
fn what_is_lacking_is_one_sentence() {
    let all = sandbox::Sandbox { landlock: Some(6), has_seccomp: true };
    let advice = ": use a kernel of Linux 5.13 or later that has it, or leave out --sandbox";
    for (sandbox, shown, lack) in [
        (all, "sandbox of Landlock (ABI 6) and seccomp", None),
        (
            sandbox::Sandbox { landlock: None, ..all },
            "sandbox of seccomp without Landlock",
            Some("the sandbox keeps this process from no file, because the kernel lacks Landlock"),
        ),
        (
            sandbox::Sandbox { has_seccomp: false, ..all },
            "sandbox of Landlock (ABI 6) without seccomp",
            Some("the sandbox refuses no system call, because the kernel lacks seccomp"),
        ),
        (
            sandbox::Sandbox::default(),
            "no sandbox",
            Some("the sandbox does nothing, because the kernel lacks Landlock and seccomp"),
        ),
    ] {
        assert_eq!(
            (&*sandbox.to_string(), sandbox.lack()),
            (shown, lack.map(|lack| format!("{lack}{advice}")))
        );
    }
}

/// The version of Landlock's interface that the kernel tells itself (landlock_create_ruleset(2)), up to the one that is used.
fn landlock_abi() -> i64 {
    const CREATE_RULESET_VERSION: u32 = 1;
    let none = std::ptr::null::<u8>();
    // SAFETY: with this flag it reads nothing, and returns a number.
    unsafe {
        nix::libc::syscall(nix::libc::SYS_landlock_create_ruleset, none, 0_usize, CREATE_RULESET_VERSION)
    }
    .min(6)
}

#[test]
fn stats_say_what_a_run_is_kept_in() {
    let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sandbox-stats-{}.bin", process::id()));
    fs::write(&image, [0xf4]).expect("the folder can be written");
    let stats = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flatland"));
        let output = command.args(["--engine", "soft", "--stats"]).args(options).arg(&image).output();
        String::from_utf8(output.expect("it starts").stderr).expect("it is UTF-8")
    };
    assert!(stats(&[]).ends_with(" ms; no sandbox\n"));
    let inside = stats(&["--sandbox"]);
    let abi = landlock_abi();
    let expected = match abi {
        1.. => format!(" ms; sandbox of Landlock (ABI {abi}) and seccomp\n"),
        _ => " ms; sandbox of seccomp without Landlock\n".into(),
    };
    assert!(inside.ends_with(&expected), "{inside}");
}
