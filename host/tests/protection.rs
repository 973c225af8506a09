//! Memory protection, with images of a few bytes on each engine: read-only memory, and the guard below the stack.
//!
//! Like `contract.rs` this program needs nothing but /dev/kvm, so its binary also runs on another machine.

mod common;

use common::{Run, agreed, ended, engines, finish, machine_with};
use flatland::EngineChoice;
use flatland::x86::Segment;
use flatland::x86::{Access, Fault, FaultKind, Location};
use flatland::{Machine, MemoryMap, MemorySize, Outcome};
use flatland_contract::memory::{DEFAULT_RAM_SIZE, Layout, default_stack_size};

const STACK_SIZE: u32 = default_stack_size(DEFAULT_RAM_SIZE);
const LAYOUT: Layout = Layout::new(DEFAULT_RAM_SIZE, STACK_SIZE);
const HEAP_END: u32 = LAYOUT.heap_end;
const STACK_START: u32 = LAYOUT.stack_start;

/// Code in the pages 0 and 1, constants in the pages 2 and 5, variables in page 3.
fn memory() -> MemoryMap {
    let segment = |start, end, writable| Segment { start, end, writable };
    MemoryMap::from(MemorySize::default())
        .protecting(&[
            segment(0, 0x1800, false),
            segment(0x2000, 0x2010, false),
            segment(0x3000, 0x3010, true),
            segment(0x5000, 0x6000, false),
        ])
        .expect("there is room")
}

fn machines(code: &[u8], input: &[u8]) -> impl Iterator<Item = Machine> {
    engines().iter().map(move |engine| machine_with(*engine, memory(), code, input))
}

/// Runs this code on each engine.
fn run(code: &[u8]) -> Run {
    agreed(machines(code, b"0123456789"), code)
}

fn fault(kind: FaultKind, location: Location) -> Outcome {
    Outcome::Fault(Fault { kind, location })
}

fn guard(access: Access, address: u32) -> FaultKind {
    FaultKind::Guard { access, address, start: HEAP_END, end: STACK_START }
}

fn read_only(address: u32) -> FaultKind {
    FaultKind::ReadOnly { address }
}

const OVERFLOW: FaultKind = FaultKind::StackOverflow { stack_size: STACK_SIZE };

/// Bytes of code, with the addresses among them.
macro_rules! code {
    ($($part:expr),* $(,)?) => {{
        let mut code: Vec<u8> = Vec::new();
        $(code.extend_from_slice(&$part);)*
        code
    }};
}

/// An address, or another number of four bytes.
fn dword(value: u32) -> [u8; 4] {
    value.to_le_bytes()
}

#[test]
fn stores_to_read_only_memory() {
    for (code, address, at) in [
        // 0: mov [0xc], al
        (code!([0xa2], dword(0xc)), 0xc, 0),
        // 0: mov [0xfff], al
        (code!([0xa2], dword(0xfff)), 0xfff, 0),
        // 0: nop; 1: mov [0x1234], eax
        (code!([0x90, 0xa3], dword(0x1234)), 0x1234, 1),
        // 0: inc dword [0x2008]
        (code!([0xff, 0x05], dword(0x2008)), 0x2008, 0),
        // 0: lock xadd [0x2000], eax
        (code!([0xf0, 0x0f, 0xc1, 0x05], dword(0x2000)), 0x2000, 0),
        // 0: bts dword [0x2000], 31
        (code!([0x0f, 0xba, 0x2d], dword(0x2000), [31]), 0x2000, 0),
        // 0: mov [0x2ffe], eax (half of it could be written)
        (code!([0xa3], dword(0x2ffe)), 0x2ffe, 0),
        // 0: mov [0x4ffe], eax (the other half could)
        (code!([0xa3], dword(0x4ffe)), 0x5000, 0),
        // 0: mov ecx, 8; 5: mov edi, 0x4ffe; a: rep stosb
        (code!([0xb9], dword(8), [0xbf], dword(0x4ffe), [0xf3, 0xaa]), 0x5000, 10),
        // 0: mov ecx, 3; 5: mov edi, 0x4ffe; a: rep stosb, with its last byte
        (code!([0xb9], dword(3), [0xbf], dword(0x4ffe), [0xf3, 0xaa]), 0x5000, 10),
        // 0: mov ecx, 8; 5: mov edi, 0x4ff8; a: rep movsd
        (code!([0xb9], dword(8), [0xbf], dword(0x4ff8), [0xf3, 0xa5]), 0x5000, 10),
        // 0: std; 1: mov ecx, 8; 6: mov edi, 0x3004; b: rep stosd
        (code!([0xfd, 0xb9], dword(8), [0xbf], dword(0x3004), [0xf3, 0xab]), 0x2ffc, 11),
        // The next instruction is a repeated one. 0: mov [0x2000], al; 5: rep stosb
        (code!([0xa2], dword(0x2000), [0xf3, 0xaa]), 0x2000, 0),
        // 0: mov edi, 0x2000; 5: stosd
        (code!([0xbf], dword(0x2000), [0xab]), 0x2000, 5),
        // 0: mov esp, 0x2800; 5: push eax
        (code!([0xbc], dword(0x2800), [0x50]), 0x27fc, 5),
    ] {
        assert_eq!(run(&code), ended(fault(read_only(address), Location::At(at)), b""), "{code:02x?}");
    }
}

/// KVM reads the port before it finds that the byte cannot be stored.
#[test]
fn input_to_read_only_memory() {
    // 0: mov edx, 0xe9; 5: mov ecx, 8; a: mov edi, 0x4ffe; f: rep insb
    let code = code!([0xba], dword(0xe9), [0xb9], dword(8), [0xbf], dword(0x4ffe), [0xf3, 0x6c]);
    assert_eq!(run(&code), ended(fault(read_only(0x5000), Location::At(15)), b""));
    // 0: mov edx, 0xe9; 5: mov edi, 0xdf0000; a: insb
    let code = code!([0xba], dword(0xe9), [0xbf], dword(HEAP_END), [0x6c]);
    assert_eq!(run(&code), ended(fault(guard(Access::Write, HEAP_END), Location::At(10)), b""));
}

#[test]
fn accesses_in_the_guard_that_are_not_the_stacks() {
    use Access::{Execute, Read, Write};
    for (code, access, address, at) in [
        // 0: mov [HEAP_END], al
        (code!([0xa2], dword(HEAP_END)), Write, HEAP_END, 0),
        // 0: mov [HEAP_END - 2], eax
        (code!([0xa3], dword(HEAP_END - 2)), Write, HEAP_END, 0),
        // 0: mov al, [STACK_START - 1]
        (code!([0xa0], dword(STACK_START - 1)), Read, STACK_START - 1, 0),
        // 0: mov eax, [STACK_START - 1]
        (code!([0xa1], dword(STACK_START - 1)), Read, STACK_START - 1, 0),
        // 0: mov eax, [HEAP_END - 3]
        (code!([0xa1], dword(HEAP_END - 3)), Read, HEAP_END, 0),
        // A heap that is overrun. 0: mov ecx, 8; 5: mov edi, HEAP_END - 8; a: rep stosd
        (code!([0xb9], dword(8), [0xbf], dword(HEAP_END - 8), [0xf3, 0xab]), Write, HEAP_END, 10),
        // The stack is filled from above. 0: std; 1: mov ecx, 8; 6: mov edi, STACK_START + 4; b: rep stosd
        (
            code!([0xfd, 0xb9], dword(8), [0xbf], dword(STACK_START + 4), [0xf3, 0xab]),
            Write,
            STACK_START - 4,
            11,
        ),
        // 0: mov ecx, 8; 5: mov esi, HEAP_END - 8; a: mov edi, 0x3000; f: rep movsd
        (
            code!([0xb9], dword(8), [0xbe], dword(HEAP_END - 8), [0xbf], dword(0x3000), [0xf3, 0xa5]),
            Read,
            HEAP_END,
            15,
        ),
        // A stack of the guest's own. 0: mov esp, 0x4000; 5: mov [STACK_START - 4], eax
        (code!([0xbc], dword(0x4000), [0xa3], dword(STACK_START - 4)), Write, STACK_START - 4, 5),
        // 0: mov eax, HEAP_END + 8; 5: jmp eax
        (code!([0xb8], dword(HEAP_END + 8), [0xff, 0xe0]), Execute, HEAP_END + 8, HEAP_END + 8),
        // The zeros of the heap are executed. 0: mov eax, HEAP_END - 1; 5: jmp eax
        (code!([0xb8], dword(HEAP_END - 1), [0xff, 0xe0]), Execute, HEAP_END, HEAP_END - 1),
    ] {
        let expected = fault(guard(access, address), Location::At(at));
        assert_eq!(run(&code), ended(expected, b""), "{code:02x?}");
    }
}

#[test]
fn stacks_that_overflow() {
    for (code, at) in [
        // 0: call 0
        (code!([0xe8, 0xfb, 0xff, 0xff, 0xff]), 0),
        // 0: mov eax, 6; 5: push ebp; 6: push ebp; 7: call eax
        (code!([0xb8], dword(6), [0x55, 0x55, 0xff, 0xd0]), 7),
        // 0: mov dword [0x3000], 0x200; a: mov esp, STACK_START; f: call [0x3000]
        (
            code!(
                [0xc7, 0x05],
                dword(0x3000),
                dword(0x200),
                [0xbc],
                dword(STACK_START),
                [0xff, 0x15],
                dword(0x3000)
            ),
            15,
        ),
        // 0: push eax; 1: jmp 0
        (code!([0x50, 0xeb, 0xfd]), 0),
        // 0: mov esp, STACK_START + 2; 5: push eax
        (code!([0xbc], dword(STACK_START + 2), [0x50]), 5),
        // 0: mov esp, STACK_START; 5: push dword [0x3000]
        (code!([0xbc], dword(STACK_START), [0xff, 0x35], dword(0x3000)), 5),
        // 0: sub esp, STACK_SIZE + 8; 6: mov [esp], eax
        (code!([0x81, 0xec], dword(STACK_SIZE + 8), [0x89, 0x04, 0x24]), 6),
        // A frame of 3 MiB that touches each page, as LLVM generates it. 0: lea eax, [esp - 0x300000];
        // 7: sub esp, 0x1000; d: mov dword [esp], 0; 14: cmp esp, eax; 16: jne 7
        (
            code!(
                [0x8d, 0x84, 0x24],
                dword(0x30_0000_u32.wrapping_neg()),
                [0x81, 0xec],
                dword(0x1000),
                [0xc7, 0x04, 0x24],
                dword(0),
                [0x39, 0xc4, 0x75, 0xef]
            ),
            13,
        ),
        // 0: mov esp, STACK_START - 8; 5: pop eax
        (code!([0xbc], dword(STACK_START - 8), [0x58]), 5),
        // 0: mov esp, HEAP_END; 5: ret
        (code!([0xbc], dword(HEAP_END), [0xc3]), 5),
    ] {
        assert_eq!(run(&code), ended(fault(OVERFLOW, Location::At(at)), b""), "{code:02x?}");
    }
}

#[test]
fn exceptions_whose_frame_finds_the_guard() {
    // 0: mov esp, ESP; 5: ud2
    for esp in [STACK_START, STACK_START + 8, STACK_START - 0x100, HEAP_END + 4] {
        let code = code!([0xbc], dword(esp), [0x0f, 0x0b]);
        assert_eq!(run(&code), ended(fault(OVERFLOW, Location::At(5)), b""), "{esp:#x}");
    }
    // 0: lidt [0x18]; 7: mov esp, STACK_START; c: ud2; 18: limit, base; 20 and on: vectors, all the first 8 bytes
    let mut code = code!([0x0f, 0x01, 0x1d], dword(0x18), [0xbc], dword(STACK_START), [0x0f, 0x0b]);
    code.resize(0x18, 0);
    code.extend([0x37, 0, 0x20, 0, 0, 0, 0, 0]);
    for _ in 0..7 {
        code.extend([0x0e, 0, 8, 0, 0, 0x8e, 0, 0]);
    }
    for engine in engines() {
        let outcome = finish(machine_with(*engine, memory(), &code, b"")).outcome;
        assert_eq!(outcome, fault(OVERFLOW, Location::At(12)), "{engine:?}");
    }
}

#[test]
fn an_exception_whose_frame_just_fits_is_named() {
    // 0: mov esp, STACK_START + 16; 5: ud2
    let code = code!([0xbc], dword(STACK_START + 16), [0x0f, 0x0b]);
    let invalid_opcode = FaultKind::Exception { vector: 6, error_code: None };
    assert_eq!(run(&code), ended(fault(invalid_opcode, Location::At(5)), b""));
}

#[test]
#[rustfmt::skip]
fn everything_else_is_as_ever() {
    let code = code!(
        [0xa1], dword(0x2ffc),             //  0: mov eax, [0x2ffc]
        [0xa3], dword(0x3000),             //  5: mov [0x3000], eax
        [0xa3], dword(0x4ffc),             //  a: mov [0x4ffc], eax
        [0xa3], dword(0x6000),             //  f: mov [0x6000], eax
        [0xa3], dword(HEAP_END - 4),       // 14: mov [HEAP_END - 4], eax
        [0xa3], dword(STACK_START),        // 19: mov [STACK_START], eax
        [0xa1], dword(HEAP_END - 4),       // 1e: mov eax, [HEAP_END - 4]
        [0xa1], dword(STACK_START),        // 23: mov eax, [STACK_START]
        [0xb9], dword(0x1000 / 4),         // 28: mov ecx, 0x1000 / 4
        [0xbe], dword(0),                  // 2d: mov esi, 0
        [0xbf], dword(0x3000),             // 32: mov edi, 0x3000
        [0xf3, 0xa5],                      // 37: rep movsd
        [0xb8], dword(0x3042),             // 39: mov eax, 0x3042
        [0xff, 0xd0],                      // 3e: call eax
        [0xf4, 0x90],                      // 40: hlt; nop
        [0xba], dword(0xe9),               // 42: mov edx, 0xe9
        [0xb9], dword(3),                  // 47: mov ecx, 3
        [0xbe], dword(0x53),               // 4c: mov esi, 0x53
        [0xf3, 0x6e],                      // 51: rep outsb
        [0xc3, b'+', b'!'],                // 53: ret
    );
    assert_eq!(run(&code), ended(Outcome::Halted, &[0xc3, b'+', b'!']));
}

#[test]
fn the_guest_is_told_the_layout_that_is() {
    let stack = MemorySize::from_bytes(0x5000).unwrap();
    let map = MemoryMap::with_stack(MemorySize::default(), stack).unwrap();
    // 0: mov edx, 0xec; 5: mov ecx, 12; a: mov edi, 0x3000; f: rep insb; 11: mov dl, 0xe9; 13: mov cl, 12;
    // 15: mov esi, 0x3000; 1a: rep outsb; 1c: hlt
    let code = code!(
        [0xba],
        dword(0xec),
        [0xb9],
        dword(12),
        [0xbf],
        dword(0x3000),
        [0xf3, 0x6c, 0xb2, 0xe9, 0xb1, 12, 0xbe],
        dword(0x3000),
        [0xf3, 0x6e, 0xf4]
    );
    for engine in engines() {
        let run = finish(machine_with(*engine, map.clone(), &code, b""));
        assert_eq!(run, ended(Outcome::Halted, &Layout::new(DEFAULT_RAM_SIZE, 0x5000).to_bytes()));
    }
}

#[test]
fn without_protection_all_of_ram_can_be_written() {
    // 0: mov [0x100], eax; 5: mov [HEAP_END], eax; a: mov esp, STACK_START; f: push eax; 10: hlt
    let code = code!([0xa3], dword(0x100), [0xa3], dword(HEAP_END), [0xbc], dword(STACK_START), [0x50, 0xf4]);
    assert_eq!(common::run(&code, b""), ended(Outcome::Halted, b""));
}

#[test]
fn the_host_may_read_and_write_what_the_guest_may_not() {
    for mut machine in machines(&[0xf4], b"") {
        for address in [0x1000, HEAP_END - 2, STACK_START - 2] {
            let mut bytes = [0; 4];
            assert_eq!(machine.engine().write_ram(address, b"host"), 4);
            assert_eq!((machine.engine().read_ram(address, &mut bytes), &bytes), (4, b"host"));
        }
    }
}

/// Loading a descriptor sets its accessed flag in its table. KVM on a processor cannot emulate that.
#[test]
fn a_table_of_descriptors_in_read_only_memory() {
    // 0: lgdt [0x18]; 7: mov eax, 8; c: mov ds, eax; e: hlt; 18: limit, base; 20: null; 28: flat data
    let code = |access: u8| {
        let mut code = code!([0x0f, 0x01, 0x15], dword(0x18), [0xb8], dword(8), [0x8e, 0xd8, 0xf4]);
        code.resize(0x18, 0);
        code.extend([0x0f, 0, 0x20, 0, 0, 0, 0, 0]);
        code.extend([0; 8]);
        code.extend([0xff, 0xff, 0, 0, 0, access, 0xcf, 0]);
        code
    };
    assert_eq!(run(&code(0x93)), ended(Outcome::Halted, b""));
    let soft = finish(machine_with(EngineChoice::Soft, memory(), &code(0x92), b""));
    assert_eq!(soft, ended(fault(read_only(0x2d), Location::At(12)), b""));
}
