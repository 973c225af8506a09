//! Tests of `cargo xtask` as a command, with the real guest programs.

mod common;

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use common::{file, lock, root, run, run_with_gdb, target, text};

/// Runs xtask with this input.
fn xtask(line: &str, input: &[u8]) -> Output {
    run(&mut common::xtask(line.split_whitespace()), input)
}

#[track_caller]
fn assert_ended(output: &Output, status: i32, stdout: &[u8], stderr: &str) {
    let actual = (output.status.code(), &output.stdout[..], &*String::from_utf8_lossy(&output.stderr));
    assert_eq!(actual, (Some(status), stdout, stderr));
}

#[test]
fn hal_is_answered_ibm() {
    let _lock = lock();
    assert!(xtask("build", b"").status.success());
    assert_ended(&xtask("run", b"HAL*zz"), 0, b"IBM", "");
}

#[test]
fn every_byte_but_the_answer_is_answered_by_the_next() {
    let _lock = lock();
    let input: Vec<u8> = (0..=255).filter(|byte| *byte != 42).collect();
    let expected: Vec<u8> = input.iter().map(|byte| byte.wrapping_add(1)).collect();
    for line in ["run answer", "run answer --release"] {
        assert!(xtask(&line.replace("run", "build"), b"").status.success());
        assert_ended(&xtask(line, &input), 0, &expected, "");
    }
}

#[test]
fn the_answer_is_small() {
    let _lock = lock();
    assert!(xtask("build answer --release", b"").status.success());
    let size = fs::metadata(target().join("guest/answer.bin")).expect("the image is there").len();
    // The size shows what the runtime adds to a program that does not use it. More bytes are unneeded code.
    assert_eq!(size, 68);
}

#[test]
fn hello() {
    let _lock = lock();
    for line in ["run hello", "run hello --release"] {
        assert!(xtask(&line.replace("run", "build"), b"").status.success());
        assert_ended(&xtask(line, b""), 0, b"Hello, Flatland!\n", "");
    }
}

#[test]
fn output_that_cannot_be_written_is_no_panic() {
    let list = |redirection: &str| {
        let script = format!("\"$0\" list {redirection}");
        let mut command = Command::new("bash");
        run(command.args(["-c", &script, env!("CARGO_BIN_EXE_xtask")]).current_dir(root()), b"")
    };
    let message = "xtask: standard output cannot be written (No space left on device (os error 28)): send it \
                   elsewhere\n";
    assert_ended(&list("> /dev/full"), 1, b"", message);
    assert_ended(&list("| true; echo ${PIPESTATUS[0]}"), 0, b"0\n", "");
}

#[test]
fn a_target_for_other_programs_does_not_reach_the_guest() {
    let _lock = lock();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["build", "answer"]).current_dir(root()).env("CARGO_BUILD_TARGET", "i686-unknown-nowhere");
    assert_ended(&run(&mut command, b""), 0, b"", "");
}

/// `cargo xtask` without the variables that this test's own cargo has set.
fn cargo_xtask(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.arg("xtask").args(line.split_whitespace()).current_dir(folder);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
}

/// All files below this folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("it can be listed").map(|entry| entry.expect("it can be listed").path());
    let mut files: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// A read-only checkout can be used with a `target` elsewhere. Root can write everywhere, so the test compares the
/// files before and after.
#[test]
fn nothing_is_written_in_a_checkout_with_another_target() {
    let checkout = file("read-only");
    let built = file("read-only-target");
    let _ = fs::remove_dir_all(&checkout);
    fs::create_dir_all(&checkout).expect("it can be made");
    fs::create_dir_all(&built).expect("it can be made");
    for name in
        fs::read_dir(root()).expect("it can be listed").map(|entry| entry.expect("it can").file_name())
    {
        if name != "target" && name != ".git" {
            let copied = Command::new("cp").arg("-a").arg(root().join(name)).arg(&checkout).status();
            assert!(copied.expect("there is cp (coreutils)").success());
        }
    }
    // If the standard library's source was fetched, it is in the target folder.
    if target().join("rust-src").exists() {
        let _ = symlink(target().join("rust-src"), built.join("rust-src"));
    }
    let before = files_below(&checkout);
    for (folder, target) in
        [(&checkout, "../read-only-target"), (&checkout.join("guest"), "../../read-only-target")]
    {
        let mut command = cargo_xtask(folder, "build hello --release");
        let output = run(command.env("CARGO_TARGET_DIR", target), b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(files_below(&checkout), before);
    let built = |path: &str| fs::read(built.join(path)).expect("it was built");
    assert!(!built("guest/hello.bin").is_empty());
    assert!(!built("debug/xtask").is_empty());
}

/// Calls xtask with a toolchain that has no source of the standard library, with its own target folder, and with an
/// apt-get that records when it is called.
#[test]
fn offline_nothing_is_downloaded_and_what_is_missing_is_said() {
    let folder = file("offline");
    let _ = fs::remove_dir_all(&folder);
    for name in ["bin", "lib/rustlib", "target/debug", "home", "path"] {
        fs::create_dir_all(folder.join(name)).expect("it can be made");
    }
    // This CARGO_HOME has no crates.
    for (offline, line) in [("true", "build hello"), ("false", "build hello --offline")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(line.split(' ')).current_dir(root()).env("CARGO_NET_OFFLINE", offline);
        let output = run(command.env("CARGO_HOME", folder.join("home")), b"");
        let message = "xtask: a crate is not on this machine, and nothing may be downloaded: this command gets it without \
                       --offline and CARGO_NET_OFFLINE\n";
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.ends_with(message), "{stderr}");
        assert_eq!(output.status.code(), Some(1));
    }
    assert!(!folder.join("home/registry/cache").exists());
    // This toolchain has no source of the standard library.
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    for (name, runs) in [("bin/rustc", rustc), ("bin/cargo", env!("CARGO").into())] {
        fs::write(folder.join(name), format!("#!/bin/sh\nexec '{}' \"$@\"\n", runs.display()))
            .expect("it can be made");
    }
    fs::write(folder.join("path/apt-get"), "#!/bin/sh\ntouch \"$0-was-called\"\nexit 1\n")
        .expect("it can be made");
    for name in ["bin/rustc", "bin/cargo", "path/apt-get"] {
        fs::set_permissions(folder.join(name), Permissions::from_mode(0o755)).expect("it is ours");
    }
    let program = folder.join("target/debug/xtask");
    fs::copy(env!("CARGO_BIN_EXE_xtask"), &program).expect("it can be made");
    let path = env::join_paths(
        [folder.join("path")].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    let mut command = Command::new(program);
    command.args(["--offline", "build", "hello"]).current_dir(root()).env("CARGO", folder.join("bin/cargo"));
    let output = run(command.env("PATH", path.unwrap()), b"");
    assert!(!folder.join("path/apt-get-was-called").exists());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("xtask: the standard library's source for Rust "), "{stderr}");
    let end = "is not on this machine, and nothing may be downloaded: `rustup component add rust-src` gets it, or this \
               command without --offline and CARGO_NET_OFFLINE\n";
    assert!(stderr.ends_with(end), "{stderr}");
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1));
}

#[test]
fn the_program_flatland_through_cargo() {
    let _lock = lock();
    assert!(xtask("build hello", b"").status.success());
    let image = target().join("guest/hello.bin");
    for dashes in ["", "-- "] {
        let line = format!("flatland {dashes}--engine soft {}", image.display());
        assert_ended(&xtask(&line, b""), 0, b"Hello, Flatland!\n", "");
    }
    let help = xtask("flatland --help", b"");
    assert!(String::from_utf8_lossy(&help.stdout).contains("--max-instructions"), "{help:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = run(command.args(["flatland", "hello.bin"]).current_dir(target().join("guest")), b"");
    assert_ended(&output, 0, b"Hello, Flatland!\n", "");
}

#[test]
fn the_quick_tests_are_summed_up() {
    let _lock = lock();
    let output = xtask("test --quick commands_can_be_pasted", b"");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().last().unwrap_or_default();
    let expected = "xtask: tests: host 1 passed, 0 failed, 0 ignored; guest 0 passed, 0 failed, 0 ignored; ";
    assert!(last.starts_with(expected), "{stderr}");
    // The tests of commands are not among the quick ones.
    assert!(!stderr.contains("tests/commands.rs"), "{stderr}");
    let output = xtask("test --quick no_such_test", b"");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let message = "xtask: no test has such a name: `cargo xtask test -- --list` lists them\n";
    assert!(stderr.ends_with(message), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn help_and_version() {
    let help = |line| {
        let output = xtask(line, b"");
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{line}");
        String::from_utf8(output.stdout).expect("it is UTF-8")
    };
    assert!(help("--help").contains("\n  size NAME             list what takes the room"));
    assert_eq!(help("help run"), help("run --help"));
    assert!(help("help run").contains("Usage: cargo xtask run [NAME] [OPTIONS] [-- ARGS]\n"));
    assert!(help("help run").contains("  --release "));
    assert!(help("test --help").contains("  --stack SIZE "));
    assert_eq!(help("--version"), format!("xtask {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn paths_in_guest_are_meant_from_there() {
    let _lock = lock();
    let mut command = Command::new(env!("CARGO"));
    command.args(["xtask", "run", "answer", "--symbols", "../target/guest/answer.elf"]);
    let output = run(command.current_dir(root().join("guest")).env_remove("CARGO_MANIFEST_DIR"), b"HAL*");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"IBM"[..]), "{output:?}");
}

#[test]
fn a_panic_is_told_and_ends_with_101() {
    let _lock = lock();
    assert!(xtask("build panic", b"").status.success());
    let message = "guest panicked at src/bin/panic.rs:14:25:\n\
                   index out of bounds: the len is 3 but the index is 7\n\
                   flatland: the calls that led to the panic:\n   \
                   0: panic::main\n             \
                   at src/bin/panic.rs:14:25\n";
    assert_ended(&xtask("run panic", &[7]), 101, b"so far, so good\n", message);
    assert_ended(&xtask("run panic", &[2]), 0, b"so far, so good\n*", "");
}

#[test]
fn options_that_are_not_ours_go_to_flatland() {
    let _lock = lock();
    assert!(xtask("build", b"").status.success());
    let output = xtask("run answer --memory 0", b"");
    let message = "flatland: --memory `0` is too little: give at least 4K; `flatland --help` lists what there \
                   is\n";
    assert_ended(&output, 2, b"", message);
    assert_ended(&xtask("run --memory=64K --timeout 60", b"HAL*"), 0, b"IBM", "");
}

#[test]
fn a_build_with_nothing_to_do_is_silent_and_writes_nothing() {
    let _lock = lock();
    assert!(xtask("build", b"").status.success());
    let before = files();
    assert!(before.keys().any(|path| path.ends_with("answer.bin")), "{before:?}");
    assert!(before.keys().any(|path| path.ends_with("panic.elf")), "{before:?}");
    assert_ended(&xtask("build", b""), 0, b"", "");
    assert_ended(&xtask("build answer", b""), 0, b"", "");
    assert_eq!(files(), before);
}

/// The images and ELF files, and when they were written.
fn files() -> BTreeMap<PathBuf, SystemTime> {
    fs::read_dir(target().join("guest"))
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be listed"))
        .filter(|entry| entry.file_type().expect("it has a type").is_file())
        .map(|entry| {
            (entry.path(), entry.metadata().and_then(|metadata| metadata.modified()).expect("a time"))
        })
        .collect()
}

#[test]
fn the_elf_file_names_functions_and_lines() {
    let _lock = lock();
    assert!(xtask("build answer", b"").status.success());
    // Standard input is a pipe that is open for writing as well, so the guest waits, however long the build takes.
    let script = "\"$0\" run answer --timeout 0.1 <> <(:)";
    let mut command = Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_xtask")]).current_dir(root());
    let output = run(&mut command, b"");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let place = " in flatland_guest::port::read_byte, called in answer::main (src/bin/answer.rs:";
    assert!(stderr.starts_with("flatland: time limit of 0.1 s reached, the guest at 0x"), "{stderr}");
    assert!(stderr.contains(place), "{stderr}");
    assert_eq!(output.status.code(), Some(124));
}

#[test]
fn wrong_command_lines_say_what_there_is() {
    let _lock = lock();
    let names = "there is no guest program `nope`: choose one of answer, bench, calc, cat, echo, fault, handler, hello, \
                 inflate, life, list, misuse, nbody, nbody-hard, nested, paging, panic, planted, preemptive, \
                 sha256, shout, user, wasm\n";
    for command in ["run", "gdb", "build", "disasm", "size"] {
        assert_ended(&xtask(&format!("{command} nope"), b""), 2, b"", &format!("xtask: {names}"));
        let meant = "xtask: there is no guest program `helo`: did you mean `hello`?\n";
        assert_ended(&xtask(&format!("{command} helo"), b""), 2, b"", meant);
    }
    let meant = "xtask: there is no command `biuld`: did you mean `build`?\n";
    assert_ended(&xtask("biuld", b""), 2, b"", meant);
    let meant = "xtask: `cargo xtask run` does not know `--relaese`: did you mean `--release`?\n";
    assert_ended(&xtask("run hello --relaese", b""), 2, b"", meant);
    let hint = "`cargo xtask --help` lists what there is\n";
    assert_ended(&xtask("frob", b""), 2, b"", &format!("xtask: there is no command `frob`; {hint}"));
    assert_ended(&xtask("", b""), 2, b"", &format!("xtask: no command is given; {hint}"));
    let first = "xtask: the program's name stands first: try `cargo xtask run panic --timeout 3`\n";
    assert_ended(&xtask("run --timeout 3 panic", b""), 2, b"", first);
    let own = "`-tui` is no option of flatland, and of gdb's own there are -x FILE, -ex COMMAND and --batch: give a command \
               instead, such as -ex 'tui enable'";
    let elf = "a replay has the program of its run, and `answer` would be the path of its ELF file: leave it out, or give such \
               a path, as target/guest/answer.elf";
    let recording = "a replay needs a recording, and `answer` is a program: `cargo xtask run answer --record FILE` records it";
    for (line, message) in [
        ("test --gest", "`cargo xtask test` does not know `--gest`: did you mean `--guest`?"),
        ("test --coverage", "--coverage is of the guest's tests: give --guest, too"),
        ("--offlin run", "there is no option `--offlin`: did you mean `--offline`?"),
        ("run answer --ofline", "`cargo xtask run` does not know `--ofline`: did you mean `--offline`?"),
        ("gdb answer -tui", own),
        ("gdb --replay a.rec -tui", own),
        ("gdb answer --replay a.rec", elf),
        ("replay a.rec answer", elf),
        ("replay --trace io a.rec answer", elf),
        ("gdb --replay answer", recording),
        ("replay answer", recording),
    ] {
        assert_ended(&xtask(line, b""), 2, b"", &format!("xtask: {message}\n"));
    }
    let misspelled = "flatland: there is no option `--stat`: did you mean `--stats`?\n";
    assert_ended(&xtask("run answer --stat", b""), 2, b"", misspelled);
}

/// Each option of a run says what to do where there are many.
#[test]
fn options_that_tests_do_not_have_say_what_to_do() {
    let _lock = lock();
    let help = text(&xtask("flatland --help", b"").stdout);
    let mut refused = vec!["--release"];
    refused.extend(help.lines().filter_map(|line| line.strip_prefix("  --")?.split([' ', '[']).next()));
    refused.retain(|option| {
        !["color", "engine", "memory", "stack"].contains(option) && !option.starts_with("coverage")
    });
    assert!(refused.len() > 15, "{help}");
    for option in refused.iter().map(|option| format!("--{}", option.trim_start_matches('-'))) {
        let output = xtask(&format!("test --guest {option}=a"), b"");
        let (said, begin) = (text(&output.stderr), format!("xtask: {option} is "));
        assert_eq!((output.status.code(), said.starts_with(&begin)), (Some(2), true), "{said}");
    }
    let message = "xtask: --profile is of one run: give it to `cargo xtask run NAME`, or to `cargo xtask replay FILE`, with the \
                   recording that a failed test leaves\n";
    assert_ended(&xtask("test --guest --profile a.svg", b""), 2, b"", message);
}

#[test]
fn programs_are_listed_with_what_they_do() {
    let listed = xtask("list", b"");
    let listed = String::from_utf8_lossy(&listed.stdout);
    let expected = [
        "answer      Answers each byte with its successor, and ends at `*`",
        "calc        Evaluates each line of its input as an expression, with a parser made with the crate `winnow`",
        // This program has no documentation.
        "hello",
        "nested      A machine in the machine: the software processor of the host, as a guest",
        "panic       Panics, to show a panic's message and place, and status 101",
    ];
    let found: Vec<_> = listed.lines().filter(|line| expected.contains(line)).collect();
    assert_eq!(found, expected, "in this order:\n{listed}");
}

#[test]
fn cargo_xtask_works_in_every_folder() {
    let _lock = lock();
    let listed = xtask("list", b"").stdout;
    for folder in ["", "host/src", "contract", "xtask/tests", "guest", "guest/src/bin"] {
        let output = run(&mut cargo_xtask(&root().join(folder), "list"), b"");
        assert_eq!((output.status.code(), &output.stdout), (Some(0), &listed), "in {folder:?}: {output:?}");
    }
}

#[test]
fn a_program_is_disassembled_beside_its_source() {
    let _lock = lock();
    let output = xtask("disasm answer --release", b"");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        text.starts_with("0x00000000 _start:\n    0x00000000  31 ed                 xor ebp, ebp\n"),
        "{text}"
    );
    assert!(text.contains("  src/bin/answer.rs:15  match console::read_byte() {\n"), "{text}");
    assert!(text.contains("  insb\n"), "{text}");
    let output = xtask("disasm answer nothing_like_it", b"");
    let message = "flatland: no function of the program has `nothing_like_it` in its name: `cargo xtask size NAME` lists \
                   them\n";
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(125), message));
}

#[test]
fn what_takes_the_room_adds_up() {
    let _lock = lock();
    let output = xtask("size answer --release", b"");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("      68  .text\n      68  bytes of RAM, of which 68 are in the image\n"),
        "{text}"
    );
    assert!(text.contains("\n      68 100.0%  by crate\n"), "{text}");
    // Each crate's size is on its own line, up to an empty line.
    let crates = text.split("by crate\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let sizes = crates.lines().map(|line| line.split_whitespace().next().unwrap().parse::<u32>().unwrap());
    assert_eq!(sizes.sum::<u32>(), 68, "{text}");
}

#[test]
fn what_takes_the_room_is_drawn_and_compared() {
    let _lock = lock();
    let picture = file("answer.svg");
    let output = xtask(&format!("size answer --release --svg {}", picture.display()), b"");
    let message = format!("flatland: size: 68 bytes of RAM, written to {}\n", picture.display());
    assert_ended(&output, 0, b"", &message);
    let svg = fs::read_to_string(&picture).expect("it was written");
    let areas: Vec<_> =
        svg.lines().filter_map(|line| line.strip_prefix("<g><title>")?.split("</title>").next()).collect();
    // The sizes of crates are in the table, too; each begins an area of its own.
    let text = xtask("size answer --release", b"").stdout;
    let text = String::from_utf8_lossy(&text);
    for line in text.split("by crate\n").nth(1).unwrap().split("\n\n").next().unwrap().lines() {
        let mut words = line.splitn(2, "%  ");
        let size = words.next().unwrap().split_whitespace().next().unwrap();
        let area = format!("{}: {size} bytes", words.next().unwrap());
        assert!(areas.contains(&area.as_str()), "{area} is not in {areas:?}");
    }

    let refused = xtask("size answer --release --svg target/answer.png", b"");
    let why = "flatland: cannot write --svg `target/answer.png`: give a file that ends in .svg\n";
    assert_ended(&refused, 125, b"", why);
    let full = file("full.svg");
    let _ = symlink("/dev/full", &full);
    let refused = xtask(&format!("size answer --release --svg {}", full.display()), b"");
    let why = format!(
        "flatland: cannot write --svg `{}` (No space left on device (os error 28)): give another place\n",
        full.display()
    );
    assert_ended(&refused, 125, b"", &why);
    let refused = xtask("size answer --release --against Cargo.toml", b"");
    let why = "flatland: cannot compare with --against `Cargo.toml`, which is no ELF file: give the ELF file of an earlier \
               build, such as a copy of target/guest/NAME.elf\n";
    assert_ended(&refused, 125, b"", why);

    let elf = root().join("target/guest/answer.elf");
    let before = file("before.elf");
    fs::copy(elf, &before).expect("it was just built");
    let same = xtask(&format!("size answer --release --against {}", before.display()), b"");
    assert_ended(&same, 0, b"      +0  bytes: 68 now, 68 before\n", "");
    // What another profile makes of it is not the source's doing.
    for (line, command) in [
        ("build answer", "build"),
        ("run answer --coverage", "run --coverage"),
        ("gdb answer --batch -ex kill", "gdb"),
    ] {
        let output = run_with_gdb(&mut common::xtask(line.split(' ')), b"");
        assert_eq!(output.status, Some(0), "{output:?}");
        fs::copy(root().join("target/guest/answer.elf"), &before).expect("it was just built");
        let output = xtask(&format!("size answer --release --against {}", before.display()), b"");
        let note = format!(
            "flatland: not all of the difference is the source's, because `cargo xtask {command}` built one and `cargo xtask \
             build --release` the other: build both by the same command\n"
        );
        assert_eq!((output.status.code(), common::text(&output.stderr)), (Some(0), note));
    }
    xtask("build answer --release", b"");
    fs::copy(root().join("target/guest/answer.elf"), &before).expect("it was just built");
    let larger = xtask(&format!("size hello --release --against {}", before.display()), b"");
    let text = String::from_utf8_lossy(&larger.stdout);
    let first = text.lines().next().unwrap().trim_start();
    let (difference, rest) = first.split_once(' ').unwrap();
    let sum: i64 = text
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().next().unwrap().parse::<i64>().unwrap())
        .sum();
    assert_eq!(difference.parse::<i64>().unwrap(), sum, "the rows add up: {text}");
    assert!(rest.ends_with("68 before"), "{rest}");
    assert!(text.contains("answer::main (gone)\n") || text.contains(" (new)\n"), "{text}");
}
