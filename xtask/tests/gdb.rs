//! `cargo xtask gdb`: sessions of the real gdb with the guest programs, on each engine.

#[path = "common/target.rs"]
mod target;

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
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

/// Waits until the file of the guest's output has these contents. The guest may run on after gdb ends.
#[track_caller]
fn assert_output(program: &str, expected: &str) {
    let path = target().join(format!("guest/{program}.output"));
    let start = Instant::now();
    loop {
        let output = fs::read_to_string(&path).expect("there is a file");
        if output == expected {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{output:?} is not {expected:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The number of the first line of a program that contains this text.
fn line(program: &str, text: &str) -> usize {
    line_of(&format!("bin/{program}.rs"), text)
}

/// The number of the first line of a file of the runtime that contains this text.
fn line_of(file: &str, text: &str) -> usize {
    let source = fs::read_to_string(root().join("guest/src").join(file)).expect("it is there");
    1 + source.lines().position(|line| line.contains(text)).expect("the line is there")
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
flatland_guest::port::read_byte (port=flatland_contract::port::Port::Console) at src/port.rs:{byte}
{byte}\t    let mut byte = 0;
#0  flatland_guest::port::read_byte (port=flatland_contract::port::Port::Console) at src/port.rs:{byte}
#1  flatland_guest::console::read_byte () at src/console.rs:{read}
#2  0x? in bench::main () at src/bin/bench.rs:{next}
#3  0x? in core::ops::function::FnOnce::call_once<fn(), ()> () at LIBRARY/core/src/ops/function.rs:250
#4  0x? in flatland_guest::start::run<(), fn()> (main=0x?) at src/start.rs:{run}
#5  0x? in bench::__flatland_main () at src/start.rs:{entry}
flatland_guest::console::read_byte () at src/console.rs:{read_end}
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
#4  0x? in flatland_guest::start::run<(), fn()> (main=0x?) at src/start.rs:{run}
#5  0x? in bench::__flatland_main () at src/start.rs:{entry}
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
        byte = line_of("port.rs", "let mut byte = 0;"),
        read = line_of("console.rs", "port::read_byte("),
        read_end = line_of("console.rs", "port::read_byte(") + 1,
        run = line_of("start.rs", "main().report()"),
        entry = line_of("start.rs", "__private::run("),
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

/// By line, and out of functions, as the buttons of an editor have it: not by instruction.
#[test]
fn reverse_commands_go_by_lines_and_functions() {
    let _lock = lock();
    let commands = "break bench::count_primes\ncontinue\nnext\nreverse-next\n\
        watch bench::SIEVE[16]\ncontinue\nwhen\nreverse-continue\ndelete\nreverse-finish\nstep\nreverse-step\n\
        next\nwho eax\nlast-write &bench::SIEVE[16]\ngoto start\nlast-write &bench::SIEVE[16] 4\ngoto end\n\
        reverse-next\ngoto 100\nkill\n";
    let Session { stdout, stderr, .. } = session("bench", PRIMES_BELOW_32, "", commands);
    // The lines of the program, as gdb shows them.
    let source = |text: &str| {
        let number = line("bench", text);
        let program = fs::read_to_string(root().join("guest/src/bin/bench.rs")).expect("it is there");
        format!("{number}\t{}", program.lines().nth(number - 1).expect("the line is there"))
    };
    let function = |name: &str, text: &str| {
        let (arguments, source) = match name {
            "compute" => ("what=112, count=32", source(text)),
            _ => ("composite=..., round=1", source(text)),
        };
        format!("bench::{name} ({arguments}) at src/bin/bench.rs:{}\n{source}\n", line("bench", text))
    };
    let changed = |old: u8, new: u8| {
        let name = "\nHardware watchpoint 3: bench::SIEVE[16]\n\n";
        format!("{name}Old value = {old}\nNew value = {new}\n")
    };
    let begin = function("count_primes", "let mut count = 0;");
    let call = source("_ => count_primes");
    let expected = [
        format!("Breakpoint 2, {begin}{}\n\nBreakpoint 2, {begin}", source("for number in 2..")),
        "Hardware watchpoint 3: bench::SIEVE[16]\n".to_owned(),
        changed(0, 1) + &function("count_primes", "multiple += number;"),
        changed(1, 0) + "0x? in " + &function("count_primes", "composite[multiple] = round;"),
        "0x? in ".to_owned() + &function("compute", "_ => count_primes") + &begin,
        "0x? in ".to_owned() + &function("compute", "_ => count_primes"),
        source("println!") + "\n#0  0x? in _start ()\n#0  " + &function("compute", "println!"),
        format!("0x?\t{call}\n#0  0x? in {}", function("compute", "let numbers = unsafe")),
    ];
    let stdout = normalized(&stdout);
    assert!(stdout.contains(&expected.concat()), "{stdout}\ndoes not contain\n{}{stderr}", expected.concat());

    let answers: Vec<String> = normalized(&stderr)
        .lines()
        .filter(|line| line.starts_with("after ") || line.starts_with("the ") || line.starts_with("nothing "))
        .map(|line| {
            let words = line.split(' ');
            words
                .map(|word| if word.trim_end_matches('`').parse::<u64>().is_ok() { "N" } else { word })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(
        answers,
        [
            "after N instructions, in the present: from N to N",
            "the instruction at 0x? wrote eax, N instructions ago: `info symbol 0x?` names it, \
             `monitor goto N goes there",
            "the instruction at 0x? wrote there, N instructions ago: `info symbol 0x?` names it, \
             `monitor goto N goes there",
            "after N instructions, in the past: from N to N",
            "nothing wrote there in this past: it begins after N instructions",
            "after N instructions, in the present: from N to N",
            "after N instructions, in the past: from N to N",
        ]
    );
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
    let fifo = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fifo");
    // Remove the pipe of an earlier run.
    let _ = fs::remove_file(&fifo);
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo (coreutils) starts").success());
    let open = fs::File::options().read(true).write(true).open(&fifo).expect("it was just made");
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
    // flatland reports its own errors, and gdb is not started.
    let Session { status, stdout, stderr } = run(&mut xtask(&["gdb", "answer", "--engine", "fast"]));
    assert_eq!((status, &*stdout), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("flatland: --engine `fast` is not an engine"), "{stderr}");
}

/// All values of this name in the JSON of docs/debugging.md.
fn documented(name: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/debugging.md")).expect("it is there");
    let begin = format!("\"{name}\": \"");
    let values = text.split(&*begin).skip(1).filter_map(|rest| rest.split_once('"'));
    values.map(|(value, _)| value.replace("${workspaceFolder}", &root().display().to_string())).collect()
}

/// The commands of the documented sessions, each with the lines that gdb answers. `0x...` stands for an address.
fn documented_session(heading: &str) -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("docs/debugging.md")).expect("it is there");
    let (_, section) = text.split_once(heading).expect("there is such a session");
    let (section, _) = section.split_once("\n## ").expect("it is not the last one");
    let mut session: Vec<(String, Vec<String>)> = Vec::new();
    for console in section.split("```console\n").skip(1) {
        let (lines, _) = console.split_once("```").expect("it ends");
        for line in lines.lines() {
            match (line.strip_prefix("(gdb) "), session.last_mut()) {
                (Some(command), _) => session.push((command.to_owned(), Vec::new())),
                (None, Some((_, answer))) if !console.starts_with("  origins") => {
                    answer.push(line.replace("0x...", "0x?"));
                }
                _ => {}
            }
        }
    }
    session
}

#[test]
fn the_documented_walk_back_from_a_corrupted_list() {
    let _lock = lock();
    let documented = documented_session("### A list that was corrupted");
    assert_eq!(documented.len(), 9);
    // Each answer has a mark behind it, to tell them apart.
    let commands: String =
        documented.iter().map(|(command, _)| format!("{command}\necho \\n--\\n\n")).collect();
    let names = b"Ada\nGrace Hopper\nBarbara\n";
    let Session { stdout, stderr, .. } = session("list", names, "", &commands);
    let parts: Vec<_> = stdout.split("\n--\n").collect();
    assert_eq!(parts.len(), documented.len() + 1, "{stdout}{stderr}");
    for ((command, answer), part) in documented.iter().zip(parts) {
        for line in answer {
            let is_there = part.lines().any(|other| {
                let with_numbers = line.contains("0x?");
                if with_numbers { is_alike(line, other) } else { other == line }
            });
            assert!(is_there, "{command}: {line:?} is not in {part:?}");
        }
    }
}

/// Whether a line is this one, where `0x?` stands for any address.
fn is_alike(pattern: &str, line: &str) -> bool {
    let mut rest = line;
    for (index, part) in pattern.split("0x?").enumerate() {
        if index > 0 {
            let Some(digits) = rest.strip_prefix("0x") else { return false };
            rest = digits.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
        }
        let Some(behind) = rest.strip_prefix(part) else { return false };
        rest = behind;
    }
    rest.is_empty()
}

/// A line about origins without the number of instructions, which depends on the compiler.
fn without_counts(line: &str) -> String {
    let Some(rest) = line.strip_suffix(" instructions before") else { return line.to_owned() };
    rest.trim_end_matches(|digit: char| digit.is_ascii_digit()).to_owned()
}

/// The same without a debugger.
#[test]
fn the_documented_origins_of_a_corrupted_link() {
    let _lock = lock();
    let text = fs::read_to_string(root().join("docs/debugging.md")).expect("it is there");
    let documented: Vec<_> = text
        .lines()
        .skip_while(|line| !line.starts_with("  origins "))
        .take_while(|line| line.starts_with("  "))
        .filter(|line| line.trim() != "...")
        .map(|line| without_counts(&line.trim_end().replace("0x...", "0x?")))
        .collect();
    assert_eq!(documented.len(), 4);
    let mut command = Command::new("bash");
    let script = format!("{} run list --track-origins <\"$1\"", env!("CARGO_BIN_EXE_xtask"));
    command.args(["-c", &script, "bash"]).arg(file("names", b"Ada\nGrace Hopper\nBarbara\n"));
    let Session { status, stdout, stderr } = run(&mut command);
    assert_eq!((status, &*stdout), (Some(134), "Barbara\nGrace Ho\n"));
    for line in documented {
        let is_there = stderr.lines().any(|other| is_alike(&line, &without_counts(other)));
        assert!(is_there, "{line:?} is not in {stderr}");
    }
}

/// Does with gdb what Native Debug does for its buttons *Step Back* and *Reverse*.
#[test]
fn the_documented_buttons_to_go_back() {
    let _lock = lock();
    let [executable] = &documented("executable")[..] else { panic!("there is one configuration") };
    assert_eq!(documented("target"), ["127.0.0.1:1234"]);
    let text = fs::read_to_string(root().join("docs/debugging.md")).expect("it is there");
    let (_, autorun) = text.split_once("\"autorun\": [").expect("it runs commands");
    let autorun =
        autorun.split_once(']').expect("the list ends").0.split(", ").map(|word| word.trim_matches('"'));
    let (mut machine, address) = machine_that_waits();
    let mut gdb = Mi::start(&[executable]);
    gdb.send("gdb-set target-async on");
    gdb.send(&format!("target-select remote {address}"));
    gdb.stopped_in("_start");
    autorun.for_each(|command| gdb.send(&format!("interpreter-exec console \"{command}\"")));
    gdb.stopped_in("answer::main");
    gdb.send(&format!("break-insert -f answer.rs:{}", line_of_answer()));
    machine.stdin.as_mut().expect("it is piped").write_all(b"HA").expect("it is read");
    gdb.send("exec-continue");
    gdb.stopped_at(line_of_answer());
    gdb.send("exec-continue");
    gdb.stopped_at(line_of_answer());
    gdb.send("exec-continue --reverse");
    gdb.stopped_at(line_of_answer());
    // By a line, and into what was called there.
    gdb.send("exec-step --reverse");
    gdb.stopped("::wrapping_add\"");
    gdb.end();
    assert_eq!(machine.wait().expect("it ends").code(), Some(137));
}

/// Does with gdb what VS Code's debug adapter does with the documented files.
#[test]
fn the_documented_launch_json() {
    let _lock = lock();
    let [program] = &documented("program")[..] else { panic!("there is one configuration") };
    assert_eq!(documented("miDebuggerServerAddress"), ["127.0.0.1:1234"]);
    let (mut machine, address) = machine_that_waits();
    let mut gdb = Mi::start(&[]);
    gdb.send("gdb-set breakpoint pending on");
    gdb.send(&format!("file-exec-and-symbols {program}"));
    gdb.send(&format!("target-select remote {address}"));
    documented("text").iter().for_each(|text| gdb.send(&format!("interpreter-exec console \"{text}\"")));
    gdb.send(&format!("break-insert -f answer.rs:{}", line_of_answer()));
    gdb.send("exec-continue");
    gdb.stopped_in("_start");
    gdb.stopped_in("answer::main");
    machine.stdin.as_mut().expect("it is piped").write_all(b"H").expect("it is read");
    gdb.send("exec-continue");
    gdb.stopped_in("answer::main");
    gdb.end();
    assert_eq!(machine.wait().expect("it ends").code(), Some(137));
}

/// The documented task, on the soft engine, and the address where it waits for gdb.
fn machine_that_waits() -> (Child, String) {
    let [command] = &documented("command")[..] else { panic!("there is one task") };
    // Other tests on this machine may use port 1234, so use a free one.
    let task = format!("exec {} --engine soft", command.replace("--gdb", "--gdb=0"));
    let task = task.replace("cargo xtask", env!("CARGO_BIN_EXE_xtask"));
    let mut machine = Command::new("bash");
    machine
        .args(["-c", &task])
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut machine = machine.spawn().expect("bash starts");
    let ready = documented("endsPattern").remove(0);
    let mut told = BufReader::new(machine.stderr.take().expect("it is piped")).lines();
    let line =
        told.find_map(|line| line.ok().filter(|line| line.contains(&ready))).expect("it waits for gdb");
    let address = line.rsplit(' ').next().expect("it has words").trim_end_matches('`').to_owned();
    (machine, address)
}

/// gdb as editors use it: by its machine interface.
struct Mi {
    gdb: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Mi {
    fn start(arguments: &[&String]) -> Self {
        let mut gdb = Command::new("timeout");
        gdb.args(["20", "gdb", "-nx", "-quiet", "-interpreter=mi"]).args(arguments);
        let gdb = gdb.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut gdb = gdb.expect("timeout (coreutils) starts");
        let output = BufReader::new(gdb.stdout.take().expect("it is piped")).lines();
        Self { gdb, output }
    }

    fn send(&mut self, command: &str) {
        let input = self.gdb.stdin.as_mut().expect("it is piped");
        writeln!(input, "-{command}").expect("gdb reads");
    }

    /// Waits for a stop, and checks where it is.
    #[track_caller]
    fn stopped(&mut self, place: &str) {
        let stop = self.output.find_map(|line| line.ok().filter(|line| line.starts_with("*stopped")));
        let stop = stop.expect("these tests need gdb: install it with `apt install gdb`");
        assert!(stop.contains(place), "{place}: {stop}");
    }

    #[track_caller]
    fn stopped_in(&mut self, function: &str) {
        self.stopped(&format!("func=\"{function}\""));
    }

    #[track_caller]
    fn stopped_at(&mut self, line: usize) {
        self.stopped(&format!("line=\"{line}\""));
    }

    fn end(mut self) {
        self.send("interpreter-exec console \"kill\"");
        self.send("gdb-exit");
        assert!(self.gdb.wait().expect("it ends").success());
    }
}

fn line_of_answer() -> usize {
    line("answer", "wrapping_add")
}
