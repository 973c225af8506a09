//! The guest's own breakpoints: DR0 to DR7 and #DB (SDM volume 3, section 19.2 and 19.3), on each engine.
//!
//! A KVM that emulates the processor has no breakpoints for data, and is left out. This program needs nothing but
//! /dev/kvm, so its binary also runs on another machine.

mod common;

use common::engines;
use flatland::EngineChoice;
use flatland::MemorySize;
use flatland::x86::{DebugStop, Engine, Exit, Fault, FaultKind, Location, Registers, Stops, cr4, eflags};

const RAM: u32 = 0x1_0000;
/// Where the code of a case begins, behind what sets up its handler.
const CODE: u32 = 0x40;
const HANDLER: u32 = 0x1000;
const IDT: u32 = 0x2000;
const LOG_END: u32 = 0x3000;
const LOG: u32 = 0x3100;
/// What is watched.
const DATA: u32 = 0x4000;
const STACK: u32 = 0x8000;

const B0: u32 = 1 << 0;
const B1: u32 = 1 << 1;
const BD: u32 = 1 << 13;
const BS: u32 = 1 << 14;

/// The R/W field of DR7.
const WRITE: u32 = 0b01;
const PORT: u32 = 0b10;
const ACCESS: u32 = 0b11;

/// DR7 with the breakpoint of this number enabled locally.
fn enabled(number: u32, kind: u32, len: u32) -> u32 {
    1 << (number * 2) | kind << (16 + number * 4) | (len - 1) << (18 + number * 4)
}

/// mov eax, value; mov dr, eax
fn set(register: u8, value: u32) -> Vec<u8> {
    [&[0xb8][..], &value.to_le_bytes(), &[0x0f, 0x23, 0xc0 | register << 3]].concat()
}

/// The code of a case, and the address of each of its parts.
fn code(parts: &[&[u8]]) -> (Vec<u8>, Vec<u32>) {
    let mut at = CODE;
    let addresses = parts.iter().map(|part| {
        at += part.len() as u32;
        at - part.len() as u32
    });
    let addresses = addresses.collect();
    (parts.concat(), addresses)
}

/// A debug exception as its handler has found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    eip: u32,
    /// RF in the frame. A handler sets it where the processor has not, so that the test ends.
    resumes: bool,
    /// DR6 without the bits that are always set.
    dr6: u32,
}

fn trap(eip: u32, dr6: u32) -> Found {
    Found { eip, resumes: false, dr6 }
}

fn fault(eip: u32, dr6: u32) -> Found {
    Found { eip, resumes: true, dr6 }
}

/// Puts the handler of #DB that logs into RAM, and the code. `resume` is whether it sets RF: QEMU's processor, below a KVM that is
/// nested in it, does not.
fn prepare(engine: &mut dyn Engine, code: &[u8], resume: bool) {
    let put = |engine: &mut dyn Engine, at: u32, bytes: &[u8]| {
        assert_eq!(engine.write_ram(at, bytes), bytes.len());
    };
    let gate = [HANDLER as u16, 8, 0x8e00, 0].map(u16::to_le_bytes).concat();
    put(engine, IDT + 8, &gate);
    put(engine, 0x1ff0, &[0xff, 0x07, 0x00, 0x20, 0, 0]);
    put(engine, LOG_END, &LOG.to_le_bytes());
    #[rustfmt::skip]
    let handler = [
        0x60,                               // pushad
        0x8b, 0x3d, 0x00, 0x30, 0x00, 0x00, // mov edi, [LOG_END]
        0x8b, 0x44, 0x24, 0x20, 0xab,       // mov eax, [esp + 32]; stosd: EIP
        0x8b, 0x44, 0x24, 0x28, 0xab,       // mov eax, [esp + 40]; stosd: EFLAGS
        0x0f, 0x21, 0xf0, 0xab,             // mov eax, dr6; stosd
        0x0f, 0x21, 0xf8, 0xab,             // mov eax, dr7; stosd
        0x89, 0x3d, 0x00, 0x30, 0x00, 0x00, // mov [LOG_END], edi
        0xb8, 0xf0, 0x0f, 0xff, 0xff,       // mov eax, 0xffff0ff0
        0x0f, 0x23, 0xf0,                   // mov dr6, eax
    ];
    // or byte [esp + 42], 1; popad; iret
    let end: &[u8] = if resume { &[0x80, 0x4c, 0x24, 0x2a, 1, 0x61, 0xcf] } else { &[0x61, 0xcf] };
    put(engine, HANDLER, &[&handler[..], end].concat());
    // lidt [0x1ff0]; jmp CODE
    put(engine, 0, &[0x0f, 0x01, 0x1d, 0xf0, 0x1f, 0, 0, 0xeb, CODE as u8 - 9]);
    put(engine, CODE, code);
    let registers = Registers { esp: STACK, eflags: eflags::RESERVED_1, ..Registers::default() };
    engine.set_registers(&registers).unwrap();
}

/// Runs to `hlt`. Input is 0x5a.
fn run(engine: &mut dyn Engine) -> Registers {
    loop {
        match engine.run().unwrap() {
            Exit::Halt => break engine.registers().unwrap(),
            Exit::In { data, .. } => data.fill(0x5a),
            Exit::Out { .. } => {}
            exit => panic!("{exit:?}"),
        }
    }
}

fn log(engine: &mut dyn Engine) -> Vec<Found> {
    let word = |at: u32| {
        let mut bytes = [0; 4];
        engine.read_ram(at, &mut bytes);
        u32::from_le_bytes(bytes)
    };
    let entries = (LOG..word(LOG_END)).step_by(16);
    let found = entries.map(|at| {
        // GD is clear in its handler.
        assert_eq!(word(at + 12) & 1 << 13, 0);
        assert_eq!(word(at + 8) & 0xffff_0ff0, 0xffff_0ff0);
        Found { eip: word(at), resumes: word(at + 4) & eflags::RF != 0, dr6: word(at + 8) & 0xf00f }
    });
    found.collect()
}

/// A new machine on this engine.
fn open(engine: EngineChoice) -> Box<dyn Engine> {
    let memory = MemorySize::from_bytes(RAM.into()).unwrap();
    #[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
    if engine == EngineChoice::Kvm {
        let engine = flatland::kvm::KvmEngine::new(memory);
        return Box::new(engine.unwrap_or_else(|error| panic!("this test needs KVM, and {error}")));
    }
    assert_eq!(engine, EngineChoice::Soft);
    Box::new(flatland::soft::SoftEngine::new(memory))
}

/// Whether KVM runs the guest on the processor: one that emulates it has no `int3`.
fn has_breakpoints(choice: EngineChoice) -> bool {
    let mut engine = open(choice);
    engine.write_ram(0, &[0xcc]);
    let has_int3 = matches!(
        engine.run().unwrap(),
        Exit::Fault(Fault { kind: FaultKind::Exception { vector: 3, .. }, .. })
    );
    if !has_int3 {
        println!("not tested: this KVM has no breakpoints for data, because it emulates the processor");
    }
    has_int3
}

/// Checks what the handler finds, and EBX at the end, on each engine that has breakpoints. Only the soft engine pushes RF
/// wherever the manual says so.
#[track_caller]
fn check(code: &[u8], expected: &[Found], ebx: u32) {
    for choice in [EngineChoice::Soft, EngineChoice::Kvm] {
        if !engines().contains(&choice) || !has_breakpoints(choice) {
            continue;
        }
        check_on(choice, code, expected, ebx);
    }
}

#[track_caller]
fn check_on(choice: EngineChoice, code: &[u8], expected: &[Found], ebx: u32) {
    let is_soft = choice == EngineChoice::Soft;
    let mut engine = open(choice);
    let is_fault = expected.iter().any(|found| found.resumes);
    prepare(&mut *engine, code, is_fault && !is_soft);
    let registers = run(&mut *engine);
    let mut found = log(&mut *engine);
    if !is_soft {
        found.iter_mut().zip(expected).for_each(|(found, expected)| found.resumes = expected.resumes);
    }
    assert_eq!((&found[..], registers.ebx), (expected, ebx), "{choice:?} {code:02x?}");
    assert_eq!(registers.esp, STACK, "{choice:?} {code:02x?}");
}

#[test]
fn an_instruction_breakpoint_is_a_fault_before_each_execution() {
    // mov ecx, 3; at: inc ebx; loop at; hlt
    let (dr7, prologue) = ([1, 2, 3], CODE + 21);
    for enable in dr7 {
        let (code, at) =
            code(&[&set(0, prologue), &set(7, enable), &[0xb9, 3, 0, 0, 0], &[0x43, 0xe2, 0xfd, 0xf4]]);
        assert_eq!(at[3], prologue);
        check(&code, &[fault(prologue, B0); 3], 3);
    }
}

#[test]
fn breakpoints_that_are_not_enabled_and_those_elsewhere_are_not_met() {
    // The prefix of an instruction is its first byte: es inc ebx; hlt
    let (code, _) = code(&[&set(0, CODE + 25), &set(1, CODE + 24), &set(7, 1), &[0x26, 0x43, 0xf4]]);
    check(&code, &[], 1);
}

#[test]
fn several_breakpoints_are_one_exception() {
    let (code, at) = code(&[&set(0, CODE + 24), &set(1, CODE + 24), &set(7, 5), &[0x43, 0xf4]]);
    check(&code, &[fault(at[3], B0 | B1)], 1);
}

#[test]
fn a_data_breakpoint_is_a_trap_after_the_access() {
    let data = |offset: u32| DATA.wrapping_add(offset).to_le_bytes();
    let store_byte = |offset| [&[0xa2][..], &data(offset)].concat();
    let store = |offset| [&[0xa3][..], &data(offset)].concat();
    let load = |offset| [&[0xa1][..], &data(offset)].concat();
    // inc dword [data]
    let change = |offset| [&[0xff, 0x05][..], &data(offset)].concat();
    for (kind, len, access, is_met) in [
        (WRITE, 1, store_byte(0), true),
        (WRITE, 1, store_byte(1), false),
        (WRITE, 1, store(0), true),
        (WRITE, 1, store(-3_i32 as u32), true),
        (WRITE, 1, store(-4_i32 as u32), false),
        (WRITE, 2, store_byte(1), true),
        (WRITE, 2, store_byte(2), false),
        (WRITE, 4, store_byte(3), true),
        (WRITE, 4, store_byte(4), false),
        (WRITE, 4, load(0), false),
        (WRITE, 4, change(0), true),
        (ACCESS, 4, load(0), true),
        (ACCESS, 4, load(3), true),
        (ACCESS, 4, load(4), false),
        (ACCESS, 2, store(0), true),
        // push dword [data]; pop eax
        (ACCESS, 1, [&[0xff, 0x35][..], &data(0), &[0x58]].concat(), true),
    ] {
        let dr7 = enabled(1, kind, len);
        let (code, at) = code(&[&set(1, DATA), &set(7, dr7), &access, &[0x43, 0xf4]]);
        // The `pop` is an instruction of its own.
        let next = at[3] - u32::from(access.ends_with(&[0x58]));
        let expected = if is_met { vec![trap(next, B1)] } else { vec![] };
        check(&code, &expected, 1);
    }
}

#[test]
fn the_address_of_a_data_breakpoint_is_aligned_by_its_length() {
    // DR0 is DATA + 3 with 4 bytes: mov [DATA], al; mov [DATA + 4], al
    let store = |offset: u32| [&[0xa2][..], &(DATA + offset).to_le_bytes()].concat();
    let (code, at) =
        code(&[&set(0, DATA + 3), &set(7, enabled(0, WRITE, 4)), &store(0), &store(4), &[0x43, 0xf4]]);
    // QEMU's processor takes the address as it is.
    check_on(EngineChoice::Soft, &code, &[trap(at[3], B0)], 1);
}

#[test]
fn pushes_and_calls_are_accesses() {
    // push eax; pop eax; call the next; pop eax
    let (code, at) = code(&[
        &set(0, STACK - 4),
        &set(7, enabled(0, WRITE, 4)),
        &[0x50],
        &[0x58, 0xe8, 0, 0, 0, 0],
        &[0x58, 0x43, 0xf4],
    ]);
    check(&code, &[trap(at[3], B0), trap(at[4], B0)], 1);
}

#[test]
fn a_repeated_instruction_traps_in_the_middle() {
    // mov edi, DATA - 2; mov ecx, 4; rep stosb
    let edi = [&[0xbf][..], &(DATA - 2).to_le_bytes()].concat();
    let (code, at) = code(&[
        &set(0, DATA),
        &set(1, DATA + 1),
        &set(7, enabled(0, WRITE, 1) | enabled(1, WRITE, 1)),
        &edi,
        &[0xb9, 4, 0, 0, 0],
        &[0xf3, 0xaa],
        &[0x89, 0xcb, 0xf4],
    ]);
    // The first has RF, so that an instruction breakpoint there would not be met again. QEMU's processor, below a KVM that is
    // nested in it, makes all iterations before it traps.
    check_on(EngineChoice::Soft, &code, &[fault(at[5], B0), trap(at[6], B1)], 0);
}

#[test]
fn a_trap_of_tf_and_of_a_breakpoint_are_one() {
    // pushfd; or dword [esp], 0x100; popfd; mov [DATA], eax; and dword [esp - 4], ~0x100; ...
    let store = [&[0xa3][..], &DATA.to_le_bytes()].concat();
    let (code, at) = code(&[
        &set(0, DATA),
        &set(7, enabled(0, WRITE, 4)),
        &[0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d],
        &store,
        &[0x6a, 2],
        &[0x9d],
        &[0x43, 0xf4],
    ]);
    check(&code, &[trap(at[4], B0 | BS), trap(at[5], BS), trap(at[6], BS)], 1);
}

#[test]
fn a_load_of_ss_puts_breakpoints_off() {
    // mov ss, [DATA]; inc ebx; inc ebx: with a breakpoint at the first `inc ebx`, too
    let load = [&[0x8e, 0x15][..], &DATA.to_le_bytes()].concat();
    let word = [&[0xc7, 0x05][..], &DATA.to_le_bytes(), &[0x10, 0, 0, 0]].concat();
    let place = CODE + 10 + 8 * 3 + 6;
    let (code, at) = code(&[
        &word,
        &set(0, DATA),
        &set(1, place),
        &set(7, enabled(0, ACCESS, 2) | enabled(1, 0, 1)),
        &load,
        &[0x43],
        &[0x43, 0xf4],
    ]);
    assert_eq!(at[5], place);
    // QEMU's processor gives up here with an assertion of its own.
    check_on(EngineChoice::Soft, &code, &[trap(at[6], B0)], 2);
}

#[test]
fn breakpoints_at_ports_need_cr4_de() {
    // mov eax, cr4; mov cr4, eax
    let extended = |de: u32| [&[0xb8][..], &de.to_le_bytes(), &[0x0f, 0x22, 0xe0]].concat();
    for (de, is_met) in [(cr4::DE, true), (0, false)] {
        let (code, at) = code(&[
            &extended(de),
            &set(0, 0xe8),
            &set(7, enabled(0, PORT, 2)),
            // out 0xe9, al; in al, 0xe9; out 0xea, al
            &[0xe6, 0xe9],
            &[0xe4, 0xe9],
            &[0xe6, 0xea],
            // mov edi, DATA; mov ecx, 2; mov edx, 0xe9; rep insb
            &[&[0xbf][..], &DATA.to_le_bytes(), &[0xb9, 2, 0, 0, 0, 0xba, 0xe9, 0, 0, 0]].concat(),
            &[0xf3, 0x6c],
            &[0x43, 0xf4],
        ]);
        let traps = [trap(at[4], B0), trap(at[5], B0), fault(at[7], B0), trap(at[8], B0)];
        // KVM makes transfers by itself, and has no breakpoints there.
        check_on(EngineChoice::Soft, &code, if is_met { &traps } else { &[] }, 1);
    }
}

#[test]
fn an_access_to_debug_registers_is_found() {
    // mov eax, dr0; mov ecx, dr7: the first handler has cleared GD
    let (code, at) = code(&[&set(7, 0x2000), &[0x0f, 0x21, 0xc0], &[0x0f, 0x21, 0xf9], &[0x43, 0xf4]]);
    check(&code, &[fault(at[1], BD)], 1);
}

#[test]
fn without_a_handler_the_run_ends_at_the_breakpoint() {
    let at_7 =
        |kind, location| Fault { kind: FaultKind::Exception { vector: 1, error_code: kind }, location };
    // mov [DATA], al; hlt, and where that ends
    let store = [&[0xa2][..], &DATA.to_le_bytes(), &[0xf4]].concat();
    for (register, dr7, code) in [(16, 1, vec![0x90]), (DATA, enabled(0, WRITE, 1), store)] {
        let mut engine = open(EngineChoice::Soft);
        engine.write_ram(0, &[&set(0, register)[..], &set(7, dr7), &code].concat());
        let place = if register == DATA { 21 } else { 16 };
        match engine.run().unwrap() {
            Exit::Fault(fault) => assert_eq!(fault, at_7(None, Location::At(place))),
            exit => panic!("{exit:?}"),
        }
    }
}

#[test]
fn a_step_of_the_host_goes_into_the_handler_of_a_breakpoint() {
    let mut engine = open(EngineChoice::Soft);
    let (code, at) = code(&[&set(0, CODE + 16), &set(7, 1), &[0x43, 0xf4]]);
    prepare(&mut *engine, &code, false);
    engine.set_stops(&Stops { breakpoints: vec![at[2]], ..Stops::default() }).unwrap();
    // The host's breakpoint is first, and again when the handler returns.
    for _ in 0..2 {
        assert!(matches!(engine.run().unwrap(), Exit::Debug(DebugStop::Breakpoint)));
        assert_eq!(engine.registers().unwrap().eip, at[2]);
    }
    let registers = engine.registers().unwrap();
    assert_eq!((registers.ebx, registers.eflags & eflags::RF), (0, eflags::RF));
    engine.set_stops(&Stops { step: true, ..Stops::default() }).unwrap();
    assert!(matches!(engine.run().unwrap(), Exit::Debug(DebugStop::Step)));
    let registers = engine.registers().unwrap();
    assert_eq!((registers.ebx, registers.eflags & eflags::RF), (1, 0));
    assert_eq!(log(&mut *engine).len(), 1);
}
