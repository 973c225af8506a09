//! The reverse commands of the real gdb, on the soft engine.

use crate::{Ended, Waiting, assert_lines};

/// 0: inc eax, four times; 4: nop; 5: hlt
const COUNT: &[u8] = &[0x40, 0x40, 0x40, 0x40, 0x90, 0xf4];

/// 0: mov dword [0x100], 1; 0xa: mov dword [0x100], 2; 0x14: mov dword [0x200], 3; 0x1e: inc ecx; 0x1f: nop; 0x20: hlt
const STORES: &[u8] = &[
    0xc7, 5, 0, 1, 0, 0, 1, 0, 0, 0, 0xc7, 5, 0, 1, 0, 0, 2, 0, 0, 0, 0xc7, 5, 0, 2, 0, 0, 3, 0, 0, 0, 0x41,
    0x90, 0xf4,
];

/// Runs this code with these commands. Checks gdb's lines, and the end of the run.
#[track_caller]
fn assert_session(options: &[&str], code: &[u8], commands: &str, lines: &[&str], end: (i32, &str, &str)) {
    let waiting = Waiting::new(code, options);
    let said = waiting.gdb(commands);
    assert_lines(&said, lines);
    let (status, stdout, stderr) = end;
    let expected = Ended { status: Some(status), stdout: stdout.into(), stderr: stderr.into() };
    assert_eq!(waiting.end(), expected, "{said}");
}

#[test]
fn steps_go_back_and_forward_again() {
    // The default engine is the soft one, beside a debugger.
    let commands = "break *4\ncontinue\nreverse-stepi\nprint $eax\nreverse-stepi 2\nprint $eax\nstepi\nprint $eax\n\
                    reverse-continue\nprint $eax\ncontinue\nprint $eax\nstepi\ncontinue\n";
    let lines = [
        "Breakpoint 1, 0x00000004 in ?? ()",
        "0x00000003 in ?? ()",
        "$1 = 3",
        "0x00000001 in ?? ()",
        "$2 = 1",
        "0x00000002 in ?? ()",
        "$3 = 2",
        "No more reverse-execution history.",
        "$4 = 0",
        "Breakpoint 1, 0x00000004 in ?? ()",
        "$5 = 4",
        "0x00000005 in ?? ()",
        "[Inferior 1 (process 1) exited normally]",
    ];
    assert_session(&[], COUNT, commands, &lines, (0, "", ""));
}

#[test]
fn a_breakpoint_is_met_on_the_way_back() {
    let commands = "break *5\ncontinue\nbreak *1\nbreak *2\nreverse-continue\nreverse-continue\nreverse-continue\n\
                    delete\ncontinue\n";
    let lines = [
        "Breakpoint 1, 0x00000005 in ?? ()",
        "Breakpoint 3, 0x00000002 in ?? ()",
        "Breakpoint 2, 0x00000001 in ?? ()",
        "No more reverse-execution history.",
        "[Inferior 1 (process 1) exited normally]",
    ];
    assert_session(&["--engine", "soft"], COUNT, commands, &lines, (0, "", ""));
}

#[test]
fn a_watchpoint_finds_who_wrote() {
    let commands = "break *0x20\ncontinue\nwatch *(int*)0x100\nreverse-continue\nprint $eip == 0xa\nprint *(int*)0x200\n\
                    reverse-continue\nprint $eip == 0\ncontinue\ncontinue\ncontinue\nkill\n";
    let lines = [
        "Breakpoint 1, 0x00000020 in ?? ()",
        "Old value = 2",
        "New value = 1",
        "$1 = 1",
        "$2 = 0",
        "Old value = 1",
        "New value = 0",
        "$3 = 1",
        "Old value = 0",
        "New value = 1",
        "Old value = 1",
        "New value = 2",
        "Breakpoint 1, 0x00000020 in ?? ()",
    ];
    assert_session(&["--engine", "soft"], STORES, commands, &lines, (137, "", ""));
}

#[test]
fn monitor_tells_of_the_past() {
    let commands = "break *0x20\ncontinue\nmonitor when\nmonitor last-write 0x100 4\nmonitor last-write 0x300\n\
                    monitor who ecx\nmonitor who $eax\nmonitor who nobody\nmonitor last-write\nmonitor goto 1\n\
                    maintenance flush register-cache\nprint $eip == 0xa\nmonitor who ecx\nmonitor goto end\n\
                    monitor goto nowhere\nkill\n";
    let lines = [
        // What gdb says itself comes first.
        "$1 = 1",
        "after 5 instructions, in the present: from 0 to 5",
        "the instruction at 0xa wrote there, 4 instructions ago: `info symbol 0xa` names it, `monitor goto 1` goes there",
        "nothing wrote there in this past: it begins after 0 instructions",
        "the instruction at 0x1e wrote ecx, 2 instructions ago: `info symbol 0x1e` names it, `monitor goto 3` goes there",
        "nothing wrote eax in this past: it begins after 0 instructions",
        "say it so: `monitor who eax|ecx|edx|ebx|esp|ebp|esi|edi|eflags`",
        "say it so: `monitor last-write ADDRESS [BYTES]`",
        "after 1 instructions, in the past: from 0 to 5",
        "now `maintenance flush register-cache`, so that gdb reads the registers again",
        "nothing wrote ecx in this past: it begins after 0 instructions",
        "after 5 instructions, in the present: from 0 to 5",
        "say it so: `monitor goto N|start|end`",
    ];
    assert_session(&["--engine", "soft"], STORES, commands, &lines, (137, "", ""));
}

#[test]
fn a_fault_is_walked_back_from_and_comes_again() {
    // 0: mov eax, 0xf0000000; 5: mov [eax], ecx
    let code = [0xb8, 0, 0, 0, 0xf0, 0x89, 0x08];
    let commands = "continue\nreverse-stepi\nprint $eax\ncontinue\nprint/x $eax\ncontinue\n";
    let lines = [
        "Program received signal SIGSEGV, Segmentation fault.",
        "0x00000000 in ?? ()",
        "$1 = 0",
        "Program received signal SIGSEGV, Segmentation fault.",
        "$2 = 0xf0000000",
        "[Inferior 1 (process 1) exited with code 0206]",
    ];
    let waiting = Waiting::new(&code, &["--engine", "soft", "--backtrace", "never"]);
    let said = waiting.gdb(commands);
    assert_lines(&said, &lines);
    assert_eq!(waiting.end().status, Some(134), "{said}");
}

#[test]
fn the_past_cannot_be_changed() {
    for (change, error) in [
        ("set var $ebx = 5", "Could not write register \"ebx\"; remote failure reply 'E1e'"),
        ("set var *(char*)0x100 = 7", "Cannot access memory at address 0x100"),
    ] {
        let waiting = Waiting::new(COUNT, &["--engine", "soft"]);
        let said = waiting.gdb(&format!("stepi 3\nreverse-stepi\n{change}\n"));
        assert_lines(&said, &["0x00000003 in ?? ()", "0x00000002 in ?? ()", error]);
        let refused = "flatland: the past cannot be changed: `monitor goto end` goes back to the present\n";
        let stderr = waiting.end().stderr;
        // gdb tries memory twice.
        assert!(stderr.starts_with(refused) && stderr.replace(refused, "").is_empty(), "{stderr}");
    }
}

#[test]
fn nothing_is_sent_twice_and_the_past_begins_behind_a_change() {
    // 0: mov al, 0x41; 2: out 0xe9, al; 4: inc eax; 5: out 0xe9, al; 7: nop; 8: hlt
    let code = [0xb0, 0x41, 0xe6, 0xe9, 0x40, 0xe6, 0xe9, 0x90, 0xf4];
    let commands = "break *7\ncontinue\nreverse-stepi 4\ncontinue\nset var $ebx = 5\nprint $ebx\nreverse-stepi\n\
                    delete\ncontinue\n";
    let lines = [
        "Breakpoint 1, 0x00000007 in ?? ()",
        "0x00000000 in ?? ()",
        "Breakpoint 1, 0x00000007 in ?? ()",
        "$1 = 5",
        "No more reverse-execution history.",
        "[Inferior 1 (process 1) exited normally]",
    ];
    assert_session(&["--engine", "soft"], &code, commands, &lines, (0, "AB", ""));
}

#[test]
fn a_run_that_is_left_in_the_past_goes_on_in_the_present() {
    // 0: mov al, 0x41; 2: out 0xe9, al; 4: inc eax; 5: out 0xe9, al; 7: hlt
    let code = [0xb0, 0x41, 0xe6, 0xe9, 0x40, 0xe6, 0xe9, 0xf4];
    let commands = "stepi 3\nreverse-stepi 2\ndetach\n";
    let lines = ["0x00000005 in ?? ()", "0x00000002 in ?? ()", "[Inferior 1 (process 1) detached]"];
    assert_session(&["--engine", "soft"], &code, commands, &lines, (0, "AB", ""));
}
