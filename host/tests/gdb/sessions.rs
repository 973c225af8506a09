//! Sessions of the real gdb.

use std::io::Write;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use flatland::EngineChoice;

use crate::common::engines;
use crate::{Ended, Waiting, assert_lines};

/// 0: nop; 1: inc eax; 2: jmp 1
const SPIN: &[u8] = &[0x90, 0x40, 0xeb, 0xfd];
/// 0: in al, 0xe9; 2: out 0xe9, al; 4: jmp 0
const ECHO: &[u8] = &[0xe4, 0xe9, 0xe6, 0xe9, 0xeb, 0xfa];

/// Ctrl-C, 0.4 s after the next command.
const INTERRUPT: &str = "shell (sleep 0.4; kill -INT $PPID) &\n";

/// Runs this code on each engine with these commands. Checks gdb's lines, and the status and output of the run.
#[track_caller]
fn assert_session(code: &[u8], commands: &str, lines: &[&str], status: i32, stdout: &str, stderr: &str) {
    for engine in engines() {
        let waiting = Waiting::new(code, &["--engine", engine.name()]);
        let said = waiting.gdb(commands);
        assert_lines(&said, lines);
        let expected = Ended { status: Some(status), stdout: stdout.into(), stderr: stderr.into() };
        assert_eq!(waiting.end(), expected, "{engine:?}: {said}");
    }
}

#[test]
fn a_busy_loop_is_interrupted_and_killed() {
    let commands = format!("{INTERRUPT}continue\nprint $eax > 1000\nprint $eip == 1 || $eip == 2\nkill\n");
    let lines =
        ["Program received signal SIGINT, Interrupt.", "$1 = 1", "$2 = 1", "[Inferior 1 (process 1) killed]"];
    assert_session(SPIN, &commands, &lines, 137, "", "");
}

#[test]
fn a_wait_for_input_is_interrupted_and_goes_on() {
    for engine in engines() {
        let (reader, mut writer) = std::io::pipe().expect("there are pipes");
        let waiting = Waiting::reading(reader, ECHO, &["--engine", engine.name()]);
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(1500));
            writer.write_all(b"HA").expect("it is read");
            thread::sleep(Duration::from_millis(1500));
            writer.write_all(b"L").expect("it is read");
        });
        // Setting a register gives up the unfinished `in`, so the instruction is executed again.
        let said = waiting.gdb(&format!(
            "{INTERRUPT}continue\nprint $eip\nset var $ebx = 7\n{INTERRUPT}continue\nprint $eip\nprint $ebx\nstepi\n\
             print $al\nbreak *2\ncontinue\nprint $al\ndelete\n{INTERRUPT}continue\nprint $eip\ndetach\n"
        ));
        let eip = "(void (*)()) 0x0";
        assert_lines(
            &said,
            &[
                "Program received signal SIGINT, Interrupt.",
                &format!("$1 = {eip}"),
                "Program received signal SIGINT, Interrupt.",
                &format!("$2 = {eip}"),
                "$3 = 7",
                "$4 = 72",
                "Breakpoint 1, 0x00000002 in ?? ()",
                "$5 = 65",
                "Program received signal SIGINT, Interrupt.",
                &format!("$6 = {eip}"),
                "[Inferior 1 (process 1) detached]",
            ],
        );
        writer.join().expect("it has written all");
        let expected = Ended { status: Some(0), stdout: "HAL".into(), stderr: String::new() };
        assert_eq!(waiting.end(), expected, "{engine:?}: {said}");
    }
}

#[test]
fn any_number_of_breakpoints_and_each_is_met() {
    // Twelve times nop, and hlt.
    let mut code = [0x90; 13];
    code[12] = 0xf4;
    let breaks: String = [1, 3, 4, 6, 8, 9, 12].map(|at| format!("break *{at}\n")).concat();
    let commands = format!("{breaks}hbreak *10\n{}", "continue\n".repeat(9));
    let lines = [
        "Breakpoint 1, 0x00000001 in ?? ()",
        "Breakpoint 2, 0x00000003 in ?? ()",
        "Breakpoint 3, 0x00000004 in ?? ()",
        "Breakpoint 4, 0x00000006 in ?? ()",
        "Breakpoint 5, 0x00000008 in ?? ()",
        "Breakpoint 6, 0x00000009 in ?? ()",
        "Breakpoint 8, 0x0000000a in ?? ()",
        "Breakpoint 7, 0x0000000c in ?? ()",
        "[Inferior 1 (process 1) exited normally]",
    ];
    assert_session(&code, &commands, &lines, 0, "", "");
}

#[test]
fn steps_end_where_the_run_does() {
    // 0: mov al, 3; 2: out 0xf4, al
    let lines = ["0x00000002 in ?? ()", "[Inferior 1 (process 1) exited with code 03]"];
    assert_session(&[0xb0, 3, 0xe6, 0xf4], "stepi\nstepi\n", &lines, 3, "", "");
    // 0: nop; 1: hlt
    let lines = ["0x00000001 in ?? ()", "[Inferior 1 (process 1) exited normally]"];
    assert_session(&[0x90, 0xf4], "stepi\nstepi\n", &lines, 0, "", "");
    // 0: in al, 0xe9, at the end of input
    assert_session(ECHO, "stepi\n", &["[Inferior 1 (process 1) exited normally]"], 0, "", "");
}

#[test]
fn registers_and_memory_are_read_and_written() {
    // 0: mov al, [0x100]; 5: out 0xe9, al; 7: mov al, bl; 9: out 0xe9, al; b: hlt
    let code = [0xa0, 0, 1, 0, 0, 0xe6, 0xe9, 0x88, 0xd8, 0xe6, 0xe9, 0xf4];
    let commands = "set var *(char*)0x100 = 'H'\nset var $ebx = 'i'\nx/bx 0x100\ninfo registers ebx esp eflags cs ss st0\n\
                    x/bx 0x1000000\nx/2bx 0xffffff\nprint $eip = 0\nset var $cs = 3\ncontinue\n";
    for engine in engines() {
        let waiting = Waiting::new(&code, &["--engine", engine.name()]);
        // An error ends a script, so each has a script of its own.
        let said = waiting.gdb(commands);
        let lines = [
            "0x100:\t0x48",
            "ebx            0x69                105",
            "esp            0x1000000           0x1000000",
            "eflags         0x2                 [ ]",
            "cs             0x8                 8",
            "ss             0x10                16",
            "st0            0                   (raw 0x00000000000000000000)",
            "Cannot access memory at address 0x1000000",
        ];
        assert_lines(&said, &lines);
        // gdb has ended in the middle of its script.
        assert_eq!(waiting.end().status, Some(137), "{said}");

        let waiting = Waiting::new(&code, &["--engine", engine.name()]);
        let said = waiting.gdb("set var *(char*)0x100 = 'H'\nset var $ebx = 'i'\ncontinue\n");
        assert_eq!(waiting.end().stdout, "Hi", "{said}");
        let waiting = Waiting::new(&code, &["--engine", engine.name()]);
        let said = waiting.gdb("set var $cs = 3\n");
        assert_lines(&said, &["Could not write register \"cs\"; remote failure reply 'E79'"]);
        assert_eq!(waiting.end().status, Some(137), "{said}");
    }
}

#[test]
fn a_fault_can_be_looked_at() {
    let outside = "flatland: write outside RAM at 0xb8000000";
    for (code, signal, at) in [
        // 0: xor ecx, ecx; 2: div ecx
        (&[0x31, 0xc9, 0xf7, 0xf1][..], "SIGFPE, Arithmetic exception.", 2),
        // 0: nop; 1: ud2
        (&[0x90, 0x0f, 0x0b], "SIGILL, Illegal instruction.", 1),
        // 0: nop; 1: mov ds, ax, of a null selector; 3: mov eax, [0]
        (&[0x90, 0x8e, 0xd8, 0xa1, 0, 0, 0, 0], "SIGSEGV, Segmentation fault.", 3),
        // 0: mov eax, [0xb8000000]
        (&[0xa1, 0, 0, 0, 0xb8], "SIGSEGV, Segmentation fault.", 0),
        // 0: nop; 1: in al, 0x10
        (&[0x90, 0xe4, 0x10], "SIGSYS, Bad system call.", 1),
    ] {
        for engine in engines() {
            let waiting = Waiting::new(code, &["--engine", engine.name()]);
            let said = waiting.gdb("continue\nprint/x $eip\nx/bx 0\ncontinue\n");
            let [signal, eip] = [format!("Program received signal {signal}"), format!("$1 = {at:#x}")];
            let byte = format!("0x0:\t{:#04x}", code[0]);
            let end = "[Inferior 1 (process 1) exited with code 0206]";
            assert_lines(&said, &[&signal, &eip, &byte, end]);
            let ended = waiting.end();
            assert_eq!(ended.status, Some(134), "{said}");
            // gdb also shows the sentence.
            let sentence = ended.stderr.lines().next().expect("there is one");
            assert!(said.contains(sentence), "{ended:?}: {said}");
            assert!(
                ended.stderr.starts_with("flatland: ") && !ended.stderr.starts_with(outside),
                "{ended:?}"
            );
        }
    }
}

#[test]
fn watchpoints_are_there_or_refused_with_the_reason() {
    // 0: nop; 1: mov [0x200], eax; 6: mov eax, [0x200]; b: hlt
    let code = [0x90, 0xa3, 0, 2, 0, 0, 0xa1, 0, 2, 0, 0, 0xf4];
    let commands =
        "set var $eax = 5\nwatch *(int*)0x200\nrwatch *(int*)0x200\ncontinue\ncontinue\ncontinue\n";
    let waiting = Waiting::new(&code, &["--engine", "soft"]);
    let said = waiting.gdb(commands);
    let lines = [
        "Hardware watchpoint 1: *(int*)0x200",
        "Hardware read watchpoint 2: *(int*)0x200",
        "Old value = 0",
        "New value = 5",
        "0x00000006 in ?? ()",
        "Hardware read watchpoint 2: *(int*)0x200",
        "Value = 5",
        "0x0000000b in ?? ()",
        "[Inferior 1 (process 1) exited normally]",
    ];
    assert_lines(&said, &lines);
    assert_eq!(waiting.end().status, Some(0));
    if engines().contains(&EngineChoice::Kvm) {
        let waiting = Waiting::new(&code, &["--engine", "kvm"]);
        let said = waiting.gdb(commands);
        assert_lines(&said, &["Could not insert hardware watchpoint 1."]);
        let stderr = waiting.end().stderr;
        let refusal = "flatland: KVM cannot watch memory: run it with the soft engine (--engine soft); or have gdb compare \
                       after each step, slowly: `set can-use-hw-watchpoints 0`, then watch it again\n";
        assert!(stderr.starts_with(refusal), "{stderr}");
        // What the message advises works.
        let waiting = Waiting::new(&code, &["--engine", "kvm"]);
        let said =
            waiting.gdb("set can-use-hw-watchpoints 0\nset var $eax = 5\nwatch *(int*)0x200\ncontinue\n");
        assert_lines(&said, &["Watchpoint 1: *(int*)0x200", "Old value = 0", "New value = 5"]);
        waiting.end();
    }
}

#[test]
fn time_in_the_debuggers_hands_does_not_count() {
    for engine in engines() {
        // 0: nop; 1: hlt
        let waiting = Waiting::new(&[0x90, 0xf4], &["--engine", engine.name(), "--timeout", "0.3"]);
        let said = waiting.gdb("shell sleep 0.6\nstepi\nshell sleep 0.6\ncontinue\n");
        assert_lines(&said, &["0x00000001 in ?? ()", "[Inferior 1 (process 1) exited normally]"]);
        assert_eq!(waiting.end().status, Some(0), "{engine:?}");
        let waiting = Waiting::new(SPIN, &["--engine", engine.name(), "--timeout", "0.3"]);
        let said = waiting.gdb("shell sleep 0.6\ncontinue\nprint $eax > 1000\ncontinue\n");
        let signal = "Program received signal SIGXCPU, CPU time limit exceeded.";
        assert_lines(&said, &[signal, "$1 = 1", "[Inferior 1 (process 1) exited with code 0174]"]);
        assert_eq!(waiting.end().status, Some(124), "{engine:?}");
    }
}

#[test]
fn a_limit_of_instructions_and_stops_do_not_disturb_each_other() {
    let waiting = Waiting::new(SPIN, &["--engine", "soft", "--max-instructions", "1000"]);
    let said = waiting
        .gdb("break *2 if $eax == 10\ncontinue\ndelete\nmonitor stats\ncontinue\nmonitor stats\ncontinue\n");
    let lines = [
        "Breakpoint 1, 0x00000002 in ?? ()",
        "Program received signal SIGXCPU, CPU time limit exceeded.",
        "[Inferior 1 (process 1) exited with code 0174]",
    ];
    assert_lines(&said, &lines);
    assert_lines(
        &said,
        &["soft, 20 instructions, 0 exits for I/O", "soft, 1000 instructions, 0 exits for I/O"],
    );
    assert_eq!(waiting.end().status, Some(124));
}

#[test]
fn what_the_guest_has_sent_is_there_when_it_stops() {
    for engine in engines() {
        // 0: mov al, 'A'; 2: out 0xe9, al; 4: nop; 5: hlt
        let (mut reader, writer) = std::io::pipe().expect("there are pipes");
        let code = [0xb0, b'A', 0xe6, 0xe9, 0x90, 0xf4];
        let waiting = Waiting::reading(Stdio::null(), &code, &["--engine", engine.name()]);
        drop(writer);
        let said = waiting.gdb("break *4\ncontinue\nmonitor ports\nkill\n");
        assert_lines(&said, &["0xe9 console      in 0 bytes  out 1 bytes"]);
        let ended = waiting.end();
        assert_eq!((ended.status, &*ended.stdout), (Some(137), "A"), "{said}");
        let mut nothing = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut nothing).expect("it has ended");
    }
}

#[test]
fn monitor_commands() {
    let commands = "monitor help\nmonitor map\nmonitor cpu\nmonitor frob\nkill\n";
    let lines = [
        "monitor help    this",
        "0x00000000 to 0x01000000  read and write",
        "the heap ends at 0x00df0000, the stack is from 0x00e00000 to 0x01000000",
        "cr0 0x00000011: protected mode, paging off",
        "cs 0x0008  ss 0x0010  ds 0x0010  es 0x0010  fs 0x0010  gs 0x0010",
        "there is no `monitor frob`: `monitor help` lists what there is",
    ];
    // In batch mode monitor output goes to standard error, so the order is fixed.
    assert_session(SPIN, commands, &lines, 137, "", "");
}
