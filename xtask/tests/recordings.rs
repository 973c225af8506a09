//! Recordings by `cargo xtask`: `run --record`, `replay`, and `gdb --replay` with the real gdb.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Ended, file, lock, root, run_with_gdb, target};

/// The folder of this test's files.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// Runs xtask in this folder, with these words and this input.
fn xtask(here: &Path, line: &str, input: &[u8]) -> Ended {
    let mut command = Command::new("timeout");
    command.arg("300").arg(env!("CARGO_BIN_EXE_xtask")).args(line.split_whitespace());
    run_with_gdb(command.current_dir(here).env_remove("GDB").env_remove("FLATLAND_CARGO"), input)
}

/// A file for gdb's commands.
fn script(commands: &str) -> PathBuf {
    let path = file("recordings.gdb");
    fs::write(&path, commands).expect("it can be written");
    path
}

/// Records a run of a guest program.
fn record(to: &str, options: &str, input: &[u8]) -> Ended {
    let recording = file(to);
    let _ = fs::remove_file(&recording);
    xtask(root(), &format!("run {}", options.replace("FILE", &recording.display().to_string())), input)
}

const OUTPUT: &str = "xtask: the guest's output goes to target/guest/replay.output: --output chooses another file, or \
                      another terminal, as `tty` names it there\n";

#[test]
fn a_recorded_run_is_replayed_from_any_folder() {
    let _lock = lock();
    assert_eq!(record("answer.rec", "answer --record FILE", b"HAL"), Ended::new(0, "IBM", ""));
    // Relative to where the user stands; nothing is read.
    assert_eq!(xtask(folder(), "replay answer.rec", b"other"), Ended::new(0, "IBM", ""));
    let traced = xtask(folder(), "replay answer.rec --trace io", b"");
    let first = "trace: in  console     \"H\"    48  at 0x";
    assert!(
        traced.stderr.starts_with(first) && traced.stderr.contains(" (src/bin/answer.rs:15)"),
        "{traced:?}"
    );
    let limited = xtask(folder(), "replay answer.rec --max-instructions 4", b"");
    assert!(limited.stderr.starts_with("flatland: limit of 4 instructions reached"), "{limited:?}");
    assert_eq!(limited.status, Some(124));
    let message =
        "flatland: cannot replay `no.rec` (No such file or directory (os error 2)): check the path\n";
    assert_eq!(xtask(folder(), "replay no.rec", b""), Ended::new(125, "", message));
    let message = "xtask: `cargo xtask replay` needs a recording: `cargo xtask replay FILE`\n";
    assert_eq!(xtask(folder(), "replay", b""), Ended::new(2, "", message));
}

#[test]
fn gdb_opens_a_recorded_run_at_its_end_and_goes_back() {
    let _lock = lock();
    assert_eq!(record("back.rec", "answer --record FILE", b"HAL").status, Some(0));
    let commands = script(
        "break answer::main\nreverse-continue\ndelete\nbreak flatland_guest::console::write_byte\nreverse-continue\n\
         print byte as char\nreverse-continue\nprint byte as char\ncontinue\n",
    );
    let line = format!("gdb --replay back.rec --batch -x {}", commands.display());
    let Ended { stdout, stderr, .. } = xtask(folder(), &line, b"");
    let end = "flatland: the recording ends here, with status 0\n";
    assert_eq!(stderr, format!("{OUTPUT}{end}"), "{stdout}");
    let mut rest = &*stdout;
    for part in [
        "Program received signal SIGTRAP, ",
        " answer::main () at src/bin/answer.rs:",
        "write_byte (byte=77) at ",
        "'M'\n",
        "write_byte (byte=66) at ",
        "'B'\n",
        "write_byte (byte=77) at ",
    ] {
        rest = rest.split_once(part).unwrap_or_else(|| panic!("{part}: {stdout}{stderr}")).1;
    }
    let output = target().join("guest/replay.output");
    assert_eq!(fs::read_to_string(output).expect("it is there"), "IBM");
}

#[test]
fn a_failure_names_the_command_that_opens_it_in_gdb() {
    let _lock = lock();
    let recorded = record("failure.rec", "panic --record-on-failure FILE", b"*");
    assert_eq!(recorded.status, Some(101));
    let path = file("failure.rec");
    let message = format!(
        "flatland: recorded in `{0}`: `cargo xtask gdb --replay {0}` opens it in gdb at the failure\n",
        path.display()
    );
    assert!(recorded.stderr.ends_with(&message), "{recorded:?}");
    let line = format!("gdb --replay failure.rec --batch -x {}", script("backtrace\n").display());
    let Ended { stdout, stderr, .. } = xtask(folder(), &line, b"");
    let told = "guest panicked at src/bin/panic.rs:14:25:\nindex out of bounds: the len is 3 but the index is 42\n\
                flatland: the guest has panicked\n";
    // The calls follow.
    assert!(stderr.starts_with(&format!("{OUTPUT}{told}")), "{stderr}");
    for part in
        ["\nProgram received signal SIGABRT, Aborted.\n", " in panic::main () at src/bin/panic.rs:14\n"]
    {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}

#[test]
fn a_program_that_is_no_longer_what_it_was_gives_no_names() {
    let _lock = lock();
    assert_eq!(record("names.rec", "shout --record FILE", b"a").stdout, "A");
    let elf = target().join("guest/shout.elf");
    let kept = file("kept.elf");
    fs::copy(&elf, &kept).expect("it is there");
    fs::write(file("empty.gdb"), "").expect("it can be written");
    let commands = script("info symbol $eip\n").display().to_string();
    let open =
        |more: &str| xtask(folder(), &format!("gdb --replay names.rec {more} --batch -x {commands}"), b"");
    let end = "flatland: the recording ends here, with status 0\n";
    assert!(open("").stdout.contains(" in section .text"));

    // It is built again as it was, whatever was built since.
    for command in ["build shout --release", "gdb shout --batch -x empty.gdb"] {
        assert_eq!(xtask(folder(), command, b"").status, Some(0));
        assert!(open("").stdout.contains(" in section .text"), "{command}");
    }
    fs::remove_file(&elf).expect("it is there");
    assert!(open("").stdout.contains(" in section .text"));

    // The same for a program that this crate does not build.
    let (copy, elf) = (file("copied.bin"), file("copied.elf"));
    fs::copy(target().join("guest/shout.bin"), &copy).expect("it is there");
    fs::copy(&kept, &elf).expect("it is there");
    let record = format!(
        "flatland --record {} --symbols {} {}",
        file("names.rec").display(),
        elf.display(),
        copy.display()
    );
    assert_eq!(xtask(folder(), &record, b"a").stdout, "A");
    assert!(open("").stdout.contains(" in section .text"));
    // gdb would take the names of another program for those of this one.
    fs::copy(target().join("guest/hello.elf"), &elf).expect("it can be written");
    let Ended { stdout, stderr, .. } = open("");
    let (before, behind) =
        (format!("{OUTPUT}flatland: no names from {} (", elf.display()), "replay names.rec ELF`\n");
    assert!(stderr.starts_with(&before) && stderr.contains(behind) && stderr.ends_with(end), "{stderr}");
    assert!(stdout.ends_with("\nNo symbol matches $eip.\n"), "{stdout}");

    fs::remove_file(&elf).expect("it is there");
    let Ended { stdout, stderr, .. } = open("");
    let message = format!(
        "xtask: gdb has no names, because the program is no longer at {}: build it again as it was, or give a copy of its \
         ELF file, `cargo xtask gdb --replay FILE ELF`\n{OUTPUT}",
        elf.display()
    );
    // gdb has a warning of its own between.
    assert!(stderr.starts_with(&message) && stderr.ends_with(end), "{stderr}");
    assert!(stdout.ends_with("\nNo symbol matches $eip.\n"), "{stdout}");
    let Ended { stdout, stderr, .. } = open("kept.elf");
    assert_eq!(stderr, format!("{OUTPUT}{end}"));
    assert!(stdout.contains(" in section .text"), "{stdout}");
}

#[test]
fn what_gdb_cannot_replay_is_said() {
    let _lock = lock();
    let message = "flatland: cannot read `no.rec` (No such file or directory (os error 2)): check the path\n";
    assert_eq!(xtask(folder(), "gdb --replay no.rec", b""), Ended::new(125, "", message));
    let elf = target().join("guest/hello.elf");
    let message = format!(
        "flatland: cannot read `{}`: it is no recording: give a file that --record has written\n",
        elf.display()
    );
    assert_eq!(
        xtask(folder(), &format!("gdb --replay {}", elf.display()), b""),
        Ended::new(125, "", &message)
    );
    let message = "xtask: a replay has the program and the input of its run: leave out --input\n";
    assert_eq!(xtask(folder(), "gdb --replay no.rec --input a", b""), Ended::new(2, "", message));
}
