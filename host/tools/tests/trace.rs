//! Traces of small images: exact lines, the same from each engine, also with another observer of the run.

use std::env;
use std::io::{self, Write};
use std::time::Duration;

use flatland_contract::Direction;
use flatland_machine::{EngineChoice, Event, Machine, Outcome, Program, RunError, Stop, Wants};
use flatland_tools::trace::{Kind, MOST_LINES, Settings, Sink, Trace};
use flatland_tools::{Observer, Verdict, observe};
use flatland_x86::Location;

/// The engines to test. Without KVM a test fails, unless this variable says that there is none.
fn engines() -> &'static [EngineChoice] {
    match env::var_os("FLATLAND_TEST_WITHOUT_KVM") {
        Some(_) => &[EngineChoice::Soft],
        None => &[EngineChoice::Soft, EngineChoice::Kvm],
    }
}

fn machine(engine: EngineChoice, code: &[u8], input: &[u8]) -> Machine {
    let program = Program::from_bytes(code.to_vec()).expect("code is not empty");
    let builder = Machine::builder().engine(engine).input(input.to_vec()).time_limit(Duration::from_secs(20));
    builder.build(&program).unwrap_or_else(|error| panic!("this test needs {engine:?}, and {error}"))
}

fn trace(kinds: &[Kind], most_lines: u64) -> Trace {
    Trace::new(Settings { kinds: kinds.to_vec(), filter: None, most_lines }, None, Sink::Diagnostics)
}

/// Runs a machine with this trace and an optional other observer. Returns the diagnostics.
fn diagnostics(machine: &mut Machine, mut trace: Trace, other: Option<&mut dyn Observer>) -> String {
    let ended = match other {
        Some(other) => observe(machine, &mut [&mut trace, other]),
        None => observe(machine, &mut [&mut trace]),
    };
    ended.expect("the host can do its work");
    String::from_utf8_lossy(machine.streams().diagnostics.bytes()).into_owned()
}

/// Runs this code with a trace of these kinds on each engine, and compares what was written.
#[track_caller]
fn assert_trace(kinds: &[Kind], code: &[u8], input: &[u8], lines: &[&str]) {
    for engine in engines() {
        let text = diagnostics(&mut machine(*engine, code, input), trace(kinds, MOST_LINES), None);
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{engine:?}");
    }
}

/// An observer with these wants that calls this function at each event.
struct Other<F>(Wants, F);

impl<F: FnMut(&mut Machine, &Event) -> Verdict> Observer for Other<F> {
    fn wants(&self) -> Wants {
        self.0.clone()
    }

    fn observe(&mut self, machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
        Ok((self.1)(machine, event))
    }
}

fn wants(change: impl FnOnce(&mut Wants)) -> Wants {
    let mut wants = Wants::nothing();
    change(&mut wants);
    wants
}

/// 0: mov esi, 0x1c; 5: mov ecx, 3; a: mov dx, 0xe9; e: rep outsb; 10: mov edi, 0x40; 15: mov cl, 2; 17: rep insb;
/// 19: hlt; 1c: "abc"
const IN_BULK: &[u8] =
    b"\xbe\x1c\0\0\0\xb9\x03\0\0\0\x66\xba\xe9\0\xf3\x6e\xbf\x40\0\0\0\xb1\x02\xf3\x6c\xf4\0\0abc";

/// 0: mov eax, 1; 5: mov ebx, 2; a: inc eax; b: hlt
const PLAIN: &[u8] = &[0xb8, 1, 0, 0, 0, 0xbb, 2, 0, 0, 0, 0x40, 0xf4];

#[test]
fn all_kinds_at_once_tell_in_the_order_of_the_run() {
    // 0: call 8; 5: rep outsb; 7: hlt; 8: mov al, 'A'; a: out 0xe9, al; c: ret
    let code = [0xe8, 3, 0, 0, 0, 0xf3, 0x6e, 0xf4, 0xb0, b'A', 0xe6, 0xe9, 0xc3];
    let lines = [
        "trace: > 0x00000000",
        "trace: code without a name",
        "trace:   0x00000000  e8 03 00 00 00        call 8                            esp=00fffffc  -> 0x00000008",
        "trace:   > 0x00000008",
        "trace:   0x00000008  b0 41                 mov al, 0x41                      eax=00000041",
        "trace: out console     \"A\"    41  at 0x0000000a",
        "trace:   0x0000000a  e6 e9                 out 0xe9, al",
        "trace:   0x0000000c  c3                    ret                               esp=01000000  -> 0x00000005",
        "trace:   < 0x00000008",
        "trace:   0x00000005  f3 6e                 rep outsb",
        "trace:   0x00000007  f4                    hlt",
        "trace: end: hlt",
    ];
    assert_trace(&[Kind::Calls, Kind::Io, Kind::Instructions, Kind::Io], &code, b"", &lines);
}

#[test]
fn a_repeated_instruction_is_one_whoever_interrupts_it() {
    let lines = [
        "trace: code without a name",
        "trace:   0x00000000  be 1c 00 00 00        mov esi, 0x1c                     esi=0000001c",
        "trace:   0x00000005  b9 03 00 00 00        mov ecx, 3                        ecx=00000003",
        "trace:   0x0000000a  66 ba e9 00           mov dx, 0xe9                      edx=000000e9",
        "trace: out console     \"abc\"  61 62 63  at 0x0000000e",
        "trace:   0x0000000e  f3 6e                 rep outsb                         ecx=00000000  esi=0000001f",
        "trace:   0x00000010  bf 40 00 00 00        mov edi, 0x40                     edi=00000040",
        "trace:   0x00000015  b1 02                 mov cl, 2                         ecx=00000002",
        "trace: in  console     \"xy\"   78 79  at 0x00000017",
        "trace:   0x00000017  f3 6c                 rep insb                          ecx=00000000  edi=00000042",
        "trace:   0x00000019  f4                    hlt",
        "trace: end: hlt",
    ];
    for engine in engines() {
        let (input, mut sender) = io::pipe().unwrap();
        let program = Program::from_bytes(IN_BULK.to_vec()).expect("code is not empty");
        let builder = Machine::builder().engine(*engine).input(input).time_limit(Duration::from_secs(20));
        let mut machine = builder.build(&program).unwrap_or_else(|error| panic!("this test needs {error}"));
        // Interrupts `rep insb` several times before it sends the input.
        let wants = wants(|wants| wants.clock = Some(Duration::from_millis(1)));
        let mut interrupts = 0;
        let mut other = Other(wants, |machine: &mut Machine, event: &Event| {
            if *event == Event::Clock && machine.location().unwrap() == Location::At(0x17) {
                interrupts += 1;
                match interrupts {
                    2 => sender.write_all(b"x").unwrap(),
                    4 => sender.write_all(b"yz").unwrap(),
                    _ => {}
                }
            }
            Verdict::Continue
        });
        let trace = trace(&[Kind::Io, Kind::Instructions], MOST_LINES);
        let text = diagnostics(&mut machine, trace, Some(&mut other));
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{engine:?}");
        assert!(interrupts >= 4, "{interrupts}");
    }
}

#[test]
fn each_time_a_repeated_instruction_is_executed_is_a_line() {
    // 0: mov dx, 0xe9; 4: mov bl, 2; 6: mov esi, 0; b: mov ecx, 2; 10: rep outsb; 12: dec bl; 14: jnz 6; 16: hlt
    let code = *b"\x66\xba\xe9\0\xb3\x02\xbe\0\0\0\0\xb9\x02\0\0\0\xf3\x6e\xfe\xcb\x75\xf0\xf4";
    let line = "trace: out console     \"f\\xba\" 66 ba  at 0x00000010";
    assert_trace(&[Kind::Io], &code, b"", &[line, line, "trace: end: hlt"]);
}

#[test]
fn a_repeated_instruction_counts_by_the_register_that_it_uses() {
    // 0: mov ecx, 0x10002; 5: mov dx, 0xe9; 9: rep outsb with addresses of 16 bits; c: mov al, 'x'; e: out dx, al; f: hlt
    let code = *b"\xb9\x02\0\x01\0\x66\xba\xe9\0\x67\xf3\x6e\xb0x\xee\xf4";
    let lines = [
        "trace: out console     \"\\xb9\\x02\" b9 02  at 0x00000009",
        "trace: out console     \"x\"    78  at 0x0000000e",
        "trace: end: hlt",
    ];
    assert_trace(&[Kind::Io], &code, b"", &lines);
}

#[test]
fn a_repeated_instruction_that_faults_is_told_as_far_as_it_came() {
    // 0: mov esi, 0xfffffe (RAM ends at 0x1000000); 5: mov ecx, 5; a: mov dx, 0xe9; e: rep outsb
    let code = *b"\xbe\xfe\xff\xff\0\xb9\x05\0\0\0\x66\xba\xe9\0\xf3\x6e";
    let lines = [
        "trace: out console     \"\\x00\\x00\" 00 00  at 0x0000000e",
        "trace: end: read outside RAM at 0x1000000 (RAM ends at 0x1000000), by the instruction at 0x0000000e",
    ];
    assert_trace(&[Kind::Io], &code, b"", &lines);
}

#[test]
fn an_end_is_where_its_instruction_stands() {
    // 0: nop; 1: out 0x80, al
    assert_trace(
        &[Kind::Io],
        &[0x90, 0xe6, 0x80],
        b"",
        &["trace: end: unknown port 0x80 (out, 1 byte) at 0x00000001"],
    );
    // 0: nop; 1: mov [0x2000000], al
    let line = "trace: end: write outside RAM at 0x2000000 (RAM ends at 0x1000000), by the instruction at 0x00000001";
    assert_trace(&[Kind::Io], &[0x90, 0xa2, 0, 0, 0, 2], b"", &[line]);
}

#[test]
fn flags_that_no_manual_defines_are_not_told() {
    // 0: mov eax, 0x18; 5: shl eax, 3; 8: mul eax; a: add eax, eax; c: hlt
    let code = [0xb8, 0x18, 0, 0, 0, 0xc1, 0xe0, 3, 0xf7, 0xe0, 0x01, 0xc0, 0xf4];
    let lines = [
        "trace: code without a name",
        "trace:   0x00000000  b8 18 00 00 00        mov eax, 0x18                     eax=00000018",
        // AF and OF are undefined.
        "trace:   0x00000005  c1 e0 03              shl eax, 3                        eax=000000c0  [PF]",
        // SF, ZF, AF and PF are.
        "trace:   0x00000008  f7 e0                 mul eax                           eax=00009000  []",
        "trace:   0x0000000a  01 c0                 add eax, eax                      eax=00012000  [PF]",
        "trace:   0x0000000c  f4                    hlt",
        "trace: end: hlt",
    ];
    assert_trace(&[Kind::Instructions], &code, b"", &lines);
}

/// The lines of [`PLAIN`] if no observer changes anything.
const PLAIN_LINES: [&str; 6] = [
    "trace: code without a name",
    "trace:   0x00000000  b8 01 00 00 00        mov eax, 1                        eax=00000001",
    "trace:   0x00000005  bb 02 00 00 00        mov ebx, 2                        ebx=00000002",
    "trace:   0x0000000a  40                    inc eax                           eax=00000002",
    "trace:   0x0000000b  f4                    hlt",
    "trace: end: hlt",
];

#[test]
fn a_breakpoint_of_somebody_else_takes_nothing_away() {
    for engine in engines() {
        let wants = wants(|wants| wants.breakpoints = vec![0, 5, 0xa, 0xb]);
        let mut reached = Vec::new();
        let mut other = Other(wants, |machine: &mut Machine, event: &Event| {
            if let Event::Stopped(stopped) = event
                && stopped.breakpoint
            {
                reached.push(machine.registers().unwrap().eip);
            }
            Verdict::Continue
        });
        let trace = trace(&[Kind::Instructions], MOST_LINES);
        let text = diagnostics(&mut machine(*engine, PLAIN, b""), trace, Some(&mut other));
        assert_eq!(text.lines().collect::<Vec<_>>(), PLAIN_LINES, "{engine:?}");
        assert_eq!(reached, [0, 5, 0xa, 0xb], "{engine:?}");
    }
}

#[test]
fn what_somebody_else_changes_is_no_instructions_doing() {
    for engine in engines() {
        let wants = wants(|wants| wants.breakpoints = vec![5]);
        let mut other = Other(wants, |machine: &mut Machine, event: &Event| {
            if let Event::Stopped(stopped) = event
                && stopped.breakpoint
            {
                let mut registers = machine.registers().unwrap();
                (registers.eax, registers.eip) = (0x41, 0xa);
                machine.set_registers(&registers).unwrap();
                // dec eax
                machine.write_ram(0xa, &[0x48]);
            }
            Verdict::Continue
        });
        let trace = trace(&[Kind::Instructions, Kind::Calls], MOST_LINES);
        let text = diagnostics(&mut machine(*engine, PLAIN, b""), trace, Some(&mut other));
        let lines = [
            "trace: > 0x00000000",
            PLAIN_LINES[0],
            PLAIN_LINES[1],
            "trace:   0x0000000a  48                    dec eax                           eax=00000040",
            PLAIN_LINES[4],
            PLAIN_LINES[5],
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{engine:?}");
    }
}

#[test]
fn a_run_that_somebody_else_ends_or_revives_is_told_to_its_end() {
    for engine in engines() {
        let mut left = 1;
        let mut other = Other(Wants::nothing(), |machine: &mut Machine, event: &Event| match event {
            Event::Ended(_) if left > 0 => {
                left -= 1;
                let mut registers = machine.registers().unwrap();
                registers.eip = 0xa;
                machine.set_registers(&registers).unwrap();
                Verdict::Revive
            }
            _ => Verdict::Continue,
        });
        let traced = trace(&[Kind::Instructions], MOST_LINES);
        let text = diagnostics(&mut machine(*engine, PLAIN, b""), traced, Some(&mut other));
        let again =
            "trace:   0x0000000a  40                    inc eax                           eax=00000003  [PF]";
        let lines = [&PLAIN_LINES[..], &[again, PLAIN_LINES[4], PLAIN_LINES[5]]].concat();
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{engine:?}");

        let wants = wants(|wants| wants.breakpoints = vec![5]);
        let mut other = Other(wants, |_: &mut Machine, event: &Event| match event {
            Event::Stopped(stopped) if stopped.breakpoint => Verdict::End(Stop::Debugger),
            _ => Verdict::Continue,
        });
        let traced = trace(&[Kind::Io], MOST_LINES);
        let text = diagnostics(&mut machine(*engine, PLAIN, b""), traced, Some(&mut other));
        assert_eq!(text, "trace: end: killed by the debugger at 0x00000005\n", "{engine:?}");
    }
}

#[test]
fn a_trace_that_is_full_wants_nothing_more() {
    for engine in engines() {
        let mut machine = machine(*engine, IN_BULK, b"xyz");
        let mut trace = trace(&[Kind::Io, Kind::Instructions, Kind::Calls], 3);
        assert_eq!(trace.wants(), wants(|wants| (wants.transfers, wants.steps) = (true, true)));
        assert_eq!(observe(&mut machine, &mut [&mut trace]).unwrap(), Outcome::Halted);
        assert_eq!(trace.wants(), Wants::nothing());
        assert_eq!(machine.stats().transfers(flatland_contract::Port::Console, Direction::In).bytes, 2);
        let text = String::from_utf8_lossy(machine.streams().diagnostics.bytes()).into_owned();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(
            text.ends_with("trace: ... behind 3 lines: give it more with --trace-limit LINES\n"),
            "{text}"
        );
    }
}

#[test]
fn the_guests_own_lines_stay_whole() {
    // "ab\nc" to the diagnostics: 0: mov esi, 0xf; 5: mov bl, 4; 7: lodsb; 8: out 0xea, al; a: dec bl; c: jnz 7; e: hlt
    let code = *b"\xbe\x0f\0\0\0\xb3\x04\xac\xe6\xea\xfe\xcb\x75\xf9\xf4ab\nc";
    let lines = [
        "trace: out diagnostics \"a\"    61  at 0x00000008",
        "trace: out diagnostics \"b\"    62  at 0x00000008",
        "ab",
        "trace: out diagnostics \"\\n\"   0a  at 0x00000008",
        "trace: out diagnostics \"c\"    63  at 0x00000008",
        "c",
        "trace: end: hlt",
    ];
    assert_trace(&[Kind::Io], &code, b"", &lines);
}
