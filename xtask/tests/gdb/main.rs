//! `cargo xtask gdb`: sessions of the real gdb with the guest programs, on each engine.

mod back;
mod editors;
mod lldb;
#[path = "../common/target.rs"]
mod target;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once};
use std::thread;
use std::time::{Duration, Instant};

use target::target;

/// Serializes the tests: the sessions share target/guest.
static TARGET: Mutex<()> = Mutex::new(());

fn lock() -> MutexGuard<'static, ()> {
    static BUILT: Once = Once::new();
    let lock = TARGET.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Build first: this may take longer than the time limit of a session.
    BUILT.call_once(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let Session { status, stderr, .. } = run(command.args(["run", "hello"]));
        assert_eq!(status, Some(0), "{stderr}");
    });
    lock
}

fn engines() -> &'static [&'static str] {
    if std::env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() { &["soft"] } else { &["soft", "kvm"] }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}

fn file(name: &str, contents: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, contents).expect("the folder for tests can be written");
    path
}

/// The result of a session.
struct Session {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs gdb's commands in a session with a program, its input and these options.
fn session(program: &str, input: &[u8], options: &str, commands: &str) -> Session {
    let script = file("script.gdb", commands.as_bytes());
    let input = file("input", input);
    let mut command = Command::new("timeout");
    command.arg("60").args([env!("CARGO_BIN_EXE_xtask"), "gdb", program, "--batch", "-x"]).arg(script);
    command.arg("--input").arg(input).args(options.split_whitespace());
    run(command.env_remove("GDB"))
}

fn run(command: &mut Command) -> Session {
    let output =
        command.current_dir(root()).stdin(Stdio::null()).output().expect("timeout (coreutils) starts");
    let text = |bytes| String::from_utf8(bytes).expect("it is UTF-8");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(!stderr.contains("there is no `gdb`"), "these tests need gdb: install it with `apt install gdb`");
    Session { status: output.status.code(), stdout, stderr }
}

/// A pipe without data, as long as the file is there.
fn fifo() -> (PathBuf, fs::File) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fifo");
    // Remove the pipe of an earlier run.
    let _ = fs::remove_file(&path);
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo (coreutils) starts").success());
    let open = fs::File::options().read(true).write(true).open(&path).expect("it was just made");
    (path, open)
}

/// Removes what depends on the checkout and the compiler: addresses, and folders of the standard library.
fn normalized(output: &str) -> String {
    let mut text = String::new();
    let mut rest = output;
    while let Some((before, behind)) = rest.split_once("0x") {
        text += before;
        text += "0x?";
        rest = behind.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
    }
    text += rest;
    let line = |line: &str| match (line.find(" at /"), line.find(" file /"), line.rfind("/library/")) {
        (Some(at), _, Some(library)) => format!("{} at LIBRARY{}", &line[..at], &line[library + 8..]),
        (_, Some(at), Some(library)) => format!("{} file LIBRARY{}", &line[..at], &line[library + 8..]),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The file of the guest's output has these contents, also if the guest has run on after gdb ended.
#[track_caller]
fn assert_output(program: &str, expected: &str) {
    let output = fs::read_to_string(target().join(format!("guest/{program}.output")));
    assert_eq!(output.expect("there is a file"), expected);
}

/// The number of the first line of a program that contains this text.
fn line(program: &str, text: &str) -> usize {
    line_of(&format!("src/bin/{program}.rs"), text)
}

/// The number of the first line of a file in guest/ that contains this text.
fn line_of(file: &str, text: &str) -> usize {
    let source = fs::read_to_string(root().join("guest").join(file)).expect("it is there");
    1 + source.lines().position(|line| line.contains(text)).expect("the line is there")
}

/// The page that is tested.
fn page() -> String {
    fs::read_to_string(root().join("docs/debugging.md")).expect("it is there")
}

const PRIMES_BELOW_32: &[u8] = &[b'p', 5];

#[test]
fn a_session() {
    let _lock = lock();
    let at = |text: &str| line("bench", text);
    let (last, main, primes) = (at("println!"), at("let what"), at("let mut count = 0"));
    let commands = format!(
        "next\nprint what\nstep\nbacktrace\nfinish\nbreak bench::count_primes\nbreak bench.rs:{last}\nbreak bench::hash\n\
         break bench::median\nbreak bench::quicksort\nbreak *4\ncontinue\nbacktrace\n\
         print round\nprint composite.length\nset var $old = $edx\nset var $edx = 7\nprint $edx\n\
         set var $edx = $old\nset var bench::SIEVE[31] = 1\ndelete 2\n\
         continue\ndetach\n"
    );
    let expected = format!(
        "0x? in _start ()
Temporary breakpoint 1 at 0x?: file src/bin/bench.rs, line {main}.

Temporary breakpoint 1, bench::main () at src/bin/bench.rs:{main}
{main}\t    let what = console::read_byte();
{next}\t    let size = console::read_byte();
$1 = 112
flatland_guest::port::read_byte (port=flatland_contract::port::Port::Console) at runtime/src/port.rs:{byte}
{byte}\t    let mut byte = 0;
#0  flatland_guest::port::read_byte (port=flatland_contract::port::Port::Console) at runtime/src/port.rs:{byte}
#1  flatland_guest::console::read_byte () at runtime/src/console.rs:{read}
#2  0x? in bench::main () at src/bin/bench.rs:{next}
#3  0x? in core::ops::function::FnOnce::call_once<fn(), ()> () at LIBRARY/core/src/ops/function.rs:250
#4  0x? in flatland_guest::start::run<(), fn()> (main=0x?) at runtime/src/start.rs:{run}
#5  0x? in bench::__flatland_main () at runtime/src/start.rs:{entry}
flatland_guest::console::read_byte () at runtime/src/console.rs:{read_end}
{read_end}\t}}
Breakpoint 2 at 0x?: file src/bin/bench.rs, line {primes}.
Breakpoint 3 at 0x?: file src/bin/bench.rs, line {last}.
Breakpoint 4 at 0x?: file src/bin/bench.rs, line {hash}.
Breakpoint 5 at 0x?: file src/bin/bench.rs, line {median}.
Breakpoint 6 at 0x?: file src/bin/bench.rs, line {quicksort}.
Breakpoint 7 at 0x?

Breakpoint 2, bench::count_primes (composite=..., round=1) at src/bin/bench.rs:{primes}
{primes}\t    let mut count = 0;
#0  bench::count_primes (composite=..., round=1) at src/bin/bench.rs:{primes}
#1  0x? in bench::compute (what=112, count=32) at src/bin/bench.rs:{computes}
#2  0x? in bench::main () at src/bin/bench.rs:{calls}
#3  0x? in core::ops::function::FnOnce::call_once<fn(), ()> () at LIBRARY/core/src/ops/function.rs:250
#4  0x? in flatland_guest::start::run<(), fn()> (main=0x?) at runtime/src/start.rs:{run}
#5  0x? in bench::__flatland_main () at runtime/src/start.rs:{entry}
$2 = 1
$3 = 32
$4 = 7

Breakpoint 3, bench::compute (what=112, count=32) at src/bin/bench.rs:{last}
{last}\t    println!(\"{{result}}\");
[Inferior 1 (process 1) detached]",
        next = main + 1,
        quicksort = at("if numbers.len() < 2"),
        hash = at("let mut hash"),
        median = at("let mut state"),
        computes = at("=> count_primes("),
        calls = at("=> compute("),
        byte = line_of("runtime/src/port.rs", "let mut byte = 0;"),
        read = line_of("runtime/src/console.rs", "port::read_byte("),
        read_end = line_of("runtime/src/console.rs", "port::read_byte(") + 1,
        run = line_of("runtime/src/start.rs", "main().report()"),
        entry = line_of("runtime/src/start.rs", "__private::run("),
    );
    for engine in engines() {
        let Session { stdout, stderr, status } =
            session("bench", PRIMES_BELOW_32, &format!("--engine {engine}"), &commands);
        assert_eq!(normalized(&stdout), expected, "{engine}: {stderr}");
        assert_eq!(status, Some(0), "{stderr}");
        assert!(
            stderr.contains("xtask: the guest's output goes to target/guest/bench.output: --output"),
            "{stderr}"
        );
        // gdb has marked 31 as composite, so it is not counted.
        assert_output("bench", "10\n");
    }
}

#[test]
fn watchpoints_on_soft_and_what_kvm_says() {
    let _lock = lock();
    let commands = "watch bench::SIEVE[16]\ncontinue\nprint multiple\nkill\n";
    let soft = session("bench", PRIMES_BELOW_32, "--engine soft", commands);
    for line in ["Hardware watchpoint 2: bench::SIEVE[16]", "Old value = 0", "New value = 1"] {
        assert!(soft.stdout.lines().any(|other| other == line), "{line}: {}{}", soft.stdout, soft.stderr);
    }
    assert!(soft.stdout.contains("bench::count_primes ("), "{}", soft.stdout);
    if engines().contains(&"kvm") {
        let kvm = session("bench", PRIMES_BELOW_32, "--engine kvm", commands);
        let refusal = "flatland: KVM cannot watch memory: run it with the soft engine (--engine soft); or";
        assert!(kvm.stderr.contains(refusal), "{}", kvm.stderr);
        assert!(kvm.stderr.contains("Could not insert hardware watchpoint 2."), "{}", kvm.stderr);
    }
}

#[test]
fn a_panic_can_be_looked_at() {
    let _lock = lock();
    for engine in engines() {
        let commands = "continue\nbacktrace\ncontinue\n";
        let Session { stdout, stderr, .. } = session("panic", &[7], &format!("--engine {engine}"), commands);
        let place = format!(" in panic::main () at src/bin/panic.rs:{}", line("panic", "answers[usize"));
        for part in [
            "\nProgram received signal SIGABRT, Aborted.\n",
            "flatland_guest::panic::on_panic (",
            &place,
            "[Inferior 1 (process 1) exited with code 0145]",
        ] {
            assert!(stdout.contains(part), "{engine}, {part}: {stdout}{stderr}");
        }
        assert!(stderr.contains("index out of bounds: the len is 3 but the index is 7\n"), "{stderr}");
        assert_output("panic", "so far, so good\n");
    }
}

#[test]
fn it_begins_at_main_however_it_was_built() {
    let _lock = lock();
    for (program, text) in
        [("hello", "println!"), ("shout", "console::write_byte"), ("answer", "match console")]
    {
        for profile in ["", "--release"] {
            let Session { stdout, stderr, .. } = session(program, b"", profile, "");
            let stopped = format!(
                "\nTemporary breakpoint 1, {program}::main () at src/bin/{program}.rs:{}\n",
                line(program, text)
            );
            assert!(stdout.contains(&stopped), "{profile}: {stdout}{stderr}");
        }
        let mut build = Command::new(env!("CARGO_BIN_EXE_xtask"));
        assert_eq!(run(build.args(["build", program])).status, Some(0));
    }
}

#[test]
fn break_main_stops_where_main_begins() {
    let _lock = lock();
    for profile in ["--release", ""] {
        for program in ["hello", "answer"] {
            let Session { stdout, stderr, .. } = session(program, b"", profile, "break main\nprint/x $eip\n");
            // The session begins at `main`, so that is where the breakpoint must be.
            let behind = |text: &str| {
                let rest = stdout.split_once(text).unwrap_or_else(|| panic!("{text}: {stdout}{stderr}")).1;
                rest.split(|c: char| !c.is_ascii_hexdigit()).next().map(str::to_owned)
            };
            assert_eq!(behind("\nBreakpoint 2 at 0x"), behind("\n$1 = 0x"), "{program} {profile}: {stdout}");
        }
    }
}

#[test]
fn functions_that_were_dropped_are_nowhere() {
    let _lock = lock();
    // `read_byte` is inlined at each call. The linker has discarded the copy that is never called.
    let commands = "break flatland_guest::port::read_byte\nbreak answer::main\ninfo breakpoints\ncontinue\n\
                    print $eip < 0x1000\n";
    let Session { stdout, stderr, .. } = session("answer", b"HAL*", "--engine soft", commands);
    assert!(!stdout.contains("locations)") && !stdout.contains("0xf0000"), "{stdout}{stderr}");
    assert!(stdout.contains("\nBreakpoint 2, flatland_guest::port::read_byte ("), "{stdout}{stderr}");
    assert!(stdout.contains("\n$1 = true\n"), "{stdout}{stderr}");
}

#[test]
fn ctrl_c_at_a_terminal_is_for_the_guest() {
    let _lock = lock();
    // gdb reads its commands from a terminal, and one of them is Ctrl-C. The guest's input is a pipe without data.
    let (fifo, open) = fifo();
    let keys = "(sleep 3; echo continue; sleep 1; printf '\\003'; sleep 1; echo 'print 6 * 7'; sleep 1; echo kill; echo y; \
                sleep 1; echo quit; sleep 1)";
    let session =
        format!("{} gdb answer --engine soft --input {}", env!("CARGO_BIN_EXE_xtask"), fifo.display());
    let script = format!("{keys} | timeout 40 script -qec '{session}' /dev/null");
    let mut command = Command::new("bash");
    let Session { stdout, stderr, .. } = run(command.args(["-c", &script]));
    for part in ["Program received signal SIGINT", "$1 = 42", "[Inferior 1 (process 1) killed]"] {
        assert!(stdout.contains(part), "{part}: {stdout}{stderr}");
    }
    drop(open);
}

/// It ends when all has been written. A guest that gdb has left alone may take long.
#[test]
fn a_guest_that_goes_on_without_gdb_is_waited_for() {
    let _lock = lock();
    let fifo = fifo();
    let said = file("said", b"");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(["gdb", "answer", "--batch", "-ex", "detach", "--backtrace", "never", "--input"])
        .arg(&fifo.0);
    command.current_dir(root()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut session = command.stderr(fs::File::create(&said).unwrap()).spawn().expect("it starts");
    let message = "xtask: the guest goes on without gdb: Ctrl-C ends it\n";
    let text = || fs::read_to_string(&said).unwrap();
    let start = Instant::now();
    while !text().ends_with(message) {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", text());
        assert_eq!(session.try_wait().unwrap(), None, "{}", text());
        thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &session.id().to_string()]).status().unwrap().success());
    assert_eq!(session.wait().unwrap().code(), Some(0));
    let text = text();
    let end = text.split_once(message).expect("it is there").1;
    let place = " in flatland_guest::port::read_byte, called in answer::main (src/bin/answer.rs:15): --timeout SECONDS ends a \
                 run by itself\n";
    assert!(
        end.starts_with("flatland: interrupted by Ctrl-C, the guest at 0x") && end.ends_with(place),
        "{end}"
    );
}

#[test]
fn what_is_missing_is_said() {
    let _lock = lock();
    let xtask = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(arguments).env("GDB", "gdb");
        command
    };
    let Session { status, stderr, .. } = run(xtask(&["gdb", "answer"]).env("GDB", "/nowhere/gdb"));
    assert_eq!(status, Some(125));
    let message = "xtask: there is no `/nowhere/gdb`: install it with `apt install gdb` or `dnf install gdb`, or name another \
                   one in the variable GDB\n";
    assert_eq!(stderr, message);
    let Session { status, stderr, .. } = run(&mut xtask(&["gdb", "answer", "--input", "/nowhere/input"]));
    assert_eq!(status, Some(125));
    assert!(
        stderr.contains("xtask: cannot read --input `/nowhere/input` (No such file or directory"),
        "{stderr}"
    );
    let Session { status, stderr, .. } = run(&mut xtask(&["gdb", "answer", "--input", "/"]));
    assert_eq!(
        (status, &*stderr),
        (Some(125), "xtask: cannot read --input `/` (is a directory): check the path\n")
    );
    // flatland reports its own errors, and gdb is not started.
    let Session { status, stdout, stderr } = run(&mut xtask(&["gdb", "answer", "--engine", "fast"]));
    assert_eq!((status, &*stdout), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("flatland: --engine `fast` is not an engine"), "{stderr}");
}
