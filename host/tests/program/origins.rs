//! `--track-origins`: where the values come from that a fault fell over.

use super::*;

/// Runs this code with this input, and returns what the report says of origins.
#[track_caller]
fn origins(code: &[&[u8]], input: &[u8]) -> Vec<String> {
    let mut command = program();
    let file = image("input", input);
    command.arg("--track-origins").arg(image("origins", &code.concat()));
    command.stdin(File::open(file).expect("it was just written"));
    let output = command.output().expect("flatland starts");
    let stderr = String::from_utf8(output.stderr).expect("it is text");
    assert_eq!(output.status.code(), Some(134), "{stderr}");
    of_report(&stderr)
}

fn of_report(stderr: &str) -> Vec<String> {
    let from = stderr.lines().skip_while(|line| !line.starts_with("  origins "));
    from.map(|line| line["  origins      ".len()..].to_owned()).collect()
}

#[test]
fn a_divisor_is_followed_through_memory_to_the_port_it_came_from() {
    let code: &[&[u8]] = &[
        // 0: in al, 0xe9; 2: movzx ecx, al; 5: push ecx; 6: pop ebx; 7: mov [0x1000], ebx
        &[0xe4, 0xe9, 0x0f, 0xb6, 0xc8, 0x51, 0x5b, 0x89, 0x1d, 0x00, 0x10, 0, 0],
        // d: xor ebx, ebx; f: mov esi, 0x1000; 14: mov edi, 0x2000; 19: mov ecx, 4; 1e: rep movsb
        &[0x31, 0xdb, 0xbe, 0x00, 0x10, 0, 0, 0xbf, 0x00, 0x20, 0, 0, 0xb9, 4, 0, 0, 0, 0xf3, 0xa4],
        // 20: div dword [0x2000]
        &[0xf7, 0x35, 0x00, 0x20, 0, 0],
    ];
    let expected = [
        "0x00002000 00000000 was copied from 0x00001000 by `rep movsb` at 0x0000001e, 1 instruction before",
        "0x00001000 was written from ebx by `mov [0x1000], ebx` at 0x00000007, 6 instructions before",
        "ebx was loaded from 0x00fffffc by `pop ebx` at 0x00000006, 7 instructions before",
        "0x00fffffc was written from ecx by `push ecx` at 0x00000005, 8 instructions before",
        "ecx was copied from eax by `movzx ecx, al` at 0x00000002, 9 instructions before",
        "eax was read from port 0xe9, console, by `in al, 0xe9` at 0x00000000, 10 instructions before",
    ];
    assert_eq!(origins(code, b"\0"), expected);
}

/// What it is about, the code, and what is told.
type Case = (&'static str, &'static [&'static [u8]], &'static [&'static str]);

#[test]
fn each_way_of_a_value_is_told() {
    let cases: &[Case] = &[
        // 0: mov eax, 1; 5: mov edx, 5; a: lea ecx, [eax]; c: div ecx
        (
            "a quotient that is too large",
            &[&[0xb8, 1, 0, 0, 0, 0xba, 5, 0, 0, 0, 0x8d, 0x08, 0xf7, 0xf1]],
            &[
                "ecx 00000001 was computed by `lea ecx, [eax]` at 0x0000000a, 1 instruction before",
                "edx 00000005 was computed by `mov edx, 5` at 0x00000005, 2 instructions before",
                "eax 00000001 was computed by `mov eax, 1` at 0x00000000, 3 instructions before",
            ],
        ),
        // 0: mov ebx, [0x1000]; 6: mov al, [ebx+ebp*4-0x8000000]
        (
            "base and index",
            &[&[0x8b, 0x1d, 0x00, 0x10, 0, 0, 0x8a, 0x84, 0xab, 0, 0, 0, 0xf8]],
            &[
                "ebx 00000000 was loaded from 0x00001000 by `mov ebx, [0x1000]` at 0x00000000, 1 instruction before",
                "0x00001000 was never written since the beginning",
                "ebp 00000000 was never written since the beginning",
            ],
        ),
        // 0: push 0x2000000; 5: ret
        (
            "a return address",
            &[&[0x68, 0, 0, 0, 2, 0xc3]],
            &[
                "eip 02000000 was taken from 0x00fffffc by `ret` at 0x00000005, 1 instruction before",
                "0x00fffffc was written by `push 0x2000000` at 0x00000000, 2 instructions before",
            ],
        ),
        // 0: mov eax, 0x2000000; 5: xchg ecx, eax; 6: call ecx
        (
            "a call of a register",
            &[&[0xb8, 0, 0, 0, 2, 0x91, 0xff, 0xd1]],
            &[
                "eip 02000000 was taken from ecx by `call ecx` at 0x00000006, 1 instruction before",
                "ecx was copied from eax by `xchg ecx, eax` at 0x00000005, 2 instructions before",
                "eax was computed by `mov eax, 0x2000000` at 0x00000000, 3 instructions before",
            ],
        ),
        // 0: mov eax, 0x2000000; 5: mov [0x1000], eax; a: jmp [0x1000]
        (
            "a jump through memory",
            &[&[0xb8, 0, 0, 0, 2, 0xa3, 0x00, 0x10, 0, 0, 0xff, 0x25, 0x00, 0x10, 0, 0]],
            &[
                "eip 02000000 was taken from 0x00001000 by `jmp dword [0x1000]` at 0x0000000a, 1 instruction before",
                "0x00001000 was written from eax by `mov [0x1000], eax` at 0x00000005, 2 instructions before",
                "eax was computed by `mov eax, 0x2000000` at 0x00000000, 3 instructions before",
            ],
        ),
        // 0: mov dx, 0x3f8; 4: out dx, al
        (
            "a port",
            &[&[0x66, 0xba, 0xf8, 0x03, 0xee]],
            &["edx 000003f8 was computed by `mov dx, 0x3f8` at 0x00000000, 1 instruction before"],
        ),
        // 0: out 0x42, al
        ("a port that is a constant", &[&[0xe6, 0x42]], &[]),
        // 0: mov edi, 0x3000000; 5: stosb
        (
            "a string's destination",
            &[&[0xbf, 0, 0, 0, 3, 0xaa]],
            &["edi 03000000 was computed by `mov edi, 0x3000000` at 0x00000000, 1 instruction before"],
        ),
        // 0: mov esi, 0x3000000; 5: mov edi, 0x1000; a: movsb
        (
            "a string's source",
            &[&[0xbe, 0, 0, 0, 3, 0xbf, 0x00, 0x10, 0, 0, 0xa4]],
            &["esi 03000000 was computed by `mov esi, 0x3000000` at 0x00000000, 2 instructions before"],
        ),
        // 0: mov ecx, 0x2000000; 5: push ecx; 6: xor ecx, ecx; 8: pop ecx; 9: mov al, [ecx]
        (
            "saved and restored",
            &[&[0xb9, 0, 0, 0, 2, 0x51, 0x31, 0xc9, 0x59, 0x8a, 0x01]],
            &["ecx 02000000 was computed by `mov ecx, 0x2000000` at 0x00000000, 4 instructions before"],
        ),
        // 0: mov eax, 0x2000000; 5: mov edi, 0x1000; a: stosd; b: mov esi, 0x1000; 10: movsd; 11: mov esi, 0x1004; 16: lodsd; 17: mov bl, [eax]
        (
            "stored, copied and loaded",
            &[
                &[0xb8, 0, 0, 0, 2, 0xbf, 0x00, 0x10, 0, 0, 0xab, 0xbe, 0x00, 0x10, 0, 0, 0xa5],
                &[0xbe, 0x04, 0x10, 0, 0, 0xad, 0x8a, 0x18],
            ],
            &[
                "eax 02000000 was loaded from 0x00001004 by `lodsd` at 0x00000016, 1 instruction before",
                "0x00001004 was copied from 0x00001000 by `movsd` at 0x00000010, 3 instructions before",
                "0x00001000 was written from eax by `stosd` at 0x0000000a, 5 instructions before",
                "eax was computed by `mov eax, 0x2000000` at 0x00000000, 7 instructions before",
            ],
        ),
        // 0: mov esp, 0x2000; 5: push 0x2000000; a: mov ebp, esp; c: push 0; e: leave; f: mov al, [ebp+0]
        (
            "a frame",
            &[&[0xbc, 0x00, 0x20, 0, 0, 0x68, 0, 0, 0, 2, 0x89, 0xe5, 0x6a, 0, 0xc9, 0x8a, 0x45, 0]],
            &[
                "ebp 02000000 was loaded from 0x00001ffc by `leave` at 0x0000000e, 1 instruction before",
                "0x00001ffc was written by `push 0x2000000` at 0x00000005, 4 instructions before",
            ],
        ),
        // 0: mov dx, 0xe9; 4: mov edi, 0x1000; 9: mov ecx, 4; e: rep insb; 10: mov eax, [0x1000]; 15: inc byte [eax]
        (
            "bytes of the input",
            &[
                &[0x66, 0xba, 0xe9, 0, 0xbf, 0x00, 0x10, 0, 0, 0xb9, 4, 0, 0, 0, 0xf3, 0x6c],
                &[0xa1, 0x00, 0x10, 0, 0, 0xfe, 0x00],
            ],
            &[
                "eax 64636261 was loaded from 0x00001000 by `mov eax, [0x1000]` at 0x00000010, 1 instruction before",
                "0x00001000 was read from port 0xe9, console, by `rep insb` at 0x0000000e, 2 instructions before",
            ],
        ),
        // 0: mov esp, 0x2000000; 5: push eax
        (
            "a push",
            &[&[0xbc, 0, 0, 0, 3, 0x50]],
            &["esp 03000000 was computed by `mov esp, 0x3000000` at 0x00000000, 1 instruction before"],
        ),
        // 0: ud2
        ("nothing to follow", &[&[0x0f, 0x0b]], &[]),
    ];
    let mut told = String::new();
    for (title, code, expected) in cases {
        let origins = origins(code, b"abcd");
        if origins != *expected {
            told += &format!("{title}: {origins:#?}\n");
        }
    }
    assert!(told.is_empty(), "{told}");
}

/// Ends in a read through a pointer that is the input's first four bytes.
const READ: &[u8] = &[
    0x66, 0xba, 0xe9, 0, 0xbf, 0x00, 0x10, 0, 0, 0xb9, 4, 0, 0, 0, 0xf3, 0x6c, 0xa1, 0x00, 0x10, 0, 0, 0x8a,
    0x00,
];

on_each_engine! {
    a_recording_tells_it_too,
}

/// Also of a run on KVM, afterwards.
fn a_recording_tells_it_too(engine: &str) {
    let recording = recording_file("origins");
    let image = image("recorded", READ);
    let mut command = flatland(engine);
    command
        .arg("--record")
        .arg(&recording)
        .arg(&image)
        .stdin(File::open(self::image("input", b"abcd")).unwrap());
    assert_eq!(command.output().expect("flatland starts").status.code(), Some(134));
    let mut replay = program();
    let output =
        replay.args(["--track-origins", "replay"]).arg(&recording).output().expect("flatland starts");
    let expected = [
        "eax 64636261 was loaded from 0x00001000 by `mov eax, [0x1000]` at 0x00000010, 1 instruction before",
        "0x00001000 was read from port 0xe9, console, by `rep insb` at 0x0000000e, 2 instructions before",
    ];
    assert_eq!(of_report(&String::from_utf8_lossy(&output.stderr)), expected);
}

#[test]
fn it_goes_with_all_that_a_run_has_but_kvm_and_gdb() {
    let run = |options: &[&str], status: i32| {
        let mut command = program();
        let output = command.args(options).arg(image("with", READ)).stdin(Stdio::null()).output();
        let output = output.expect("flatland starts");
        assert_eq!(output.status.code(), Some(status));
        String::from_utf8(output.stderr).expect("it is text")
    };
    assert_eq!(
        run(&["--track-origins", "--engine", "kvm"], 2),
        "flatland: KVM keeps no past: leave out --engine kvm, or record the run with --record FILE, and then `flatland replay \
         --track-origins FILE`; `flatland --help` lists what there is\n"
    );
    assert_eq!(
        run(&["--track-origins", "--gdb"], 2),
        "flatland: in gdb, `last-write` and `who` track origins: leave out --track-origins; `flatland --help` lists what \
         there is\n"
    );
    // A run without a fault has nothing to tell.
    assert_eq!(run(&["--track-origins"], 0), "");
}
