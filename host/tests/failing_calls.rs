//! Each system call of a run fails once, with each error that it may have: no run hangs, loses output or ends as if nothing
//! had been.
// The portable streams wait by the standard library, which loses a wake whose system call fails.
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(portable)))]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio, id};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use flatland::EngineChoice;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A run whose calls fail in turn.
#[derive(Clone, Copy)]
struct Kind {
    engine: &'static str,
    /// `{}` is the path of a file of this run alone.
    options: &'static [&'static str],
    code: &'static [u8],
    input: &'static [u8],
    /// How often the guest sends `x`.
    output: usize,
}

/// Sends each byte back, plus one, to the end of the input. 0: in al, 0xe9; 2: inc al; 4: out 0xe9, al; 6: jmp 0
const SUCCESSOR: &[u8] = &[0xe4, 0xe9, 0xfe, 0xc0, 0xe6, 0xe9, 0xeb, 0xf8];
/// 0: mov ecx, 100000; 5: mov al, 'x'; 7: out 0xe9, al; 9: loop 7; 11: hlt
const MUCH: &[u8] = &[0xb9, 0xa0, 0x86, 0x01, 0x00, 0xb0, b'x', 0xe6, 0xe9, 0xe2, 0xfc, 0xf4];
const INPUT: &[u8] = b"wwwwwww";

const fn conversation(engine: &'static str, options: &'static [&'static str]) -> Kind {
    Kind { engine, options, code: SUCCESSOR, input: INPUT, output: INPUT.len() }
}

const fn talk(engine: &'static str, options: &'static [&'static str]) -> Kind {
    Kind { engine, options, code: MUCH, input: b"", output: 100_000 }
}

const KINDS: &[Kind] = &[
    conversation("soft", &[]),
    conversation("kvm", &[]),
    conversation("auto", &["--timeout", "60"]),
    talk("soft", &["--sandbox"]),
    conversation("soft", &["--record", "{}"]),
    talk("auto", &["--record", "{}"]),
    conversation("kvm", &["--save-snapshot", "{}"]),
    conversation("soft", &["--trace", "io", "--trace-file", "{}", "--report", "/dev/null"]),
];

/// What a call may fail with. Empty for one that cannot fail when its arguments are right, or that ends something. `brk`
/// returns no error but the old end, which strace cannot say.
fn errors(call: &str) -> &'static [&'static str] {
    match call {
        "read" | "pread64" | "readv" | "preadv2" => &["EINTR", "EAGAIN", "EIO", "ENOMEM"],
        "write" | "pwrite64" | "writev" | "pwritev2" => &["EINTR", "EAGAIN", "EIO", "ENOSPC"],
        "openat" => &["EINTR", "EMFILE", "EACCES", "ENOSPC"],
        "mmap" | "mremap" | "mprotect" | "madvise" => &["ENOMEM", "EAGAIN"],
        "ioctl" => &["EINTR", "EAGAIN", "ENOMEM", "EIO"],
        "clone" | "clone3" => &["EAGAIN", "ENOMEM"],
        "futex" => &["EINTR", "EAGAIN"],
        "poll" | "ppoll" => &["EINTR", "ENOMEM"],
        "close" => &["EINTR", "EIO"],
        "ftruncate" | "rename" | "fsync" | "fdatasync" => &["EINTR", "EIO", "ENOSPC"],
        "statx" | "fstat" | "newfstatat" | "readlink" | "lseek" | "flock" => &["EINTR", "ENOMEM", "EIO"],
        "eventfd2" | "memfd_create" | "timer_create" => &["EMFILE", "ENOMEM"],
        "landlock_create_ruleset" | "landlock_add_rule" | "landlock_restrict_self" | "seccomp" => {
            &["ENOMEM", "EPERM"]
        }
        _ => &[],
    }
}

/// How a run under strace ended.
struct End {
    status: Option<ExitStatus>,
    stdout: Vec<u8>,
    stderr: String,
}

/// The most that one run may take. A machine with much to do is slow.
const LONGEST: Duration = Duration::from_secs(60);

impl Kind {
    fn expected(&self) -> Vec<u8> {
        vec![b'x'; self.output]
    }

    fn name(&self) -> String {
        format!("{} bytes on {} {}", self.output, self.engine, self.options.join(" "))
    }

    fn run(&self, folder: &Path, file: &Path, strace: &[&str]) -> End {
        let (image, input) = (folder.join("image"), folder.join("input"));
        let mut command = Command::new("strace");
        command.args(["-f", "-qq"]).args(strace).arg(env!("CARGO_BIN_EXE_flatland"));
        command.args(self.options.iter().map(|option| option.replace("{}", &file.display().to_string())));
        command.args(["--engine", self.engine]).arg(image).env_remove("RUST_BACKTRACE").process_group(0);
        command
            .stdin(File::open(input).expect("it was written"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("this test needs strace(1): `apt install strace`");
        let (mut stdout, mut stderr) =
            (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let reads = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let group = Pid::from_raw(child.id() as i32);
        let writes = thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).map(|_| bytes)
        });
        let start = Instant::now();
        let status = loop {
            match child.try_wait().expect("it is ours") {
                Some(status) => break Some(status),
                None if start.elapsed() > LONGEST => {
                    killpg(group, Signal::SIGKILL).expect("it is ours");
                    child.wait().expect("it is ours");
                    break None;
                }
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        let stdout = writes.join().expect("no panic").expect("a pipe");
        let stderr = reads.join().expect("no panic").unwrap_or_default();
        End { status, stdout, stderr }
    }

    /// The calls of a run, and how many of each there are before and after it opens the image. What is before is the
    /// loader's and the standard library's.
    fn calls(&self, folder: &Path) -> BTreeMap<String, (usize, usize)> {
        let (trace, file) = (folder.join("trace"), folder.join("file"));
        let end = self.run(folder, &file, &["-o", trace.to_str().expect("it is text")]);
        assert_eq!(
            (end.status.and_then(|it| it.code()), &end.stdout),
            (Some(0), &self.expected()),
            "{}",
            end.stderr
        );
        let trace = fs::read_to_string(trace).expect("strace has written it");
        let mut calls = BTreeMap::new();
        let mut has_begun = false;
        for line in trace.lines() {
            has_begun |= line.contains("openat(") && line.contains("/image\"");
            // A process, and its call: "123 read(0, ...". What goes on, or is a signal or an end, is none.
            let Some((call, _)) =
                line.split_once(' ').and_then(|(_, rest)| rest.trim_start().split_once('('))
            else {
                continue;
            };
            if call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                let (before, after) = calls.entry(call.to_owned()).or_insert((0, 0));
                *(if has_begun { after } else { before }) += 1;
            }
        }
        assert!(has_begun, "the image is opened: {trace}");
        calls
    }

    /// Why this end is wrong, if it is.
    fn complaint(&self, end: &End, file: &Path) -> Option<String> {
        let End { status: Some(status), stdout, stderr } = end else { return Some("it hangs".into()) };
        let expected = self.expected();
        if status.success() {
            if *stdout != expected {
                return Some(format!("success, and {} bytes", stdout.len()));
            }
            return self
                .options
                .contains(&"--record")
                .then(|| replayed(file))
                .filter(|replayed| *replayed != expected)
                .map(|replayed| format!("success, and its replay has {} bytes", replayed.len()));
        }
        if !expected.starts_with(stdout) {
            return Some("other output".into());
        }
        // The standard library's end where there is no memory.
        if status.signal() == Some(Signal::SIGABRT as i32) && stderr.contains("memory allocation of ") {
            return None;
        }
        let sentences = stderr.lines().filter(|line| line.starts_with("flatland: ")).count();
        (status.code() != Some(125) || sentences == 0 || stderr.contains("panicked"))
            .then(|| format!("{status}, {} bytes: {stderr}", stdout.len()))
    }
}

fn replayed(file: &Path) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flatland"));
    command.arg("replay").arg(file).stdin(Stdio::null()).output().expect("it starts").stdout
}

#[test]
fn each_call_fails_in_turn() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("failing-{}", id()));
    let (mut injected, mut complaints) = (0, Vec::new());
    for (number, kind) in KINDS.iter().enumerate() {
        if kind.engine != "soft" && !common::engines().contains(&EngineChoice::Kvm) {
            continue;
        }
        let folder = folder.join(number.to_string());
        fs::create_dir_all(&folder).expect("the folder for tests can be written");
        fs::write(folder.join("image"), kind.code).expect("the folder for tests can be written");
        File::create(folder.join("input")).and_then(|mut it| it.write_all(kind.input)).expect("as above");
        let mut injections = Vec::new();
        for (call, (before, after)) in kind.calls(&folder) {
            // A guest that says much has many writes, and each is like the last.
            for at in before + 1..=before + after.min(MOST_OF_A_CALL) {
                injections.extend(
                    errors(&call)
                        .iter()
                        .map(|error| (format!("{call}:error={error}:when={at}"), call.clone())),
                );
            }
        }
        injected += injections.len();
        let left = Mutex::new(injections.into_iter());
        let found = Mutex::new(&mut complaints);
        thread::scope(|scope| {
            for worker in 0..thread::available_parallelism().map_or(2, usize::from) {
                let (folder, left, found) = (&folder, &left, &found);
                scope.spawn(move || {
                    let file = folder.join(format!("file-{worker}"));
                    while let Some((injection, call)) = { left.lock().expect("no panic").next() } {
                        let _ = fs::remove_file(&file);
                        let (trace, inject) = (format!("trace={call}"), format!("inject={injection}"));
                        let arguments = ["--seccomp-bpf", "-o", "/dev/null", "-e", &trace, "-e", &inject];
                        let end = kind.run(folder, &file, &arguments);
                        if let Some(why) = kind.complaint(&end, &file) {
                            found
                                .lock()
                                .expect("no panic")
                                .push(format!("{}: {injection}: {why}", kind.name()));
                        }
                    }
                });
            }
        });
    }
    println!("{injected} failures injected");
    assert!(complaints.is_empty(), "{} of {injected}:\n{}", complaints.len(), complaints.join("\n"));
    fs::remove_dir_all(folder).expect("it is ours");
}

/// The most failures of one call with one error.
const MOST_OF_A_CALL: usize = 24;
