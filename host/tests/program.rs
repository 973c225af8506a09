//! The program `flatland` from the shell's side: exact standard output, standard error and status, with each
//! engine.

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
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
                     diagnostics (out), 0xeb input ready (in), 0xf4 exit (out)";
const EXCEPTION: &str =
    "correct the instruction there, or handle the exception with an IDT of the guest's own";

/// An image file of this test's own.
fn image(test: &str, code: &[u8]) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{number}.bin"));
    fs::write(&path, code).expect("the folder for tests can be written");
    path
}

fn flatland(engine: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flatland"));
    command.args(["--engine", engine]).stdin(Stdio::null());
    command
}

/// A shell command with `$flatland` and `$image`.
fn shell(engine: &str, script: &str, image: &Path) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", script]).env("image", image);
    // Not quoted in the scripts, so that it is three words.
    command.env("flatland", format!("{} --engine {engine}", env!("CARGO_BIN_EXE_flatland")));
    command.stdin(Stdio::null());
    command
}

#[track_caller]
fn assert_ended(output: Output, status: i32, stdout: &str, stderr: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let actual = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(actual, (Some(status), stdout.to_owned(), stderr.to_owned()));
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

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("the child is there");
}

/// Reads exactly this from the child's output, however long it takes to come.
#[track_caller]
fn assert_says(child: &mut Child, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    child.stdout.as_mut().expect("it is piped").read_exact(&mut bytes).expect("the child goes on");
    assert_eq!(bytes, expected);
}

/// Makes two tests of each function: one with the engine `soft`, and one with `kvm`.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        mod soft {
            $(#[test] fn $test() { super::$test("soft"); })*
        }
        mod kvm {
            $(#[test] fn $test() {
                if common::engines().contains(&Choice::Kvm) {
                    super::$test("kvm");
                }
            })*
            use flatland::engine::choice::Choice;
            use super::common;
        }
    };
}

on_each_engine! {
    input_is_answered,
    output_is_there_before_the_guest_waits_for_input,
    output_is_there_while_the_guest_computes,
    the_two_output_streams_keep_their_order,
    closed_standard_input_is_the_end_of_input,
    closed_standard_output_is_an_error,
    complaints_that_nobody_reads_change_nothing,
    a_directory_is_no_input,
    standard_input_may_be_non_blocking,
    a_full_standard_output_is_an_error,
    a_reader_that_leaves_ends_the_run_quietly,
    a_message_begins_a_line,
    megabytes_pass,
    an_image_may_fill_ram_to_the_last_byte,
    an_image_may_come_from_a_pipe,
    ram_is_as_large_as_asked_for,
    symbols_that_are_none_spoil_no_report,
    faults_are_named,
    output_before_a_fault_is_not_lost,
    the_time_limit_ends_a_busy_guest_and_keeps_its_output,
    the_time_limit_ends_a_guest_that_waits,
    the_time_limit_ends_a_guest_whose_reader_does_not_read,
    the_time_limit_ends_a_run_whose_last_output_nobody_reads,
    a_blocked_alarm_does_not_disarm_the_time_limit,
    ctrl_c_ends_a_busy_guest_and_keeps_its_output,
    ctrl_c_ends_a_guest_that_waits,
    sigterm_ends_a_run_in_good_order,
    a_second_ctrl_c_ends_the_program_that_cannot_end_in_good_order,
    an_ignored_signal_stays_ignored,
    stops_and_window_changes_do_not_disturb_a_run,
    a_terminal_sees_output_and_message_apart,
}

// Input and output

fn input_is_answered(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("answered", SUCCESSOR)));
    child.stdin.take().unwrap().write_all(b"HAL").unwrap();
    assert_ended(child.wait_with_output().unwrap(), 0, "IBM", "");
}

fn output_is_there_before_the_guest_waits_for_input(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("interactive", SAY_AND_ASK)));
    assert_says(&mut child, b"A");
    child.stdin.take().unwrap().write_all(b"B").unwrap();
    assert_ended(child.wait_with_output().unwrap(), 0, "B", "");
}

fn output_is_there_while_the_guest_computes(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("computing", SAY_AND_SPIN)));
    assert_says(&mut child, b"A");
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
}

fn the_two_output_streams_keep_their_order(engine: &str) {
    // 0: mov al, 'a'; out 0xe9; out 0xea; mov al, 'b'; out 0xea; out 0xe9; hlt
    let code = [0xb0, b'a', 0xe6, 0xe9, 0xe6, 0xea, 0xb0, b'b', 0xe6, 0xea, 0xe6, 0xe9, 0xf4];
    let output = shell(engine, "exec $flatland $image 2>&1", &image("order", &code)).output().unwrap();
    assert_ended(output, 0, "aabb", "");
}

fn closed_standard_input_is_the_end_of_input(engine: &str) {
    let output = shell(engine, "exec $flatland $image <&-", &image("closed", SUCCESSOR)).output().unwrap();
    assert_ended(output, 0, "", "");
}

fn closed_standard_output_is_an_error(engine: &str) {
    let output =
        shell(engine, "exec $flatland $image >&-", &image("closed-output", SAY_AND_ASK)).output().unwrap();
    let message =
        "flatland: standard output is closed: redirect it to a file, or to /dev/null for no output\n";
    assert_ended(output, 125, "", message);
}

fn complaints_that_nobody_reads_change_nothing(engine: &str) {
    // mov al, 'd'; out 0xea, al; mov al, 7; out 0xf4, al
    let image = image("stderr", &[0xb0, b'd', 0xe6, 0xea, 0xb0, 7, 0xe6, 0xf4]);
    for script in ["exec $flatland $image 2> /dev/full", "exec $flatland $image 2>&-"] {
        assert_ended(shell(engine, script, &image).output().unwrap(), 7, "", "");
    }
}

fn a_directory_is_no_input(engine: &str) {
    let mut command = shell(engine, "exec $flatland $image < /", &image("input-directory", SAY_AND_ASK));
    let message = "flatland: standard input is a directory: redirect it from a file, or from /dev/null for no \
                   input\n";
    assert_ended(command.output().unwrap(), 125, "A", message);
}

fn standard_input_may_be_non_blocking(engine: &str) {
    // Python leaves the pipe non-blocking for both ends' programs, and writes late.
    let script = "(sleep 0.2; printf HAL) | python3 -c 'import os, sys; os.set_blocking(0, False); \
                  os.execv(sys.argv[1], sys.argv[1:])' $flatland $image";
    let output = shell(engine, script, &image("non-blocking", SUCCESSOR)).output().unwrap();
    assert_ended(output, 0, "IBM", "");
}

fn a_full_standard_output_is_an_error(engine: &str) {
    let mut command = shell(engine, "exec $flatland $image > /dev/full", &image("full", SAY_AND_FAULT));
    let message = "flatland: standard output is full (No space left on device (os error 28)): make room, or \
                   send it elsewhere; 1 bytes of output are lost\n";
    assert_ended(command.output().unwrap(), 125, "", message);
}

fn a_reader_that_leaves_ends_the_run_quietly(engine: &str) {
    let script = "$flatland $image | head -c1; echo ${PIPESTATUS[0]}";
    let output = shell(engine, script, &image("reader-leaves", SAY_FOR_EVER)).output().unwrap();
    assert_ended(output, 0, "y141\n", "");
}

fn a_message_begins_a_line(engine: &str) {
    assert_run(
        engine,
        "mid-line",
        LOG_AND_FAULT,
        &[],
        134,
        "",
        &format!("A\nflatland: invalid opcode (#UD) at 0x00000004: {EXCEPTION}\n"),
    );
}

fn megabytes_pass(engine: &str) {
    let input: Vec<u8> = (0..3_000_000_u32).map(|index| (index ^ index >> 8 ^ index >> 16) as u8).collect();
    // 0: mov edx, 0xe9; 5: mov edi, 0x1000; a: mov ecx, 3000000; f: rep insb
    // 11: mov esi, 0x1000; 16: mov ecx, 3000000; 1b: rep outsb; 1d: hlt
    let count = (input.len() as u32).to_le_bytes();
    let code = [
        &[0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x10, 0, 0, 0xb9][..],
        &count,
        &[0xf3, 0x6c, 0xbe, 0, 0x10, 0, 0, 0xb9],
        &count,
        &[0xf3, 0x6e, 0xf4],
    ]
    .concat();
    // A part of it out, or the test would take half a minute where each byte is an exit.
    let part = (input.len() as u32 / 30).to_le_bytes();
    let code = [&code[..code.len() - 7], &part, &code[code.len() - 3..]].concat();
    let mut child = spawn(flatland(engine).arg(image("megabytes", &code)));
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn({
        let input = input.clone();
        move || stdin.write_all(&input)
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == input[..input.len() / 30], "the bytes are the same");
}

// What there is to run

#[test]
fn images_that_cannot_be_run() {
    let missing = PathBuf::from("/no/such/image.bin");
    let directory = PathBuf::from("/");
    let unreadable = image("unreadable", HALT);
    fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o000)).unwrap();
    let large = image("large", &vec![0xf4; 16 << 10]);
    for (path, options, why) in [
        (&missing, &[][..], "there is no such file: check the path, or build it with `cargo xtask build`"),
        (&directory, &[], "it is a directory: name the image inside it, such as target/guest/answer.bin"),
        (&image("empty", b""), &[], "it is empty: a flat image begins with the instruction at address 0"),
        (
            &large,
            &["--memory", "8K"],
            "its 16384 bytes are more than the machine's 8K of RAM: give it more with --memory SIZE",
        ),
        (
            &image("elf", b"\x7fELF and so on"),
            &[],
            "it is an ELF file, not a flat image: `cargo xtask build` makes a .bin beside each .elf; give \
             the ELF as --symbols",
        ),
    ] {
        let output = flatland("soft").args(options).arg(path).output().unwrap();
        let message = format!("flatland: cannot run `{}`: {why}\n", path.display());
        assert_ended(output, 125, "", &message);
    }
    // Root may read everything, so this is tried as a user without any rights.
    let output = shell("soft", "exec unshare --user $flatland $image", &unreadable).output().unwrap();
    let why = "no permission to read it: `chmod +r` it, or run as its owner";
    let message = format!("flatland: cannot run `{}`: {why}\n", unreadable.display());
    assert_ended(output, 125, "", &message);
}

fn an_image_may_fill_ram_to_the_last_byte(engine: &str) {
    assert_run(engine, "exact", &[0xf4; 8 << 10], &["--memory", "8K"], 0, "", "");
}

fn an_image_may_come_from_a_pipe(engine: &str) {
    let output = shell(engine, "exec $flatland <(cat $image)", &image("pipe", SAY_AND_ASK)).output().unwrap();
    assert_ended(output, 0, "A", "");
}

#[test]
fn an_endless_image_does_not_fit() {
    let output = flatland("soft").args(["--memory", "64K", "/dev/zero"]).output().unwrap();
    let message = "flatland: cannot run `/dev/zero`: its 65537 bytes are more than the machine's 64K of RAM: \
                   give it more with --memory SIZE\n";
    assert_ended(output, 125, "", message);
}

fn ram_is_as_large_as_asked_for(engine: &str) {
    // 0: push 0; 2: mov eax, [0xfffc]; 7: mov al, [0x10000]
    let code = [0x6a, 0x00, 0xa1, 0xfc, 0xff, 0, 0, 0xa0, 0, 0, 1, 0];
    let message = "flatland: read outside RAM at 0x00010000, by the instruction at 0x00000007: RAM ends at \
                   0x00010000: mend the pointer, or give more RAM with --memory SIZE\n";
    assert_run(engine, "memory", &code, &["--memory", "64K"], 134, "", message);
    // As large as can be: the last byte is there.
    let code = [0x68, 0, 0, 0, 0, 0xa0, 0xff, 0xff, 0xff, 0xef, 0xf4];
    assert_run(engine, "memory-most", &code, &["--memory", "3840M"], 0, "", "");
}

#[test]
fn a_missing_symbol_file_is_told_at_once() {
    let options = ["--symbols", "/no/such.elf"];
    let message = "flatland: cannot read --symbols `/no/such.elf` (No such file or directory (os error 2)): \
                   check the path\n";
    assert_run("soft", "no-symbols", SAY_AND_FAULT, &options, 125, "", message);
}

fn symbols_that_are_none_spoil_no_report(engine: &str) {
    let elf = image("wrong-symbols-elf", b"not an ELF file");
    let output =
        flatland(engine).arg("--symbols").arg(&elf).arg(image("wrong-symbols", SAY_AND_FAULT)).output();
    let message = format!(
        "flatland: invalid opcode (#UD) at 0x00000004: {EXCEPTION}\n\
         flatland: no names from {} (Could not read file magic): give --symbols the ELF file that the image was \
         made of\n",
        elf.display()
    );
    assert_ended(output.unwrap(), 134, "A", &message);
}

// Wrong command lines

#[test]
fn wrong_command_lines() {
    let hint = "; `flatland --help` lists what there is";
    for (args, message) in [
        (&[][..], "no image is given"),
        (&["a.bin", "b.bin"], "`b.bin` is one argument too many, after the image `a.bin`"),
        (&["--fast", "a.bin"], "there is no option `--fast`"),
        (&["--memory", "0", "a.bin"], "--memory `0` is no size for RAM: give at least 4K"),
        (
            &["--memory", "much", "a.bin"],
            "--memory `much` is not a size: give a number of bytes, or one with K, M or G, such as 16M",
        ),
        (
            &["--memory", "4G", "a.bin"],
            "--memory `4G` is more than the address space leaves for RAM: give at most 3840M",
        ),
        (
            &["--timeout", "soon", "a.bin"],
            "--timeout `soon` is not a time: give seconds above 0, such as 10 or 0.5",
        ),
    ] {
        let output = flatland("soft").args(args).output().unwrap();
        assert_ended(output, 2, "", &format!("flatland: {message}{hint}\n"));
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let output = flatland("soft").arg("--help").output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
    assert!(output.stdout.starts_with(b"Run a flat image on a bare 32-bit processor.\n"));
    let version = concat!("flatland ", env!("CARGO_PKG_VERSION"), "\n");
    assert_ended(flatland("soft").arg("--version").output().unwrap(), 0, version, "");
    let output = shell("soft", "exec $flatland --help > /dev/full", &PathBuf::new()).output().unwrap();
    let message = "flatland: standard output cannot be written (No space left on device (os error 28)): send it \
                   elsewhere\n";
    assert_ended(output, 125, "", message);
}

// Faults

fn faults_are_named(engine: &str) {
    let fault = |test, code: &[u8], message: &str| {
        assert_run(engine, test, code, &[], 134, "", &format!("flatland: {message}\n"));
    };
    // What KVM tells of an `out` or a store is after it has been done.
    let place = |at: u32, end: u32| match engine {
        "kvm" => format!("just before {end:#010x}"),
        _ => format!("at {at:#010x}"),
    };
    // 0: mov dx, 0x3f8; 4: out dx, al
    let message = format!("unknown port 0x3f8 (out, 1 byte) {}: {PORTS}", place(4, 5));
    fault("port", &[0x66, 0xba, 0xf8, 0x03, 0xee], &message);
    // 0: xor ecx, ecx; 2: div ecx
    let message = format!("divide error (#DE) at 0x00000002: {EXCEPTION}");
    fault("divide", &[0x31, 0xc9, 0xf7, 0xf1], &message);
    // 0: mov [0x2000000], al
    let message = format!(
        "write outside RAM at 0x02000000, by the instruction {}: RAM ends at 0x01000000: mend the pointer, or \
         give more RAM with --memory SIZE",
        place(0, 5)
    );
    fault("write", &[0xa2, 0, 0, 0, 2], &message);
    // 0: mov eax, 0x2000000; 5: jmp eax
    let message = "execution outside RAM at 0x02000000: RAM ends at 0x01000000: look for a jump that went wrong, or \
                   code that runs on past its end for want of a `hlt`";
    fault("jump", &[0xb8, 0, 0, 0, 2, 0xff, 0xe0], message);
}

fn output_before_a_fault_is_not_lost(engine: &str) {
    let message = format!("flatland: invalid opcode (#UD) at 0x00000004: {EXCEPTION}\n");
    assert_run(engine, "before-fault", SAY_AND_FAULT, &[], 134, "A", &message);
}

// The time limit and signals

fn the_time_limit_ends_a_busy_guest_and_keeps_its_output(engine: &str) {
    let message = "flatland: time limit of 0.2 s reached, the guest at 0x00000004: give it more with --timeout \
                   SECONDS\n";
    assert_run(engine, "limit-busy", SAY_AND_SPIN, &["--timeout", "0.2"], 124, "A", message);
}

fn the_time_limit_ends_a_guest_that_waits(engine: &str) {
    let mut command = flatland(engine);
    let mut child = spawn(command.args(["--timeout", "0.2"]).arg(image("limit-waiting", SAY_AND_ASK)));
    let stdin = child.stdin.take();
    let message = "flatland: time limit of 0.2 s reached, the guest at 0x00000004: give it more with --timeout \
                   SECONDS\n";
    assert_ended(child.wait_with_output().unwrap(), 124, "A", message);
    drop(stdin);
}

fn the_time_limit_ends_a_guest_whose_reader_does_not_read(engine: &str) {
    let mut command = flatland(engine);
    let mut child = spawn(command.args(["--timeout", "1.5"]).arg(image("limit-stuck", SAY_FOR_EVER)));
    let start = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(124));
    // A second for the last output; the rest is for a machine under load.
    assert!(start.elapsed() < Duration::from_secs(15));
}

fn the_time_limit_ends_a_run_whose_last_output_nobody_reads(engine: &str) {
    // The pipe is full before the guest says its one byte and halts.
    let script = "(head -c 65536 /dev/zero; $flatland --timeout 0.3 $image; echo $? >&2) | sleep 4";
    // mov al, 'A'; out 0xe9, al; hlt
    let output =
        shell(engine, script, &image("limit-last", &[0xb0, b'A', 0xe6, 0xe9, 0xf4])).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.starts_with("flatland: time limit of 0.3 s reached, the guest "), "{stderr}");
    assert!(stderr.ends_with("\n124\n"), "{stderr}");
}

fn a_blocked_alarm_does_not_disarm_the_time_limit(engine: &str) {
    let script = "exec python3 -c 'import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, \
                  [signal.SIGALRM]); os.execv(sys.argv[1], sys.argv[1:])' $flatland --timeout 0.2 $image";
    let output = shell(engine, script, &image("limit-blocked", SAY_AND_SPIN)).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(124), &b"A"[..]));
}

fn ctrl_c_ends_a_busy_guest_and_keeps_its_output(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("ctrl-c", SAY_AND_SPIN)));
    assert_says(&mut child, b"A");
    signal(&child, Signal::SIGINT);
    let message = "flatland: interrupted by Ctrl-C, the guest at 0x00000004: --timeout SECONDS ends a run by \
                   itself\n";
    assert_ended(child.wait_with_output().unwrap(), 130, "", message);
}

fn ctrl_c_ends_a_guest_that_waits(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("ctrl-c-waiting", SAY_AND_ASK)));
    assert_says(&mut child, b"A");
    let stdin = child.stdin.take();
    signal(&child, Signal::SIGINT);
    let message = "flatland: interrupted by Ctrl-C, the guest at 0x00000004: --timeout SECONDS ends a run by \
                   itself\n";
    assert_ended(child.wait_with_output().unwrap(), 130, "", message);
    drop(stdin);
}

fn sigterm_ends_a_run_in_good_order(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("sigterm", SAY_AND_SPIN)));
    assert_says(&mut child, b"A");
    signal(&child, Signal::SIGTERM);
    let message = "flatland: ended by SIGTERM, the guest at 0x00000004: run it again if that was not meant\n";
    assert_ended(child.wait_with_output().unwrap(), 143, "", message);
}

fn a_second_ctrl_c_ends_the_program_that_cannot_end_in_good_order(engine: &str) {
    // It is stuck in its last output, because nobody reads.
    let mut child = spawn(flatland(engine).arg(image("ctrl-c-twice", SAY_FOR_EVER)));
    thread::sleep(Duration::from_millis(1500));
    signal(&child, Signal::SIGINT);
    thread::sleep(Duration::from_millis(100));
    signal(&child, Signal::SIGINT);
    let status = child.wait().unwrap();
    // By the signal itself, or in good order where the last output was given up before.
    let by_signal = std::os::unix::process::ExitStatusExt::signal(&status) == Some(2);
    assert!(by_signal || status.code() == Some(130), "{status}");
}

fn an_ignored_signal_stays_ignored(engine: &str) {
    let script = "trap '' HUP; exec $flatland --timeout 0.5 $image";
    let mut child = spawn(&mut shell(engine, script, &image("nohup", SAY_AND_SPIN)));
    assert_says(&mut child, b"A");
    signal(&child, Signal::SIGHUP);
    assert_eq!(child.wait().unwrap().code(), Some(124));
}

fn stops_and_window_changes_do_not_disturb_a_run(engine: &str) {
    // One run that waits for input, and one that computes.
    let mut waiting = spawn(flatland(engine).arg(image("stops-waiting", SAY_AND_ASK)));
    let mut busy = spawn(flatland(engine).args(["--timeout", "1"]).arg(image("stops-busy", SAY_AND_SPIN)));
    for child in [&mut waiting, &mut busy] {
        assert_says(child, b"A");
    }
    for signal_sent in [Signal::SIGWINCH, Signal::SIGSTOP, Signal::SIGCONT, Signal::SIGWINCH] {
        for child in [&waiting, &busy] {
            signal(child, signal_sent);
        }
        thread::sleep(Duration::from_millis(20));
    }
    waiting.stdin.take().unwrap().write_all(b"B").unwrap();
    assert_ended(waiting.wait_with_output().unwrap(), 0, "B", "");
    assert_eq!(busy.wait().unwrap().code(), Some(124));
}

fn a_terminal_sees_output_and_message_apart(engine: &str) {
    // script(1) gives it a terminal for all three streams; lines end in \r\n there.
    let image = image("terminal", SAY_AND_FAULT);
    let command = format!("{} --engine {engine} {}", env!("CARGO_BIN_EXE_flatland"), image.display());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::from(File::open("/dev/null").unwrap()))
        .output()
        .expect("script(1) is there");
    let message = format!("A\r\nflatland: invalid opcode (#UD) at 0x00000004: {EXCEPTION}\r\n");
    assert_ended(output, 134, &message, "");
}

// Which engine

/// Runs flatland where /dev holds nothing but what this script puts there, as a user without any rights.
fn with_another_dev(engine: &str, test: &str, script: &str) -> Output {
    let script = format!(
        "exec unshare --map-root-user --mount bash -c 'mount -t tmpfs none /dev && {script} && exec unshare \
         --user $flatland $image'"
    );
    let output = shell(engine, &script, &image(test, SAY_AND_FAULT)).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.starts_with("flatland: "),
        "this test needs user namespaces, and this is what it got: {stderr}"
    );
    output
}

#[test]
fn without_kvm_there_is_advice() {
    let message = "flatland: there is no /dev/kvm: KVM needs Linux on a processor with virtualization \
                   enabled; load its module with `sudo modprobe kvm-intel` or `sudo modprobe kvm-amd`, or \
                   enable nested virtualization if this is itself a virtual machine; or choose --engine soft\n";
    assert_ended(with_another_dev("kvm", "no-kvm", "true"), 125, "", message);
}

#[test]
fn without_permission_for_kvm_there_is_advice() {
    let message = "flatland: no permission to open /dev/kvm: no group has access; give it to group `kvm` with \
                   `sudo groupadd -f kvm; sudo chgrp kvm /dev/kvm; sudo chmod g+rw /dev/kvm`, join with `sudo \
                   usermod -aG kvm $USER` and log in again; or choose --engine soft\n";
    let script = "touch /dev/kvm && chmod 000 /dev/kvm";
    assert_ended(with_another_dev("kvm", "no-permission", script), 125, "", message);
}

#[test]
fn another_kvm_device_is_not_taken_for_it() {
    let script = "touch /dev/kvm && chmod 666 /dev/kvm";
    let message =
        "flatland: /dev/kvm is not KVM's device: look at it with `ls -l /dev/kvm`; or choose --engine soft\n";
    assert_ended(with_another_dev("kvm", "not-kvm", script), 125, "", message);
}

#[test]
fn auto_falls_back_and_says_why() {
    let message = format!(
        "flatland: running on the soft engine, because there is no /dev/kvm: KVM needs Linux on a processor with \
         virtualization enabled; load its module with `sudo modprobe kvm-intel` or `sudo modprobe kvm-amd`, or \
         enable nested virtualization if this is itself a virtual machine\n\
         flatland: invalid opcode (#UD) at 0x00000004: {EXCEPTION}\n"
    );
    assert_ended(with_another_dev("auto", "fall-back", "true"), 134, "A", &message);
}

#[test]
fn auto_takes_the_engine_that_can_do_what_is_asked_for() {
    let options = ["--max-instructions", "3"];
    let output = flatland("auto").args(options).arg(image("limit", SAY_FOR_EVER)).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("flatland: running on the soft engine, because "), "{stderr}");
    let message = "flatland: limit of 3 instructions reached, the guest at 0x00000002: give it more with \
                   --max-instructions COUNT\n";
    assert!(stderr.ends_with(message), "{stderr}");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(124), &b"y"[..]));
}

#[test]
fn stats_are_one_line_in_the_end() {
    let output = flatland("soft").arg("--stats").arg(image("stats", SAY_AND_ASK)).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let expected = "flatland: stats: soft, 2 instructions, 2 exits for I/O, console in 1 (1 bytes), console out 1 (1 \
                    bytes), 0 kicks, ";
    assert!(stderr.starts_with(expected) && stderr.ends_with(" ms\n"), "{stderr}");
    assert_eq!((output.status.code(), &output.stdout[..], stderr.lines().count()), (Some(0), &b"A"[..], 1));
}
