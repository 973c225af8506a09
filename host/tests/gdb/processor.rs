//! What the real gdb sees of a processor that is more than i386: x87, SSE, and pages.

use crate::{Waiting, assert_lines};

/// Turns SSE on, loads numbers, and sends what is stored of them.
///
/// ```text
///  0: mov eax, cr4;  3: or eax, 0x600;  8: mov cr4, eax
///  b: fld1;  d: fldpi
///  f: movups xmm0, [0x100]
/// 16: nop
/// 17: fstp qword [0x120]
/// 1d: movups [0x110], xmm1
/// 24: mov esi, 0x110;  29: mov ecx, 24;  2e: mov edx, 0xe9;  33: rep outsb;  35: hlt
/// ```
const FLOATS: &[u8] = &[
    0x0f, 0x20, 0xe0, 0x0d, 0, 6, 0, 0, 0x0f, 0x22, 0xe0, // SSE
    0xd9, 0xe8, 0xd9, 0xeb, 0x0f, 0x10, 0x05, 0, 1, 0, 0, 0x90, // numbers
    0xdd, 0x1d, 0x20, 1, 0, 0, 0x0f, 0x11, 0x0d, 0x10, 1, 0, 0, // stores
    0xbe, 0x10, 1, 0, 0, 0xb9, 24, 0, 0, 0, 0xba, 0xe9, 0, 0, 0, 0xf3, 0x6e, 0xf4,
];

/// What the guest above loads into XMM0.
const NUMBERS: [f32; 4] = [0.5, -2.0, 3.0, 1024.0];

fn floats() -> Waiting {
    let mut image = FLOATS.to_vec();
    image.resize(0x100, 0);
    image.extend(NUMBERS.iter().flat_map(|number| number.to_le_bytes()));
    // A KVM that emulates has neither: gdb's session is on the engine that has them.
    Waiting::new(&image, &["--engine", "soft"])
}

#[test]
fn floats_are_read() {
    let waiting = floats();
    let said = waiting.gdb(
        "break *0x16\ncontinue\nprint $xmm0.v4_float\nprint $xmm0.uint128\nprint/f $st0\nprint $st1\n\
         print $mxcsr\nprint/x $fctrl\nprint/x $ftag\ninfo float\nkill\n",
    );
    let lines = [
        "$1 = {0.5, -2, 3, 1024}",
        "$2 = 91052117731151149188767262351109914624",
        "$3 = 3.14159265358979323851",
        "$4 = 1",
        "$5 = [ IM DM ZM OM UM PM ]",
        "$6 = 0x37f",
        "$7 = 0xfff",
        "  R7: Valid   0x3fff8000000000000000 +1                         ",
        "=>R6: Valid   0x4000c90fdaa22168c235 +3.141592653589793239      ",
        "  R5: Empty   0x00000000000000000000",
        "Status Word:         0x3000                                            ",
        "                       TOP: 6",
        "Control Word:        0x037f   IM DM ZM OM UM PM",
        "Opcode:              0x0000",
    ];
    assert_lines(&said, &lines);
    assert_eq!(waiting.end().status, Some(137), "{said}");
}

#[test]
fn floats_are_written() {
    let waiting = floats();
    let said = waiting.gdb(
        "break *0x16\ncontinue\nset var $st0 = 2.5\nset var $xmm1.v2_int64[0] = 0x20212223414c4148\n\
         set var $xmm1.v2_int64[1] = 0x6d2d2d6d6d2d2d6d\nset var $ecx = 1\nprint $st0\nprint $eip\ncontinue\n",
    );
    let lines = ["$1 = 2.5", "$2 = (void (*)()) 0x16", "[Inferior 1 (process 1) exited normally]"];
    assert_lines(&said, &lines);
    let ended = waiting.end();
    // The last of it is 2.5, 0x4004000000000000.
    assert_eq!(ended.stdout, "HALA#\"! m--mm--m\0\0\0\0\0\0\u{4}@", "{said}");

    let waiting = floats();
    // A reserved bit.
    let said = waiting.gdb("set var $mxcsr = 0x11f80\n");
    assert_lines(&said, &["Could not write register \"mxcsr\"; remote failure reply 'E79'"]);
    assert_eq!(waiting.end().status, Some(137), "{said}");
}

/// Turns paging on, and sends a byte.
///
/// ```text
///  0: mov eax, 0x1000;  5: mov cr3, eax
///  8: mov eax, cr0;  b: or eax, 0x80000000;  10: mov cr0, eax
/// 13: nop
/// 14: mov al, [0x4000];  19: out 0xe9, al
/// 1b: hlt
/// ```
const PAGES: &[u8] = &[
    0xb8, 0, 0x10, 0, 0, 0x0f, 0x22, 0xd8, 0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0,
    0x90, //
    0xa0, 0, 0x40, 0, 0, 0xe6, 0xe9, 0xf4,
];

/// The words of its page tables: addresses and values. Pages up to 0x5000 are where they are; 0x400000 and 0x403000 are
/// 0x4000, and 0x401000 is 0x5000; 0x402000 and what is not named here are nowhere.
const ENTRIES: [(usize, u32); 11] = [
    (0x1000, 0x2003),
    (0x1004, 0x3003),
    (0x2000, 0x0003),
    (0x2004, 0x1003),
    (0x2008, 0x2003),
    (0x200c, 0x3003),
    (0x2010, 0x4003),
    (0x2014, 0x5003),
    (0x3000, 0x4003),
    (0x3004, 0x5003),
    (0x300c, 0x4001),
];

#[test]
fn memory_is_the_guests_when_paging_is_on() {
    let mut image = PAGES.to_vec();
    image.resize(0x6000, 0);
    for (address, value) in ENTRIES {
        image[address..address + 4].copy_from_slice(&value.to_le_bytes());
    }
    image[0x4000..0x4004].copy_from_slice(b"HALL");
    image[0x4ffe..0x5002].copy_from_slice(b"IBM!");
    let run = |commands: &str, stdout: &str, lines: &[&str]| {
        let waiting = Waiting::new(&image, &["--engine", "soft"]);
        let said = waiting.gdb(commands);
        assert_lines(&said, lines);
        let ended = waiting.end();
        assert_eq!(ended.stdout, stdout, "{said}");
    };
    run(
        "x/4c 0x4000\nbreak *0x13\ncontinue\nx/4c 0x400000\nx/4c 0x400ffe\nx/i 0x13\nset var *(char*)0x403000 = 'P'\n\
         x/c 0x4000\ncontinue\n",
        "P",
        &[
            "0x4000:\t72 'H'\t65 'A'\t76 'L'\t76 'L'",
            "0x400000:\t72 'H'\t65 'A'\t76 'L'\t76 'L'",
            "0x400ffe:\t73 'I'\t66 'B'\t77 'M'\t33 '!'",
            "=> 0x13:\tnop",
            "0x4000:\t80 'P'",
            "[Inferior 1 (process 1) exited normally]",
        ],
    );
    // There, and nowhere. What is partly nowhere is not written at all.
    let paged = "break *0x13\ncontinue\n";
    for (command, at) in [
        ("x/c 0x402000", "0x402000"),
        ("x/c 0x6000", "0x6000"),
        ("set var *(int*)0x401ffe = 1", "0x401ffe"),
        ("set var *(char*)0xffffffff = 1", "0xffffffff"),
    ] {
        run(&format!("{paged}{command}\n"), "", &[&format!("Cannot access memory at address {at}")]);
    }
    run(
        &format!(
            "{paged}python\ntry:\n  gdb.execute('set var *(int*)0x401ffe = 1')\nexcept gdb.MemoryError:\n  pass\nend\nx/2bx 0x401ffe\ncontinue\n"
        ),
        "H",
        &["0x401ffe:\t0x00\t0x00"],
    );
}
