//! Tests a package of guests, as `cargo flatland new` makes it, and the messages for a user's mistakes in it.

mod attributes;
#[path = "../common/mod.rs"]
mod common;
mod floats;
mod formats;
#[path = "../../../xtask/tests/common/numbers.rs"]
mod numbers;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::{env, fs, process};

use common::{cargo_flatland, run, text};
use flatland_contract::memory::{Layout, MAX_RAM_SIZE, default_stack_size};
use numbers::without_long_numbers;

/// The package, newly made. Its `target` is kept between runs, because building `core` takes long.
static ELSEWHERE: LazyLock<PathBuf> = LazyLock::new(|| {
    // The path has a quote, a space and a template's placeholder, which must not be treated specially.
    let folder = env::temp_dir().join(format!("flatland's NAME elsewhere-{}", process::id()));
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("elsewhere");
    fs::create_dir_all(&built).unwrap();
    let line = ["new", "--path", folder.to_str().expect("paths here are UTF-8"), "kernel"];
    let output = run(&mut cargo_flatland(&env::temp_dir(), line));
    let shown = fs::canonicalize(&folder).unwrap();
    let expected = format!(
        "made {0}; now:\n  \
           cd '{1}'\n  \
           cargo flatland run kernel              # builds it and runs it\n  \
           cargo flatland test kernel             # runs its tests\n  \
           cargo flatland build --release kernel  # makes it small, as target/guest/NAME.bin\n",
        shown.display(),
        shown.file_name().expect("it has a name").display().to_string().replace('\'', "'\\''")
    );
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    // Recordings of an earlier run, which are not there if it was the first.
    let _ = fs::remove_dir_all(built.join("guest/failures"));
    symlink(built, folder.join("target")).unwrap();
    folder
});

/// Runs `cargo flatland` in the package.
fn flatland(line: &str) -> Output {
    run(&mut command(line))
}

fn command(line: &str) -> Command {
    cargo_flatland(&ELSEWHERE, line.split_whitespace())
}

/// Adds a program that does not build, checks the message, and removes the program, because other tests build the
/// whole crate.
fn with_program(name: &str, source: &str, check: impl FnOnce(&str)) {
    let path = ELSEWHERE.join(format!("src/bin/{name}.rs"));
    fs::write(&path, source).unwrap();
    let output = flatland(&format!("build {name}"));
    fs::remove_file(path).unwrap();
    assert_eq!(output.status.code(), Some(1), "{name}");
    check(&text(&output.stderr));
}

#[test]
fn a_crate_elsewhere() {
    // One test for all steps: they share the crate, so cargo would run them one after another anyway.
    it_runs();
    the_other_commands_are_about_it();
    programs_are_added();
    a_fuzz_target_is_added();
    floats::floats_are_soft_or_hard();
    names_are_checked();
    a_persons_flags_reach_guests();
    it_runs_without_any_optimization();
    fs::create_dir(ELSEWHERE.join("tests")).unwrap();
    the_machine_for_tests_can_be_larger();
    fs::write(ELSEWHERE.join("tests/outcomes.rs"), include_str!("outcomes.guest.rs")).unwrap();
    tests_are_listed_and_chosen();
    a_broken_program_stays_out_of_the_way();
    tests_end_in_each_way();
    formats::formats_are_libtests();
    attributes::a_test_has_the_machine_that_it_asks_for();
    the_heap_is_as_large_as_ram_allows();
    a_program_for_std_is_one_for_the_guest();
    mistakes_are_explained();
    attributes::mistakes_are_explained();
    fs::remove_dir_all(&*ELSEWHERE).unwrap();
}

fn it_runs() {
    let output = flatland("run kernel");
    let ended = (output.status.code(), text(&output.stdout));
    assert_eq!(ended, (Some(0), "Hello from kernel!\n".into()), "{}", text(&output.stderr));
    // There is no other program, so it need not be named.
    assert_eq!(text(&flatland("run").stdout), "Hello from kernel!\n");
    let summary = "kernel  Says hello: the first sentence here is what `cargo flatland list` shows\n";
    assert_eq!(text(&flatland("list").stdout), summary);
}

/// Each command works on this crate as it works on guest/ in the checkout.
fn the_other_commands_are_about_it() {
    for line in ["test", "test kernel"] {
        let output = flatland(line);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let expected = "\nrunning 1 test\ntest kernel::tests::the_greeting_is_friendly ... ok\n";
        assert!(text(&output.stdout).starts_with(expected), "{line}: {}", text(&output.stdout));
    }
    let output = flatland("test kernel --message-format json");
    let stdout = text(&output.stdout);
    let (messages, results) = stdout.split_once("\n\nrunning 1 test\n").expect("the tests come behind");
    assert!(messages.lines().all(|line| line.starts_with("{\"reason\":\"")), "{messages}");
    assert!(results.starts_with("test kernel::tests::the_greeting_is_friendly ... ok\n"), "{results}");
    let message = "flatland: tests are built with --message-format json, or with another form of json, and not with short: \
                   give one\n";
    assert_eq!(text(&flatland("test kernel --message-format short").stderr), message);
    for (line, expected) in [
        ("disasm kernel", "  src/bin/kernel.rs:11  println!(\"{}\", greeting());\n"),
        ("size kernel", "by crate\n"),
        ("gdb kernel --batch", "kernel::main () at src/bin/kernel.rs:11\n"),
        (
            "gdb kernel --batch -x target/breakpoint",
            "Breakpoint 2, kernel::greeting () at src/bin/kernel.rs:16\n",
        ),
    ] {
        fs::write(ELSEWHERE.join("target/breakpoint"), "break kernel::greeting\ncontinue\n").unwrap();
        let output = flatland(line);
        assert!(text(&output.stdout).contains(expected), "{line}: {output:?}");
    }
    assert_eq!(flatland("build").status.code(), Some(0));
    assert!(ELSEWHERE.join("target/guest/kernel.bin").exists());
}

fn programs_are_added() {
    let output = flatland("new second-one");
    assert!(
        text(&output.stdout)
            .starts_with("made src/bin/second-one.rs; now:\n  cargo flatland run second-one ")
    );
    assert_eq!(text(&flatland("run second-one").stdout), "Hello from second-one!\n");
    // The command as `new` has printed it. rustc's names have underscores for hyphens.
    let output = flatland("test second-one");
    let expected = "\nrunning 1 test\ntest second_one::tests::the_greeting_is_friendly ... ok\n";
    assert!(text(&output.stdout).starts_with(expected), "{output:?}");
    let output = flatland("run");
    let message = "flatland: which program? Choose one of kernel, second-one\n";
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(2), message.into()));
    fs::remove_file(ELSEWHERE.join("src/bin/second-one.rs")).unwrap();
}

/// A fuzz target runs with the input that it is given, and its tests are tests as others.
fn a_fuzz_target_is_added() {
    let made = "made src/bin/numbers.rs; now:\n  \
                  cargo flatland fuzz numbers        # looks for input with which it fails\n  \
                  cargo flatland run numbers < FILE  # runs it once, with this input\n  \
                  cargo flatland test numbers        # runs its tests\n";
    assert_eq!(text(&flatland("new numbers --fuzz").stdout), made);
    let input = ELSEWHERE.join("target/input");
    for (number, status, message) in [
        ("2011", 0, ""),
        ("HAL", 0, ""),
        (
            "99999999999",
            101,
            "guest panicked at src/bin/numbers.rs:19:41:\nattempt to multiply with overflow\n",
        ),
    ] {
        fs::write(&input, number).unwrap();
        let mut command = command("--offline run numbers --engine soft");
        let output = command.stdin(fs::File::open(&input).unwrap()).output().expect("the command starts");
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), stderr.contains(message)), (Some(status), true), "{stderr}");
    }
    let output = flatland("test numbers");
    let expected = "\nrunning 1 test\ntest numbers::tests::numbers_are_read ... ok\n";
    assert!(text(&output.stdout).starts_with(expected), "{output:?}");
    fs::remove_file(ELSEWHERE.join("src/bin/numbers.rs")).unwrap();
}

fn names_are_checked() {
    for (status, line, message) in [
        (
            1,
            "new kernel",
            "there is a program `kernel` already: look at src/bin/kernel.rs, or choose another name".into(),
        ),
        (
            2,
            "new 2nd",
            "`2nd` is no name for a program, because it does not begin with a letter: choose another, such as \
             `my-kernel`"
                .into(),
        ),
        (1, "new --path . a", format!("{}/. is not empty: choose a new folder", ELSEWHERE.display())),
    ] {
        let output = flatland(line);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(status), format!("flatland: {message}\n")));
    }
}

/// Guests are built with the flags of the package's own settings, and with those of the
/// environment.
fn a_persons_flags_reach_guests() {
    let path = ELSEWHERE.join("src/bin/flags.rs");
    let source = "#![no_std]\n#![no_main]\n#![expect(unexpected_cfgs)]\nflatland_guest::entry!(main);\n\
                  fn main() {\n    flatland_guest::println!(\"{}\", cfg!(loud));\n}\n";
    fs::write(&path, source).unwrap();
    let settings = ELSEWHERE.join(".cargo/config.toml");
    let before = fs::read_to_string(&settings).unwrap();
    let with_flags =
        before.replace("[target.i686-bare]\n", "[target.i686-bare]\nrustflags = \"--cfg loud\"\n");
    fs::write(&settings, with_flags).unwrap();
    let output = flatland("run flags");
    assert_eq!(text(&output.stdout), "true\n", "{}", text(&output.stderr));
    fs::write(&settings, before).unwrap();
    assert_eq!(text(&flatland("run flags").stdout), "false\n");
    let flags = "-C link-arg=-Wl,--as-needed";
    let output = run(command("build flags").env("RUSTFLAGS", flags));
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    let last = message.lines().last().unwrap_or_default();
    let expected = "and build again; RUSTFLAGS is for guests, too: flags for programs of this machine belong in CARGO_TARGET_";
    assert!(last.contains(expected), "{message}");
    fs::remove_file(path).unwrap();
}

/// Without optimization, `memset` must not be compiled to a call of `memset`.
fn it_runs_without_any_optimization() {
    let manifest = ELSEWHERE.join("Cargo.toml");
    let before = fs::read_to_string(&manifest).unwrap();
    assert!(before.contains("opt-level = 1"));
    fs::write(&manifest, before.replace("opt-level = 1", "opt-level = 0")).unwrap();
    let output = flatland("run kernel");
    assert_eq!(text(&output.stdout), "Hello from kernel!\n", "{}", text(&output.stderr));
    fs::write(manifest, before).unwrap();
}

fn the_machine_for_tests_can_be_larger() {
    let path = ELSEWHERE.join("tests/large.rs");
    let source = "#![no_std]\n#![no_main]\nuse flatland_guest::test;\n\
                  #[test]\nfn three_mebibytes_of_stack() {\n    \
                  let large = core::hint::black_box([1u8; 3 << 20]);\n    \
                  assert_eq!(large[1 << 20], 1);\n}\n";
    fs::write(&path, source).unwrap();
    let output = flatland("test large");
    assert!(text(&output.stdout).contains("or give it more with `#[stack(\"4M\")]`\n"), "{output:?}");
    assert_eq!(output.status.code(), Some(101));
    fs::write(&path, source.replace("#[test]\n", "#[test]\n#[stack(\"8M\")]\n")).unwrap();
    let output = flatland("test large");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    fs::write(&path, source).unwrap();
    for options in ["--stack 8M", "--memory=64M", "--engine soft --stack=8M --memory 32M"] {
        let output = flatland(&format!("test large {options}"));
        assert_eq!(output.status.code(), Some(0), "{options}: {output:?}");
    }
    let output = flatland("test large --stack much");
    let message = "flatland: --stack `much` is not a size: give a number of bytes, or one with K, M or G, such as 16M\n";
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(2), message.into()));
    fs::remove_file(path).unwrap();
}

fn a_broken_program_stays_out_of_the_way() {
    let path = ELSEWHERE.join("src/bin/broken.rs");
    fs::write(&path, "this is no Rust").unwrap();
    for filter in ["kernel", "kernel::tests::the_greeting"] {
        let output = flatland(&format!("test {filter}"));
        assert_eq!(output.status.code(), Some(0), "{filter}: {output:?}");
        assert!(text(&output.stdout).contains("test result: ok. 1 passed"), "{filter}: {output:?}");
    }
    // The filter names no program, so all programs are built.
    assert_eq!(flatland("test friendly").status.code(), Some(1));
    fs::remove_file(path).unwrap();
    let path = ELSEWHERE.join("tests/broken.rs");
    fs::write(&path, "this is no Rust").unwrap();
    assert_eq!(flatland("test outcomes::passes").status.code(), Some(0));
    fs::remove_file(path).unwrap();
}

fn tests_are_listed_and_chosen() {
    let output = flatland("test kernel -- --list");
    assert_eq!(
        text(&output.stdout),
        "kernel::tests::the_greeting_is_friendly: test\n\n1 test, 0 benchmarks\n"
    );
    let output = flatland("test -- --exact outcomes::passes");
    let expected = "\nrunning 1 test\ntest outcomes::passes ... ok\n\n\
                    test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 16 filtered out; finished in ";
    assert!(text(&output.stdout).starts_with(expected), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(0));
    let stderr = text(&output.stderr);
    assert!(stderr.ends_with("flatland: the tests ran on the soft engine\n"), "{stderr}");
    // With `--nocapture`, all output is shown.
    let output = flatland("test outcomes::passes -- --nocapture");
    assert!(text(&output.stdout).contains("not shown\n"));
    // A program of this name has no tests.
    let path = ELSEWHERE.join("src/bin/friendly.rs");
    fs::write(&path, "#![no_std]\n#![no_main]\nflatland_guest::entry!(main);\nfn main() {}\n").unwrap();
    let output = flatland("test friendly");
    assert!(
        text(&output.stdout).contains("test kernel::tests::the_greeting_is_friendly ... ok\n"),
        "{output:?}"
    );
    fs::remove_file(path).unwrap();
    let output = flatland("test no-such-test");
    let message = "flatland: no test in the guest has `no_such_test` in its name: `cargo flatland test -- --list` \
                   lists them\n";
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(2), message.into()));
    let output = flatland("test is_ignored -- --ignored");
    assert!(text(&output.stdout).contains("not ignored\nthe test at tests/outcomes.rs:93 panicked\n"));
    assert_eq!(output.status.code(), Some(101));
}

fn tests_end_in_each_way() {
    for engine in ["", "--engine soft"] {
        let output = flatland(&format!("test outcomes {engine} -- --test-threads=1"));
        assert_eq!(output.status.code(), Some(101));
        let actual = text(&output.stdout);
        let (actual, _) = actual.split_once("; finished in").expect("it ends with a summary");
        assert_eq!(without_addresses(actual), include_str!("outcomes.expected").trim_end(), "{engine}");
        failures_have_left_recordings();
    }
    failures_are_recorded_where_files_can_be_written();
}

/// Each replays to the end of its test, and gdb opens one at the failure.
fn failures_have_left_recordings() {
    let entries = fs::read_dir(ELSEWHERE.join("target/guest/failures")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let status =
        |name: &String| flatland(&format!("replay target/guest/failures/{name}")).status.code().unwrap();
    let ends: Vec<_> = names.iter().map(|name| (&**name, status(name))).collect();
    let expected = [
        ("outcomes-divides_by_zero.rec", 134),
        ("outcomes-does_not_panic.rec", 0),
        ("outcomes-ends_like_a_panic.rec", 101),
        ("outcomes-exits_with_0.rec", 0),
        ("outcomes-exits_with_7.rec", 7),
        ("outcomes-halts.rec", 0),
        // It was asked for above.
        ("outcomes-is_ignored.rec", 101),
        ("outcomes-overflows_the_stack.rec", 134),
        ("outcomes-panics.rec", 101),
        ("outcomes-panics_otherwise.rec", 101),
        ("outcomes-reads_input.rec", 0),
        ("outcomes-returns_an_error.rec", 1),
        ("outcomes-takes_too_long.rec", 124),
        ("outcomes-writes_to_null.rec", 134),
    ];
    assert_eq!(ends, expected);
    let script = ELSEWHERE.join("back.gdb");
    fs::write(&script, "backtrace\nreverse-continue\nprint $eip\n").unwrap();
    let output = flatland("gdb --replay target/guest/failures/outcomes-panics.rec --batch -x back.gdb");
    let told = text(&output.stdout) + &text(&output.stderr);
    let at_start = ["outcomes::panics () at tests/outcomes.rs:16", "_start ()", "$1 = (*mut fn ()) 0x0"];
    for part in
        [&["Program received signal SIGABRT", "flatland: the guest has panicked"], &at_start[..]].concat()
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    fs::remove_file(script).unwrap();
}

fn failures_are_recorded_where_files_can_be_written() {
    // A test that passes leaves none, also none of an earlier run.
    let folder = ELSEWHERE.join("target/guest/failures");
    let earlier = folder.join("outcomes-passes.rec");
    fs::copy(folder.join("outcomes-panics.rec"), &earlier).unwrap();
    assert_eq!(flatland("test outcomes::passes").status.code(), Some(0));
    assert!(!earlier.exists());
    // A place where nothing can be written changes nothing but the last line.
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    let output = flatland("test outcomes::halts");
    let last = "not recorded, because `target/guest/failures/outcomes-halts.rec` cannot be written (File exists (os error \
                17)): make room, or remove what is there\n";
    assert!(text(&output.stdout).contains(last), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(101));
    fs::remove_file(&folder).unwrap();
}

/// Removes addresses, register values, what is on the stack and the depth of a recursion, which depend on the compiler.
fn without_addresses(text: &str) -> String {
    let line = |line: &str| match line.trim_start().split(' ').next() {
        // The first line of the stack says how long a line is, and the others how deep it was.
        Some(word) if word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) => String::new(),
        Some("..:") if line.contains("the same") => "   ..: the same NUMBER times more\n".into(),
        Some("instruction") => "  instruction\n".into(),
        Some("eip") => "               eip NUMBER  eflags NUMBER\n".into(),
        _ => without_long_numbers(line),
    };
    text.split_inclusive('\n').map(line).collect()
}

fn the_heap_is_as_large_as_ram_allows() {
    fs::write(ELSEWHERE.join("src/bin/heap.rs"), include_str!("heap.guest.rs")).unwrap();
    for mebibytes in [16, 2048, 3072, MAX_RAM_SIZE >> 20] {
        let output = flatland(&format!("run heap --engine soft --memory {mebibytes}M"));
        let had: Vec<u32> = text(&output.stdout).lines().map(|line| line.parse().unwrap()).collect();
        let [first, second] = had[..] else { panic!("{mebibytes}M: {}", text(&output.stderr)) };
        let ram_size = mebibytes << 20;
        let room = Layout::new(ram_size, default_stack_size(ram_size)).heap_end >> 20;
        // The program and the allocator take some of the RAM.
        assert!((room - 3..=room).contains(&first), "{mebibytes}M: {first} of {room} MiB");
        assert_eq!(first, second, "{mebibytes}M");
    }
    fs::remove_file(ELSEWHERE.join("src/bin/heap.rs")).unwrap();
}

fn a_program_for_std_is_one_for_the_guest() {
    let source = include_str!("std_names.guest.rs");
    let head = "#![no_std]\n#![no_main]\nflatland_guest::entry!(main);\nuse core::fmt;\n\
                use flatland_guest::prelude::*;\n";
    let (documentation, code) = source.split_once("\n\n").unwrap();
    let guest = code.replace("use std::fmt;\n", "").replace("use std::", "use flatland_guest::");
    fs::write(ELSEWHERE.join("src/bin/names.rs"), format!("{documentation}\n{head}{guest}")).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (here, native) = (folder.join("names.rs"), folder.join("names"));
    fs::write(&here, source).unwrap();
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = run(Command::new(rustc).args(["--edition", "2024", "-o"]).arg(&native).arg(&here));
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));
    let built = flatland("build names");
    assert!(built.status.success(), "{}", text(&built.stderr));

    let input = folder.join("names.input");
    for (arguments, bytes) in [
        ("", &b""[..]),
        ("what", b""),
        ("exit", b""),
        ("read", b"first\r\nsecond\nthird\nfo\nabcdrest\nand the last"),
        ("read", b"\n\xff\nthird\nfourth\nabcdrest\nand \xfe"),
        ("read", b"one\ntwo"),
        ("read", b"first\nsecond\n\xff"),
    ] {
        fs::write(&input, bytes).unwrap();
        let outcome = |command: &mut Command| {
            let output = command.stdin(fs::File::open(&input).unwrap()).output().expect("it starts");
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let expected = outcome(Command::new(&native).args(arguments.split_whitespace()));
        let actual = outcome(&mut command(&format!("run names --engine soft -- {arguments}")));
        assert_eq!(actual, expected, "{arguments} {}", text(bytes));
    }
    // A shell reports 134 for the signal by which std's `abort` ends a program.
    let output = flatland("run names --engine soft -- abort");
    assert_eq!(output.status.code(), Some(134), "{}", text(&output.stderr));
    fs::remove_file(ELSEWHERE.join("src/bin/names.rs")).unwrap();
}

fn mistakes_are_explained() {
    const HEAD: &str = "#![no_std]\n#![no_main]\nflatland_guest::entry!(main);\n";
    for (name, main, explanations) in [
        (
            "argument",
            "fn main(_: u32) {}",
            ["function is expected to take 0 arguments, but it takes 1 argument", "src/bin/argument.rs"],
        ),
        (
            "number",
            "fn main() -> u8 { 1 }",
            [
                "`main` and tests return nothing, an `ExitCode`, a `Result` or `!`, and not `u8`",
                "`ExitCode` is `flatland_guest::process::ExitCode`: `ExitCode::from(7)` is status 7",
            ],
        ),
        (
            "later",
            "async fn main() {}",
            ["`main` and tests return nothing, an `ExitCode`, a `Result` or `!`", "src/bin/later.rs"],
        ),
        (
            "nameless",
            "fn main() { let _span = flatland_guest::span!(\"\"); }",
            ["give a span a name of 1 to 64 bytes, none of them zero", "src/bin/nameless.rs"],
        ),
        (
            "dropped",
            "#[deny(unused_must_use)] fn main() { flatland_guest::span!(\"a\"); }",
            ["a span ends where it is dropped: `let _span = span!(...)`", "src/bin/dropped.rs"],
        ),
    ] {
        with_program(name, &format!("{HEAD}{main}\n"), |message| {
            for explanation in explanations {
                assert!(message.contains(explanation), "{message}");
            }
        });
    }
    // The linker's message, and the command's where the compiler stops before the program is linked.
    with_program("nothing", "#![no_std]\n#![no_main]\nuse flatland_guest as _;\nfn main() {}\n", |message| {
        let line = "add the line `flatland_guest::entry!(main);`";
        assert!(
            message
                .contains(&format!("flatland: the program does not say what its main function is: {line}."))
        );
    });
    const LINES: [&str; 3] = ["#![no_std]", "#![no_main]", "flatland_guest::entry!(main);"];
    for present in 0..LINES.len() {
        let source = LINES[..present].join("\n") + "\nfn main() {}\n";
        let expected = format!(
            "flatland: src/bin/lines.rs is no guest program yet: add `{}`\n",
            LINES[present..].join("`, `")
        );
        with_program("lines", &source, |message| assert!(message.ends_with(&expected), "{message}"));
    }
}
