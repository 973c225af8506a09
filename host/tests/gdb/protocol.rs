//! Debuggers that violate the protocol or disconnect: the next packet is answered, and the next debugger can connect.
//! There is no panic and no hang.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Ended, Waiting};

/// 0: jmp 0
const SPIN: &[u8] = &[0xeb, 0xfe];
/// 0: mov al, 7; 2: out 0xf4, al
const SEVEN: &[u8] = &[0xb0, 7, 0xe6, 0xf4];

const GONE: &str = "flatland: the debugger is gone (";

fn packet(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
}

fn soft(code: &[u8]) -> (Waiting, UnixStream) {
    // Written memory may turn the code into an endless loop, and the debugger may resume it.
    let waiting = Waiting::new(code, &["--engine", "soft", "--timeout", "3"]);
    let stream = UnixStream::connect(&waiting.socket).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("it can be set");
    (waiting, stream)
}

/// Reads until `what` has arrived.
fn read_until(stream: &mut UnixStream, what: &str) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.contains(what) {
        let read = stream.read(&mut byte);
        assert!(matches!(read, Ok(1)), "{read:?} in place of {what:?}, after {text:?}");
        text.push(byte[0].into());
    }
    text
}

/// Connects as another debugger, checks that the guest is stopped, and ends the run.
#[track_caller]
fn assert_another_may_come(waiting: Waiting, gone: usize) {
    let mut stream = UnixStream::connect(&waiting.socket).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("it can be set");
    stream.write_all(&packet(b"?")).expect("it is read");
    read_until(&mut stream, "$T05thread:01;#");
    stream.write_all(&packet(b"vKill;1")).expect("it is read");
    read_until(&mut stream, "$OK#9a");
    let ended = waiting.end();
    assert_eq!(ended.status, Some(137), "{ended:?}");
    assert!(ended.stderr.lines().all(|line| line.starts_with(GONE)), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), gone, "{ended:?}");
}

#[test]
fn who_goes_without_a_word_may_come_back() {
    for sent in [&b""[..], b"$", b"$qSupp", b"$g#67", b"+", b"$g#6"] {
        let (waiting, mut stream) = soft(SPIN);
        stream.write_all(sent).expect("it is read");
        drop(stream);
        assert_another_may_come(waiting, 1);
    }
    // While the guest runs.
    let (waiting, mut stream) = soft(SPIN);
    stream.write_all(&packet(b"c")).expect("it is read");
    read_until(&mut stream, "+");
    thread::sleep(Duration::from_millis(100));
    drop(stream);
    assert_another_may_come(waiting, 1);
}

#[test]
fn where_nobody_can_come_back_the_run_ends() {
    let (waiting, mut stream) = soft(SPIN);
    stream.write_all(&packet(b"?")).expect("it is read");
    read_until(&mut stream, "$T05thread:01;#");
    fs::remove_file(&waiting.socket).expect("it is there");
    drop(stream);
    let ended = waiting.end();
    assert_eq!(ended.status, Some(137), "{ended:?}");
    let message = "flatland: the run has ended, because the debugger is gone (";
    assert!(ended.stderr.starts_with(message) && ended.stderr.lines().count() == 1, "{ended:?}");
}

#[test]
fn a_guest_that_was_let_go_can_be_stopped_again() {
    let (waiting, mut stream) = soft(SPIN);
    stream.write_all(&packet(b"D")).expect("it is read");
    read_until(&mut stream, "$OK#9a");
    drop(stream);
    assert_another_may_come(waiting, 0);
}

#[test]
fn what_is_no_packet_is_refused_and_the_next_one_is_answered() {
    let long = [b"$", &[b'a'; 20_000][..], b"#00"].concat();
    for sent in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0", b"-", b"$g#00", b"$g#xx", &packet(b"\xff\xfe"), &long]
    {
        let (waiting, mut stream) = soft(SPIN);
        stream.write_all(sent).expect("it is read");
        // A complete request, and its answer.
        stream.write_all(&packet(b"?")).expect("it is read");
        read_until(&mut stream, "$T05thread:01;#");
        stream.write_all(&packet(b"vKill;1")).expect("it is read");
        read_until(&mut stream, "$OK#9a");
        let ended = waiting.end();
        assert_eq!(
            ended,
            Ended { status: Some(137), stdout: String::new(), stderr: String::new() },
            "{sent:?}"
        );
    }
}

#[test]
fn registers_can_be_set_after_a_fault_and_the_run_goes_on_from_there() {
    for engine in crate::common::engines() {
        let engine = engine.name();
        // 0: ud2; 2: mov al, 7; 4: out 0xf4, al
        let waiting =
            Waiting::new(&[0x0f, 0x0b, 0xb0, 7, 0xe6, 0xf4], &["--engine", engine, "--timeout", "3"]);
        let mut stream = UnixStream::connect(&waiting.socket).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("it can be set");
        stream.write_all(&packet(b"c")).expect("it is read");
        read_until(&mut stream, "$T04thread:01;#");
        // EIP is register 8.
        stream.write_all(b"+").expect("it is read");
        stream.write_all(&packet(b"P8=02000000")).expect("it is read");
        read_until(&mut stream, "$OK#9a");
        stream.write_all(&packet(b"c")).expect("it is read");
        read_until(&mut stream, "$W07#");
        drop(stream);
        let ended = waiting.end();
        assert_eq!(ended.status, Some(7), "{engine}: {ended:?}");
    }
}

#[test]
fn packets_at_random_are_no_panic_and_no_hang() {
    // xorshift: reproducible random numbers.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let beginnings: [&[u8]; 30] = [
        b"",
        b"?",
        b"g",
        b"G",
        b"p",
        b"P1=",
        b"m",
        b"M0,4:",
        b"X0,2:",
        b"Z0,",
        b"z1,",
        b"Z2,",
        b"vCont",
        b"vCont;r",
        b"c",
        b"s",
        b"H",
        b"T",
        b"D",
        b"q",
        b"Q",
        b"qRcmd,",
        b"qXfer:features:read:target.xml:",
        b"qSupported:",
        b"vKill;",
        b"vRun;",
        b"vAttach;",
        b"vFile:",
        b"R",
        b"!",
    ];
    const CASES: usize = 300;
    for case in 0..CASES {
        let (waiting, mut stream) = soft(SEVEN);
        let mut sent = Vec::new();
        for _ in 0..random() % 8 {
            let mut body = beginnings[random() as usize % beginnings.len()].to_vec();
            for _ in 0..random() % 12 {
                let digits = b"0123456789abcdef,;:=-f";
                let byte = random();
                body.push(if byte & 7 == 0 {
                    (byte >> 8) as u8
                } else {
                    digits[(byte >> 8) as usize % digits.len()]
                });
            }
            body.retain(|byte| !matches!(byte, b'$' | b'#'));
            sent.extend(packet(&body));
        }
        let _ = stream.write_all(&sent);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        drop(stream);
        let sent = String::from_utf8_lossy(&sent);
        println!("case {case}: {sent:?}");
        // If the sent bytes have not ended the run, the guest waits for another debugger.
        if let Ok(mut another) = UnixStream::connect(&waiting.socket) {
            let _ = another.write_all(&packet(b"vKill;1"));
            let _ = another.read(&mut [0]);
        }
        let ended = waiting.end();
        assert!(matches!(ended.status, Some(137 | 124 | 7 | 134)), "case {case}, {sent}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "case {case}, {sent}: {ended:?}");
    }
    println!("{CASES} conversations");
}

#[test]
fn an_answer_is_no_longer_than_a_packet_may_be() {
    let (waiting, mut stream) = soft(SPIN);
    stream.write_all(&packet(b"m0,ffffffff")).expect("it is read");
    let answer = read_until(&mut stream, "#");
    // Zeros are sent in fewer digits ("Run-Length Encoding").
    assert!(answer.len() <= 4096, "{}", answer.len());
    assert!(answer.starts_with("+$ebfe0*"), "{}", &answer[..20]);
    stream.write_all(b"+").expect("it is read");
    drop(stream);
    assert_another_may_come(waiting, 1);
}

#[test]
fn detach_and_kill_without_gdb() {
    let (waiting, mut stream) = soft(SEVEN);
    stream.write_all(&packet(b"D")).expect("it is read");
    read_until(&mut stream, "$OK#9a");
    assert_eq!(waiting.end(), Ended { status: Some(7), stdout: String::new(), stderr: String::new() });
    let (waiting, mut stream) = soft(SEVEN);
    stream.write_all(&packet(b"vKill;1")).expect("it is read");
    read_until(&mut stream, "$OK#9a");
    assert_eq!(waiting.end(), Ended { status: Some(137), stdout: String::new(), stderr: String::new() });
}

#[test]
fn signals_end_the_run_whoever_holds_it() {
    // Before a debugger connects, while the guest is stopped, and while it runs.
    for state in 0..3 {
        let waiting = Waiting::new(SPIN, &["--engine", "soft"]);
        let stream = (state > 0).then(|| {
            let mut stream = UnixStream::connect(&waiting.socket).expect("it listens");
            stream.write_all(&packet(if state == 1 { b"?" } else { b"c" })).expect("it is read");
            read_until(&mut stream, "+");
            stream
        });
        thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        kill(Pid::from_raw(waiting.child.id() as i32), Signal::SIGTERM).expect("it is there");
        let ended = waiting.end();
        assert!(start.elapsed() < Duration::from_secs(2), "{state}");
        assert_eq!(ended.status, Some(143), "{state}: {ended:?}");
        assert!(ended.stderr.starts_with("flatland: ended by SIGTERM, the guest at 0x00000000"), "{ended:?}");
        drop(stream);
    }
}

#[test]
fn one_debugger_at_a_time() {
    let (waiting, mut stream) = soft(SPIN);
    stream.write_all(&packet(b"?")).expect("it is read");
    read_until(&mut stream, "$T05thread:01;#");
    // The second one is rejected until the first one disconnects.
    let mut second = UnixStream::connect(&waiting.socket).expect("it listens");
    second.set_read_timeout(Some(Duration::from_secs(5))).expect("it can be set");
    assert_eq!(second.read(&mut [0]).expect("it is closed"), 0);
    drop(stream);
    assert_another_may_come(waiting, 1);
}

#[test]
fn no_file_is_overwritten() {
    let file = std::env::temp_dir().join(format!("flatland-test-file-{}", std::process::id()));
    fs::write(&file, "precious").expect("it can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_flatland"))
        .arg(format!("--gdb=unix:{}", file.display()))
        .args(["--engine", "soft"])
        .arg(image())
        .output()
        .expect("flatland starts");
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "precious");
    fs::remove_file(&file).expect("it is there");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    let message = format!("flatland: nobody can connect to `{}` (entity already exists): ", file.display());
    assert!(stderr.starts_with(&message), "{stderr}");
}

#[test]
fn a_port_is_told_and_is_this_machines_own() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flatland"))
        .args(["--gdb=0", "--engine", "soft"])
        .args(cfg!(target_os = "linux").then_some("--sandbox"))
        .arg(image())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("flatland starts");
    let mut told = String::new();
    let mut stderr = child.stderr.take().expect("it is piped");
    let mut byte = [0];
    while !told.ends_with('\n') && stderr.read(&mut byte).is_ok_and(|len| len == 1) {
        told.push(byte[0].into());
    }
    let address = told.strip_prefix("flatland: waiting for gdb: `target remote ").expect("it is told");
    let address = address.trim_end().trim_end_matches('`');
    assert!(address.starts_with("127.0.0.1:"), "{told}");
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.write_all(&packet(b"D")).expect("it is read");
    assert_eq!(child.wait().expect("it ends").code(), Some(7));
}

fn image() -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("gdb-seven.bin");
    fs::write(&path, SEVEN).expect("it can be written");
    path
}

#[test]
fn a_debugger_a_trace_and_a_time_limit_look_at_one_run() {
    // 0: mov al, 'x'; 2: out 0xe9, al; 4: jmp 4
    let code = [0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfe];
    for engine in crate::common::engines() {
        let engine = engine.name();
        let waiting = Waiting::new(
            &code,
            &["--engine", engine, "--trace", "io,insn", "--trace-limit", "5", "--timeout", "0.3"],
        );
        let mut stream = UnixStream::connect(&waiting.socket).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("it can be set");
        // A breakpoint at the loop, which is reached after the transfer.
        stream.write_all(&packet(b"Z0,4,1")).expect("it is read");
        read_until(&mut stream, "$OK#9a");
        stream.write_all(b"+").expect("it is read");
        stream.write_all(&packet(b"c")).expect("it is read");
        read_until(&mut stream, "swbreak:;#");
        // The guest is stopped for longer than the limit. This time does not count.
        thread::sleep(Duration::from_millis(500));
        stream.write_all(b"+").expect("it is read");
        stream.write_all(&packet(b"z0,4,1")).expect("it is read");
        read_until(&mut stream, "$OK#9a");
        stream.write_all(b"+").expect("it is read");
        stream.write_all(&packet(b"c")).expect("it is read");
        // SIGXCPU, and then the end.
        read_until(&mut stream, "$T18");
        stream.write_all(b"+").expect("it is read");
        stream.write_all(&packet(b"c")).expect("it is read");
        read_until(&mut stream, "$W7c");
        drop(stream);
        let ended = waiting.end();
        assert_eq!((ended.status, &*ended.stdout), (Some(124), "x"), "{engine}: {ended:?}");
        for line in [
            "trace:   0x00000000  b0 78                 mov al, 0x78                      eax=00000078",
            "trace: out console     \"x\"    78  at 0x00000002",
            "trace: ... behind 5 lines: give it more with --trace-limit LINES",
            "flatland: time limit of 0.3 s reached, the guest at 0x00000004: give it more with --timeout SECONDS",
        ] {
            assert!(ended.stderr.lines().any(|other| other == line), "{engine}: no {line:?} in {ended:?}");
        }
    }
}
