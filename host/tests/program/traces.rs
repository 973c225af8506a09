//! Traces: exact lines, the same from each engine. Nothing else of a run changes.

use std::io;

use super::*;

on_each_engine! {
    transfers_one_after_the_other,
    transfers_of_a_repeated_instruction_are_one,
    calls_and_returns,
    a_jump_is_no_return,
    instructions_and_what_they_change,
    repeated_instructions_are_one,
    a_trace_ends_at_its_limit_and_the_run_goes_on,
    a_trace_can_be_about_a_part,
    several_kinds_are_one_trace,
    a_trace_leaves_the_guests_lines_whole,
    a_trace_and_the_console_in_one_pipe_leave_lines_whole,
    a_trace_that_nobody_reads_ends_and_the_run_goes_on,
    a_trace_goes_to_a_file,
    a_trace_for_programs_has_an_object_in_each_line,
    a_trace_that_cannot_be_written_is_told_of,
    a_run_that_is_traced_ends_like_any_other,
}

/// 0: mov esi, 0x1c; 5: mov ecx, 3; a: mov dx, 0xe9; e: rep outsb; 10: mov edi, 0x40; 15: mov cl, 2; 17: rep insb;
/// 19: hlt; 1c: "abc"
const IN_BULK: &[u8] =
    b"\xbe\x1c\0\0\0\xb9\x03\0\0\0\x66\xba\xe9\0\xf3\x6e\xbf\x40\0\0\0\xb1\x02\xf3\x6c\xf4\0\0abc";

/// 0: call 7; 5: hlt; 7: call 0xd; c: ret; d: jmp 0x10; 10: ret
const CALLS: &[u8] = &[0xe8, 2, 0, 0, 0, 0xf4, 0x90, 0xe8, 1, 0, 0, 0, 0xc3, 0xeb, 1, 0x90, 0xc3];

/// 0: mov ecx, 2; 5: loop 5; 7: add eax, ecx; 9: hlt
const LOOP: &[u8] = &[0xb9, 2, 0, 0, 0, 0xe2, 0xfe, 0x01, 0xc8, 0xf4];

/// Runs this code with a trace, and compares its lines.
#[track_caller]
fn assert_trace(engine: &str, code: &[u8], input: &[u8], options: &[&str], stdout: &[u8], lines: &[&str]) {
    let mut command = flatland(engine);
    let mut child = spawn(command.args(options).arg(image("trace", code)));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let expected: String = lines.iter().map(|line| format!("trace: {line}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), stdout));
}

fn transfers_one_after_the_other(engine: &str) {
    let lines = [
        "in  console     \"H\"    48  at 0x00000000",
        "out console     \"I\"    49  at 0x00000004",
        "in  console     \"\\xff\" ff  at 0x00000000",
        "out console     \"\\x00\" 00  at 0x00000004",
        "end: the console was read past the end of input",
    ];
    assert_trace(engine, SUCCESSOR, b"H\xff", &["--trace", "io"], b"I\0", &lines);
}

fn transfers_of_a_repeated_instruction_are_one(engine: &str) {
    let lines = [
        "out console     \"abc\"  61 62 63  at 0x0000000e",
        "in  console     \"xy\"   78 79  at 0x00000017",
        "end: hlt",
    ];
    assert_trace(engine, IN_BULK, b"xyz", &["--trace", "io"], b"abc", &lines);
}

fn calls_and_returns(engine: &str) {
    let lines = [
        "> 0x00000000",
        "  > 0x00000007",
        "    > 0x0000000d",
        "    < 0x0000000d",
        "  < 0x00000007",
        "end: hlt",
    ];
    assert_trace(engine, CALLS, b"", &["--trace=calls"], b"", &lines);
}

fn a_jump_is_no_return(engine: &str) {
    // 0: call 7; 5: hlt; 7: pop eax; 8: jmp eax: it returns without `ret`, so the call is still open at the end.
    let code = [0xe8, 2, 0, 0, 0, 0xf4, 0x90, 0x58, 0xff, 0xe0];
    assert_trace(
        engine,
        &code,
        b"",
        &["--trace=calls"],
        b"",
        &["> 0x00000000", "  > 0x00000007", "end: hlt"],
    );
}

fn instructions_and_what_they_change(engine: &str) {
    let lines = [
        "code without a name",
        "  0x00000000  b9 02 00 00 00        mov ecx, 2                        ecx=00000002",
        "  0x00000005  e2 fe                 loop 5                            ecx=00000001  -> 0x00000005",
        "  0x00000005  e2 fe                 loop 5                            ecx=00000000",
        "  0x00000007  01 c8                 add eax, ecx                      [PF ZF]",
        "  0x00000009  f4                    hlt",
        "end: hlt",
    ];
    assert_trace(engine, LOOP, b"", &["--trace", "insn"], b"", &lines);
}

fn repeated_instructions_are_one(engine: &str) {
    // 0: mov ecx, 3; 5: mov edi, 0x40; a: rep stosb; c: hlt
    let code = [0xb9, 3, 0, 0, 0, 0xbf, 0x40, 0, 0, 0, 0xf3, 0xaa, 0xf4];
    let lines = [
        "code without a name",
        "  0x00000000  b9 03 00 00 00        mov ecx, 3                        ecx=00000003",
        "  0x00000005  bf 40 00 00 00        mov edi, 0x40                     edi=00000040",
        "  0x0000000a  f3 aa                 rep stosb                         ecx=00000000  edi=00000043",
        "  0x0000000c  f4                    hlt",
        "end: hlt",
    ];
    assert_trace(engine, &code, b"", &["--trace", "insn"], b"", &lines);
}

fn a_trace_ends_at_its_limit_and_the_run_goes_on(engine: &str) {
    for (kind, first) in [
        ("io", "in  console     \"a\"    61  at 0x00000000"),
        ("calls", "> 0x00000000"),
        ("insn", "code without a name"),
    ] {
        let options = ["--trace", kind, "--trace-limit", "1"];
        let lines = [first, "... behind 1 lines: give it more with --trace-limit LINES"];
        assert_trace(engine, SUCCESSOR, b"abc", &options, b"bcd", &lines);
    }
}

fn a_trace_can_be_about_a_part(engine: &str) {
    let options = ["--trace", "io", "--trace-filter", "0x0-0x1"];
    let lines =
        ["in  console     \"a\"    61  at 0x00000000", "end: the console was read past the end of input"];
    assert_trace(engine, SUCCESSOR, b"a", &options, b"b", &lines);
    let options = ["--trace", "calls", "--trace-filter=0x7-0x8"];
    assert_trace(engine, CALLS, b"", &options, b"", &["> 0x00000007", "< 0x00000007", "end: hlt"]);
    let options = ["--trace", "insn", "--trace-filter=0x5-0x6", "--trace-limit=2"];
    let lines = [
        "code without a name",
        "  0x00000005  e2 fe                 loop 5                            ecx=00000001  -> 0x00000005",
        "... behind 2 lines: give it more with --trace-limit LINES",
    ];
    assert_trace(engine, LOOP, b"", &options, b"", &lines);
    for kind in ["io", "calls", "insn"] {
        let options = ["--trace", kind, "--trace-filter", "nobody"];
        let lines = [
            "nothing was where --trace-filter says: give part of a function's name, or addresses such as 0x100-0x200",
            "end: hlt",
        ];
        assert_trace(engine, LOOP, b"", &options, b"", &lines);
    }
}

fn several_kinds_are_one_trace(engine: &str) {
    let lines = [
        "> 0x00000000",
        "in  console     \"a\"    61  at 0x00000000",
        "... behind 2 lines: give it more with --trace-limit LINES",
    ];
    assert_trace(engine, SUCCESSOR, b"a", &["--trace=io,calls", "--trace-limit=2"], b"b", &lines);
    assert_trace(
        engine,
        SUCCESSOR,
        b"a",
        &["--trace", "calls", "--trace=io", "--trace-limit=2"],
        b"b",
        &lines,
    );
}

/// Sends "a" to this port, waits in a loop, and sends the end of the line. 0: mov al, 'a'; 2: out PORT, al;
/// 4: mov ecx, 20000; 9: loop 9; b: mov al, '\n'; d: out PORT, al; f: hlt
fn slow_line(port: u8) -> [u8; 16] {
    [0xb0, b'a', 0xe6, port, 0xb9, 0x20, 0x4e, 0, 0, 0xe2, 0xfe, 0xb0, b'\n', 0xe6, port, 0xf4]
}

/// Traces between the beginning of a slow line and its end.
const BEFORE_ITS_END: [&str; 2] = ["--trace=io,insn", "--trace-filter=0xb-0xd"];

const TOLD_BEFORE_ITS_END: &str = "trace: code without a name\n\
     trace:   0x0000000b  b0 0a                 mov al, 0xa                       eax=0000000a\na\ntrace: end: hlt\n";

fn a_trace_leaves_the_guests_lines_whole(engine: &str) {
    let image = image("trace-slow-line", &slow_line(0xea));
    let output = flatland(engine).args(BEFORE_ITS_END).arg(image).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), TOLD_BEFORE_ITS_END);
}

fn a_trace_and_the_console_in_one_pipe_leave_lines_whole(engine: &str) {
    let image = image("trace-one-pipe", &slow_line(0xe9));
    let (mut pipe, to_pipe) = io::pipe().unwrap();
    let mut command = flatland(engine);
    command.args(BEFORE_ITS_END).arg(image).stdout(to_pipe.try_clone().unwrap()).stderr(to_pipe);
    let mut child = command.spawn().unwrap();
    // The command also holds the pipe's other end.
    drop(command);
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(text, TOLD_BEFORE_ITS_END);
}

fn a_trace_that_nobody_reads_ends_and_the_run_goes_on(engine: &str) {
    let (pipe, to_pipe) = io::pipe().unwrap();
    drop(pipe);
    let image = image("trace-unread", &slow_line(0xe9));
    let output = flatland(engine).args(["--trace", "insn"]).arg(image).stderr(to_pipe).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"a\n"[..]));
}

fn a_trace_goes_to_a_file(engine: &str) {
    let file = image("trace-file", b"").with_extension("txt");
    let options = ["--trace", "io", "--trace-file", file.to_str().unwrap()];
    let untraced = flatland(engine).arg(image("untraced", SAY_AND_FAULT)).output().unwrap();
    let output = flatland(engine).args(options).arg(image("traced", SAY_AND_FAULT)).output().unwrap();
    assert_eq!(output, untraced);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(134), &b"A"[..]));
    let written = fs::read_to_string(&file).unwrap();
    let expected = "out console     \"A\"    41  at 0x00000002\nend: invalid opcode (#UD) at 0x00000004\n";
    assert_eq!(written, expected);
}

fn a_trace_that_cannot_be_written_is_told_of(engine: &str) {
    let full = ["--trace", "insn", "--trace-file", "/dev/full"];
    let message = "flatland: the trace ends early, because it cannot be written (No space left on device (os error \
                   28)): make room, or give another --trace-file\n";
    assert_run(engine, "trace-full", HALT, &full, 125, "", message);
    let nowhere = ["--trace", "insn", "--trace-file", "/nowhere/x"];
    let message = "flatland: cannot write --trace-file `/nowhere/x` (No such file or directory (os error 2)): give \
                   another place\n";
    assert_run(engine, "trace-nowhere", HALT, &nowhere, 125, "", message);
}

fn a_run_that_is_traced_ends_like_any_other(engine: &str) {
    let options = ["--trace", "insn", "--trace-limit", "3", "--timeout", "0.3"];
    let output = flatland(engine).args(options).arg(image("trace-limit", SAY_AND_SPIN)).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(124), &b"A"[..]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("\nflatland: time limit of 0.3 s reached, the guest at 0x00000004"), "{stderr}");
    if engine == "soft" {
        let options = ["--trace", "calls", "--max-instructions", "100"];
        let output = flatland(engine).args(options).arg(image("trace-count", SAY_AND_SPIN)).output().unwrap();
        assert_eq!(output.status.code(), Some(124));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with("trace: > 0x00000000\ntrace: end: limit of instructions at 0x00000004\n"));
        assert!(stderr.contains("flatland: limit of 100 instructions reached"), "{stderr}");
    }
}

/// 0: mov al, "A"; 2: out 0xe9, al; 4: call 0xa; 9: hlt; a: in al, 0xe9; c: ret
const TALKS: &[u8] = &[0xb0, b'A', 0xe6, 0xe9, 0xe8, 1, 0, 0, 0, 0xf4, 0xe4, 0xe9, 0xc3];

/// What a trace into a file with this extension is.
fn traced(engine: Option<&str>, code: &[u8], options: &[&str], extension: &str) -> String {
    let file = image("trace", b"").with_extension(extension);
    let mut command = program();
    command.args(engine.iter().flat_map(|engine| ["--engine", engine])).args(options);
    command.arg("--trace-file").arg(&file).arg(image("traced", code));
    command.stdin(File::open(image("trace-input", b"z")).expect("it was just written"));
    assert_eq!(command.output().expect("flatland starts").status.code(), Some(0));
    fs::read_to_string(file).expect("it was written")
}

fn a_trace_for_programs_has_an_object_in_each_line(engine: &str) {
    let count = |count: u32| if engine == "kvm" { "null".to_owned() } else { count.to_string() };
    // Where transfers alone are traced, a run that moves begins on KVM.
    let calls = traced(Some(engine), TALKS, &["--trace", "io,calls"], "jsonl");
    let counts: Vec<_> = calls
        .lines()
        .filter_map(|line| line.rsplit_once("\"instructions\":"))
        .map(|(_, rest)| rest)
        .collect();
    let expected = [
        r#"{"kind":"enter","function":"0x00000000","address":0,"#,
        r#"{"kind":"out","port":233,"name":"console","data":[65],"address":2,"symbol":null,"file":null,"line":null,"#,
        r#"{"kind":"enter","function":"0x0000000a","address":10,"#,
        r#"{"kind":"in","port":233,"name":"console","data":[122],"address":10,"symbol":null,"file":null,"line":null,"#,
        r#"{"kind":"leave","function":"0x0000000a","#,
        r#"{"kind":"end","message":"hlt","#,
    ];
    let without: Vec<_> =
        calls.lines().filter_map(|line| line.split_once("\"instructions\"")).map(|(line, _)| line).collect();
    assert_eq!(without, expected, "{calls}");
    if engine != "auto" {
        assert_eq!(counts, [0, 2, 3, 3, 5, 6].map(|number| count(number) + "}"), "{calls}");
    }
}

/// The names of the tracks of a timeline.
pub const TRACKS: &str = "\
    {\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,\"args\":{\"name\":\"calls and transfers\"}},\n\
    {\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":2,\"args\":{\"name\":\"spans\"}},\n";

#[test]
fn a_timeline_has_an_event_for_each_call_and_transfer() {
    let events = traced(None, TALKS, &["--trace", "io,calls"], "json");
    let line = |name: &str, phase: &str, count: u32, arguments: &str| {
        let mark = if phase == "i" { ",\"s\":\"t\"" } else { "" };
        format!(
            r#"{{"name":"{name}","ph":"{phase}","ts":{count},"pid":1,"tid":1,"args":{{{arguments}}}{mark}}}"#
        )
    };
    let expected = [
        line("0x00000000", "B", 0, r#""address":"0x00000000""#),
        line("out console", "i", 2, r#""data":"A","place":"""#),
        line("0x0000000a", "B", 3, r#""address":"0x0000000a""#),
        line("in console", "i", 3, r#""data":"z","place":"""#),
        line("0x0000000a", "E", 5, ""),
        line("end: hlt", "i", 6, ""),
        line("", "E", 6, ""),
    ];
    assert_eq!(events, format!("[\n{TRACKS}{}\n]\n", expected.join(",\n")));
    // At its limit it is whole, too.
    let events = traced(None, TALKS, &["--trace", "calls", "--trace-limit", "2"], "json");
    let open = [expected[0].clone(), expected[2].clone()];
    let expected = [&open[..], &[line("", "E", 6, ""), line("", "E", 6, "")]].concat();
    assert_eq!(events, format!("[\n{TRACKS}{}\n]\n", expected.join(",\n")));
}
