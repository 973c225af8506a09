//! The soft engine through its public interface: hand-assembled programs.

mod alignment;
mod events;
mod interrupts;
mod paging;
mod stops;
mod transfers;
mod units;

use flatland::soft::SoftEngine;
use flatland::x86::{Access, Fault, FaultKind, Location, eflags};
use flatland::x86::{DebugStop, Engine, Exit, Registers, Stops, WatchKind, Watchpoint};
use flatland::{Image, Input, Machine, MemorySize, Outcome, Output, Streams};

const RAM: u32 = 0x1_0000;

/// A machine of 64 KiB with code at 0.
fn machine(code: &[u8]) -> SoftEngine {
    let mut engine = SoftEngine::new(MemorySize::from_bytes(RAM.into()).unwrap());
    assert_eq!(engine.write_ram(0, code), code.len());
    engine
}

fn fault(engine: &mut SoftEngine) -> Fault {
    match engine.run().unwrap() {
        Exit::Fault(fault) => fault,
        exit => panic!("{exit:?}"),
    }
}

fn halt(engine: &mut SoftEngine) -> Registers {
    match engine.run().unwrap() {
        Exit::Halt => engine.registers().unwrap(),
        exit => panic!("{exit:?}"),
    }
}

fn debug(engine: &mut SoftEngine) -> DebugStop {
    match engine.run().unwrap() {
        Exit::Debug(stop) => stop,
        exit => panic!("{exit:?}"),
    }
}

fn out(engine: &mut SoftEngine) -> (u16, u8, Vec<u8>) {
    match engine.run().unwrap() {
        Exit::Out { port, width, data } => (port, width, data.to_vec()),
        exit => panic!("{exit:?}"),
    }
}

fn read_u32(engine: &SoftEngine, address: u32) -> u32 {
    let mut bytes = [0; 4];
    engine.read_ram(address, &mut bytes);
    u32::from_le_bytes(bytes)
}

fn write_u32s(engine: &mut SoftEngine, address: u32, values: &[u32]) {
    for (index, value) in (0..).zip(values) {
        engine.write_ram(address + index * 4, &value.to_le_bytes());
    }
}

const fn exception(vector: u8, error_code: Option<u32>) -> FaultKind {
    FaultKind::Exception { vector, error_code }
}

fn outside(access: Access, address: u32) -> FaultKind {
    FaultKind::OutsideRam { access, address, ram_size: RAM }
}

#[test]
fn entry() {
    let mut engine = machine(&[0xf4]); // hlt
    let registers = halt(&mut engine);
    assert_eq!(registers, Registers { esp: RAM, eip: 1, eflags: 2, ..Default::default() });
    assert_eq!(engine.location().unwrap(), Location::At(0));
    assert_eq!(engine.instructions(), Some(1));
    let system = engine.system_registers().unwrap();
    assert_eq!((system.cs, system.ds, system.ss, system.cr0), (8, 16, 16, 0x11));
}

#[test]
fn every_kind_of_fault() {
    use Location::{At, EndsAt};
    let unsupported = |code: &[u8]| -> FaultKind {
        let mut bytes = [0; 15];
        bytes[..code.len()].copy_from_slice(code);
        FaultKind::Unsupported { engine: "the soft engine", code: flatland::x86::CodeBytes::new(&bytes) }
    };
    for (code, kind, location) in [
        // nop; div ecx
        (&[0x90, 0xf7, 0xf1][..], exception(0, None), At(1)),
        // int1
        (&[0xf1], exception(1, None), EndsAt(1)),
        // nop; int3
        (&[0x90, 0xcc], exception(3, None), EndsAt(2)),
        // mov al, 0x7f; inc al; into
        (&[0xb0, 0x7f, 0xfe, 0xc0, 0xce], exception(4, None), EndsAt(5)),
        // mov eax, -1; bound eax, [0x100]
        (&[0xb8, 0xff, 0xff, 0xff, 0xff, 0x62, 0x05, 0, 1, 0, 0], exception(5, None), At(5)),
        // ud2
        (&[0x0f, 0x0b], exception(6, None), At(0)),
        // addps xmm0, xmm1: CR4.OSFXSR is clear
        (&[0x0f, 0x58, 0xc1], exception(6, None), At(0)),
        // lock add eax, eax
        (&[0xf0, 0x01, 0xc0], exception(6, None), At(0)),
        // mov cs, ax
        (&[0x8e, 0xc8], exception(6, None), At(0)),
        // mov eax, 0x1234; mov ds, ax: beyond the GDT's limit
        (&[0xb8, 0x34, 0x12, 0, 0, 0x8e, 0xd8], exception(13, Some(0x1234)), At(5)),
        // mov ss, ax, with a null selector
        (&[0x8e, 0xd0], exception(13, Some(0)), At(0)),
        // int 0x80: beyond the IDT's limit
        (&[0xcd, 0x80], exception(13, Some(0x402)), At(0)),
        // int 5
        (&[0xcd, 0x05], exception(5, None), EndsAt(2)),
        // rdmsr; wrmsr, of 0
        (&[0x0f, 0x32], exception(13, Some(0)), At(0)),
        (&[0x0f, 0x30], exception(13, Some(0)), At(0)),
        // aam 0
        (&[0xd4, 0x00], exception(0, None), At(0)),
        // haddps xmm0, xmm1; pshufb mm0, mm1
        (&[0xf2, 0x0f, 0x7c, 0xc1], unsupported(&[0xf2, 0x0f, 0x7c, 0xc1]), At(0)),
        (&[0x0f, 0x38, 0x00, 0xc1], unsupported(&[0x0f, 0x38, 0x00, 0xc1]), At(0)),
        // xor eax, eax; mov cr0, eax: real mode
        (&[0x31, 0xc0, 0x0f, 0x22, 0xc0], unsupported(&[0x0f, 0x22, 0xc0]), At(2)),
        // mov eax, [0xfffe]; mov [0x20000], al; push with ESP in a guard
        (&[0xa1, 0xfe, 0xff, 0, 0], outside(Access::Read, 0x1_0000), At(0)),
        (&[0xa2, 0, 0, 2, 0], outside(Access::Write, 0x2_0000), At(0)),
        (&[0xbc, 0, 0, 3, 0, 0x50], outside(Access::Write, 0x2_fffc), At(5)),
        // jmp 0x12345678
        (&[0xe9, 0x73, 0x56, 0x34, 0x12], outside(Access::Execute, 0x1234_5678), At(0x1234_5678)),
        // xor eax, eax; dec eax; jmp eax
        (&[0x31, 0xc0, 0x48, 0xff, 0xe0], outside(Access::Execute, 0xffff_ffff), At(0xffff_ffff)),
        // 15 prefixes
        (&[0x66; 15], exception(13, Some(0)), At(0)),
    ] {
        let mut engine = machine(code);
        assert_eq!(fault(&mut engine), Fault { kind, location }, "{code:02x?}");
        assert_eq!(engine.location().unwrap(), location);
    }
}

#[test]
fn an_instruction_across_the_end_of_ram() {
    let mut engine = machine(&[0xe9, 0xf9, 0xff, 0, 0]); // jmp 0xfffe
    engine.write_ram(0xfffe, &[0xb8, 0x01]); // mov eax, ...
    let kind = outside(Access::Execute, 0x1_0000);
    assert_eq!(fault(&mut engine), Fault { kind, location: Location::At(0xfffe) });
}

#[test]
fn faults_leave_everything_as_it_was() {
    // xchg [0x20000], eax; xadd [0x20000], eax; push dword [0x20000]; pop dword [0x20000]; cmpxchg8b [0xfffc];
    // enter 0x20, 3 with a frame pointer outside; pusha across the start of RAM; add [0x20000], eax; leave
    let before = Registers {
        eax: 7,
        ebx: 2,
        ecx: 3,
        edx: 4,
        esi: 5,
        edi: 6,
        ebp: 0x2_0000,
        esp: 0x8000,
        eip: 0,
        eflags: 0x8d7,
    };
    for code in [
        &[0x87, 0x05, 0, 0, 2, 0][..],
        &[0x0f, 0xc1, 0x05, 0, 0, 2, 0],
        &[0xff, 0x35, 0, 0, 2, 0],
        &[0x8f, 0x05, 0, 0, 2, 0],
        &[0x0f, 0xc7, 0x0d, 0xfc, 0xff, 0, 0],
        &[0xc8, 0x20, 0, 3],
        &[0x01, 0x05, 0, 0, 2, 0],
        &[0xc9],
        &[0xff, 0x15, 0, 0, 2, 0],
        &[0xc4, 0x05, 0, 0, 2, 0],
    ] {
        let mut engine = machine(code);
        engine.set_registers(&before).unwrap();
        assert!(matches!(fault(&mut engine).kind, FaultKind::OutsideRam { .. }), "{code:02x?}");
        assert_eq!(engine.registers().unwrap(), before, "{code:02x?}");
    }
    // pusha across address 0; call across it
    for code in [&[0x60][..], &[0xe8, 0, 0, 0, 0]] {
        let mut engine = machine(&[]);
        engine.write_ram(0x100, code);
        let before = Registers { esp: 2, eip: 0x100, eflags: 2, ..before };
        engine.set_registers(&before).unwrap();
        assert!(matches!(fault(&mut engine).kind, FaultKind::OutsideRam { .. }), "{code:02x?}");
        assert_eq!(engine.registers().unwrap(), before, "{code:02x?}");
    }
}

#[test]
fn code_that_changes_itself() {
    // mov byte [6+1], 0x48 changes the `inc eax` that follows at once: mov byte [7], 0x48; inc eax; hlt
    let mut engine = machine(&[0xc6, 0x05, 7, 0, 0, 0, 0x48, 0x40, 0xf4]);
    assert_eq!(halt(&mut engine).eax, u32::MAX);

    // mov ecx, 3; l: inc eax; mov byte [l], 0x48; dec ecx; jnz l; hlt
    let mut engine = machine(&[0xb9, 3, 0, 0, 0, 0x40, 0xc6, 0x05, 5, 0, 0, 0, 0x48, 0x49, 0x75, 0xf5, 0xf4]);
    assert_eq!(halt(&mut engine).eax, u32::MAX);

    // The same by `rep stosb`: mov al, 0x90; mov edi, 0x10; mov ecx, 4; rep stosb; (0x0e) nop nop; ud2 ud2; hlt
    let code = [
        0xb0, 0x90, 0xbf, 0x10, 0, 0, 0, 0xb9, 4, 0, 0, 0, 0xf3, 0xaa, 0x90, 0x90, 0x0f, 0x0b, 0x0f, 0x0b,
        0xf4,
    ];
    halt(&mut machine(&code));

    // And by the host between two runs.
    let mut engine = machine(&[0x40, 0xf4]);
    assert_eq!(halt(&mut engine).eax, 1);
    engine.write_ram(0, &[0x48]);
    engine.set_registers(&Registers { eax: 9, ..Default::default() }).unwrap();
    assert_eq!(halt(&mut engine).eax, 8);
}

#[test]
fn strings_keep_their_progress() {
    // rep movsd to the end of RAM and beyond; rep stosw; std; rep stosb below 0
    for (code, registers, after, address) in [
        (
            &[0xf3, 0xa5][..],
            Registers { ecx: 8, esi: 0x100, edi: RAM - 10, ..Default::default() },
            Registers { ecx: 6, esi: 0x108, edi: RAM - 2, ..Default::default() },
            RAM,
        ),
        (
            &[0xf3, 0x66, 0xab],
            Registers { ecx: 8, edi: RAM - 5, ..Default::default() },
            Registers { ecx: 6, edi: RAM - 1, ..Default::default() },
            RAM,
        ),
        (
            &[0xf3, 0xaa],
            Registers { eax: 0, ecx: 0x20, edi: 0x1f, eflags: 0x402, ..Default::default() },
            Registers { ecx: 0, edi: u32::MAX, eflags: 0x402, ..Default::default() },
            u32::MAX,
        ),
    ] {
        let mut engine = machine(&[]);
        engine.write_ram(0x8000, code);
        engine.set_registers(&Registers { eip: 0x8000, eflags: registers.eflags | 2, ..registers }).unwrap();
        if after.ecx == 0 {
            engine.write_ram(0x8002, &[0xf4]);
            assert_eq!(halt(&mut engine), Registers { eip: 0x8003, ..after });
            continue;
        }
        let fault = fault(&mut engine);
        assert_eq!(fault, Fault { kind: outside(Access::Write, address), location: Location::At(0x8000) });
        assert_eq!(engine.registers().unwrap(), Registers { eip: 0x8000, eflags: 2, ..after });
    }
}

#[test]
fn addresses_of_16_bits() {
    // mov ebx, 0x1fff0; mov esi, 0x20; mov al, [bx+si+0x100] (0x67): 0xfff0 + 0x20 + 0x100 = 0x110
    let mut engine = machine(&[0xbb, 0xf0, 0xff, 1, 0, 0xbe, 0x20, 0, 0, 0, 0x67, 0x8a, 0x80, 0, 1, 0xf4]);
    engine.write_ram(0x110, &[0x5a]);
    assert_eq!(halt(&mut engine).eax, 0x5a);

    // addr16 rep movsb with SI at the end of its 64 KiB: it wraps.
    let mut engine = machine(&[0xf3, 0x67, 0xa4, 0xf4]);
    engine.write_ram(0xfffe, b"ab");
    let registers =
        Registers { ecx: 0xabcd_0003, esi: 0x1234_fffe, edi: 0x5678_0100, eflags: 2, ..Default::default() };
    engine.set_registers(&registers).unwrap();
    let after = halt(&mut engine);
    assert_eq!((after.ecx, after.esi, after.edi), (0xabcd_0000, 0x1234_0001, 0x5678_0103));
    let mut copied = [0; 3];
    engine.read_ram(0x100, &mut copied);
    assert_eq!(copied, [b'a', b'b', 0xf3]);

    // mov ecx, 0x10001; l: inc eax; addr16 loop l: CX only
    let mut engine = machine(&[0xb9, 1, 0, 1, 0, 0x40, 0x67, 0xe2, 0xfc, 0xf4]);
    let after = halt(&mut engine);
    assert_eq!((after.eax, after.ecx), (1, 0x1_0000));
}

#[test]
fn segments_of_the_guests_own() {
    // lgdt [0x1000]; mov eax, 0x18; mov ds, ax; mov eax, [4]; mov ebx, cs:[0x2004]; jmp 0x08:0x40
    let code = [
        0x0f, 0x01, 0x15, 0, 0x10, 0, 0, 0xb8, 0x18, 0, 0, 0, 0x8e, 0xd8, 0xa1, 4, 0, 0, 0, 0x2e, 0x8b, 0x1d,
        4, 0x20, 0, 0, 0xea, 0x40, 0, 0, 0, 8, 0,
    ];
    let mut engine = machine(&code);
    engine.write_ram(0x1000, &[0x2f, 0, 0x08, 0x10, 0, 0]);
    write_u32s(
        &mut engine,
        0x1008,
        &[
            0,
            0, // null
            0x0000_ffff,
            0x00cf_9a00, // 0x08: flat code, not accessed yet
            0x0000_ffff,
            0x00cf_9200, // 0x10: flat data
            0x2000_00ff,
            0x0040_9200, // 0x18: data of 256 bytes from 0x2000
            0x0000_ffff,
            0x0000_9a00, // 0x20: 16-bit code of 64 KiB
            0x0000_ffff,
            0x00cf_1200, // 0x28: not present
        ],
    );
    write_u32s(&mut engine, 0x2004, &[0x1234_5678]);
    // mov ecx, [0xfd]: beyond the limit
    engine.write_ram(0x40, &[0x8b, 0x0d, 0xfd, 0, 0, 0]);
    let fault_ = fault(&mut engine);
    assert_eq!(fault_, Fault { kind: exception(13, Some(0)), location: Location::At(0x40) });
    let registers = engine.registers().unwrap();
    assert_eq!((registers.eax, registers.ebx), (0x1234_5678, 0x1234_5678));
    // The accessed flags are set in the table.
    assert_eq!(read_u32(&engine, 0x1014), 0x00cf_9b00);
    assert_eq!(read_u32(&engine, 0x1024), 0x0040_9300);

    // call far 0x20:0x100 into 16-bit code, which returns with a 32-bit retf.
    engine.write_ram(0x40, &[0x9a, 0, 1, 0, 0, 0x20, 0, 0xf4]);
    // mov ax, 0x1234 (16-bit operand size by default); retfd
    engine.write_ram(0x100, &[0xb8, 0x34, 0x12, 0x66, 0xcb]);
    let before = Registers { eip: 0x40, esp: RAM, eflags: 2, ..Default::default() };
    engine.set_registers(&before).unwrap();
    let after = halt(&mut engine);
    assert_eq!((after.eax, after.eip, after.esp), (0x1234, 0x48, RAM));

    // mov eax, 0x28; mov es, ax; the same to ss
    for (opcode, vector) in [(0xc0, 11), (0xd0, 12)] {
        engine.write_ram(0x40, &[0xb8, 0x28, 0, 0, 0, 0x8e, opcode]);
        engine.set_registers(&before).unwrap();
        assert_eq!(
            fault(&mut engine),
            Fault { kind: exception(vector, Some(0x28)), location: Location::At(0x45) }
        );
    }
}

/// A descriptor is not loaded if it is more privileged than the selector requests (SDM volume 3, section 6.6).
/// Conforming code has no such check.
#[test]
fn a_data_segment_is_not_loaded_for_a_lower_privilege_level_than_its_own() {
    let flat = |rights: u32| [0x0000_ffff, 0x00cf_0000 | rights << 8];
    const DATA_0: u32 = 0x93;
    const DATA_3: u32 = 0xf3;
    const CONFORMING_0: u32 = 0x9f;
    for (rights, requested, is_loaded) in [
        (DATA_0, 0, true),
        (DATA_0, 1, false),
        (DATA_0, 3, false),
        (DATA_3, 3, true),
        (CONFORMING_0, 3, true),
    ] {
        let mut engine = machine(&[]);
        // mov eax, entry 1 of the LDT, which is at 0; mov ds, eax; hlt
        engine.write_ram(0x40, &[0xb8, 0xc | requested, 0, 0, 0, 0x8e, 0xd8, 0xf4]);
        write_u32s(&mut engine, 8, &flat(rights));
        let before = Registers { eip: 0x40, eflags: 2, ..Default::default() };
        engine.set_registers(&before).unwrap();
        if is_loaded {
            assert_eq!(halt(&mut engine).eip, 0x48);
        } else {
            let refused = Fault { kind: exception(13, Some(0xc)), location: Location::At(0x45) };
            assert_eq!(fault(&mut engine), refused, "{rights:#x} requested at {requested}");
        }
    }
}

/// A code segment is not loaded, and so not marked as accessed, if the target lies outside it (SDM volume 2, JMP,
/// CALL).
#[test]
fn a_far_jump_that_fails_leaves_the_descriptor_alone() {
    // jmp and call 0x0c:0x1000, by the LDT at 0
    for opcode in [0xea, 0x9a] {
        let mut engine = machine(&[]);
        engine.write_ram(0x40, &[opcode, 0, 0x10, 0, 0, 0xc, 0]);
        // Code of 4 KiB from 0, not accessed.
        write_u32s(&mut engine, 8, &[0x0000_0fff, 0x0040_9a00]);
        let before = Registers { eip: 0x40, esp: RAM, eflags: 2, ..Default::default() };
        engine.set_registers(&before).unwrap();
        assert_eq!(fault(&mut engine).kind, exception(13, Some(0)));
        assert_eq!(read_u32(&engine, 12), 0x0040_9a00);
    }
}

#[test]
fn the_machine_runs_it() {
    // l: in al, 0xe9; cmp al, 42; je e; inc al; out 0xe9, al; jmp l; e: hlt
    let code = [0xe4, 0xe9, 0x3c, 42, 0x74, 6, 0xfe, 0xc0, 0xe6, 0xe9, 0xeb, 0xf4, 0xf4];
    let image = Image::from_bytes(code.to_vec()).unwrap();
    let streams =
        Streams { input: Input::from_bytes(b"HAL*".to_vec()), output: Output::memory(), ..Streams::none() };
    let mut machine =
        Machine::new(Box::new(SoftEngine::new(MemorySize::default())), &image, streams).unwrap();
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
    assert_eq!(machine.streams().output.bytes(), b"IBM");
}

/// After a reset a processor has an LDT of 64 KiB at 0 (SDM volume 3, table 11-1), and so has KVM. A selector of the
/// LDT loads the descriptor that RAM has there.
#[test]
fn the_local_table_at_entry_is_ram() {
    // mov eax, 0x104 (entry 0x20 of the LDT); mov es, eax; mov al, es:[4]; hlt
    let mut engine = machine(&[0xb8, 4, 1, 0, 0, 0x8e, 0xc0, 0x26, 0xa0, 4, 0, 0, 0, 0xf4]);
    // Data from 0x200 on, writable, 4 KiB.
    write_u32s(&mut engine, 0x100, &[0x0200_0fff, 0x0040_9200]);
    write_u32s(&mut engine, 0x204, &[0x5a]);
    assert_eq!(halt(&mut engine).eax & 0xff, 0x5a);
}

#[test]
fn a_shift_by_0_needs_a_segment_to_write_to() {
    // rol dword cs:[0x100], cl; shld dword cs:[0x100], eax, cl
    for code in [&[0x2e, 0xd3, 0x05, 0, 1, 0, 0][..], &[0x2e, 0x0f, 0xa5, 0x05, 0, 1, 0, 0]] {
        assert_eq!(fault(&mut machine(code)).kind, exception(13, Some(0)));
    }
}

/// If an operand will be replaced, its segment is checked before memory.
#[test]
fn what_is_replaced_must_lie_in_a_segment_to_write_to() {
    // Each with cs:[0x20000], outside RAM.
    let outside = outside(Access::Read, 0x2_0000);
    let protection = exception(13, Some(0));
    for (text, opcode, kind) in [
        ("add [m], eax", &[0x01][..], protection),
        ("inc dword [m]", &[0xff], protection),
        ("xchg [m], eax", &[0x87], protection),
        ("xadd [m], eax", &[0x0f, 0xc1], protection),
        ("cmpxchg [m], eax", &[0x0f, 0xb1], protection),
        ("shld [m], eax, cl", &[0x0f, 0xa5], protection),
        ("btc [m], eax", &[0x0f, 0xbb], protection),
        ("bt [m], eax", &[0x0f, 0xa3], outside),
        ("cmp [m], eax", &[0x39], outside),
        ("mov eax, [m]", &[0x8b], outside),
    ] {
        let code = [&[0x2e][..], opcode, &[0x05, 0, 0, 2, 0]].concat();
        assert_eq!(fault(&mut machine(&code)).kind, kind, "{text}");
    }
    // cmpxchg8b; not
    for (opcode, mod_rm) in [(&[0x0f, 0xc7][..], 0x0d), (&[0xf7], 0x15)] {
        let code = [&[0x2e][..], opcode, &[mod_rm, 0, 0, 2, 0]].concat();
        assert_eq!(fault(&mut machine(&code)).kind, protection, "{code:02x?}");
    }
}

/// If several pushes are outside memory, the first is reported, though none is executed.
#[test]
fn popf_leaves_the_virtual_interrupt_flags_alone() {
    // iret to 0xf with VIP and VIF set
    let set = [0x9c, 0x58, 0x0d, 0, 0, 0x18, 0, 0x50, 0x0e, 0x68, 0xf, 0, 0, 0, 0xcf];
    // push 2; popf; hlt
    let mut engine = machine(&[&set[..], &[0x6a, 2, 0x9d, 0xf4]].concat());
    assert_eq!(halt(&mut engine).eflags & (eflags::VIF | eflags::VIP), eflags::VIF | eflags::VIP);
}

#[test]
fn pusha_tells_of_its_first_push() {
    let mut engine = machine(&[0x60]);
    engine.set_registers(&Registers { esp: 0x3_0000, eflags: 2, ..Default::default() }).unwrap();
    assert_eq!(fault(&mut engine).kind, outside(Access::Write, 0x2_fffc));
}

#[test]
fn random_bytes_never_panic() {
    let mut state = 0x9e37_79b9_u32;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let sequences: u32 = std::env::var("FLATLAND_SEQUENCES").map_or(100_000, |count| count.parse().unwrap());
    let mut engine = SoftEngine::new(MemorySize::from_bytes(RAM.into()).unwrap());
    let mut exits = 0_u32;
    for sequence in 0..sequences {
        // A new machine after some sequences, because code loads tables and segments of its own.
        if sequence % 16 == 0 {
            engine = SoftEngine::new(MemorySize::from_bytes(RAM.into()).unwrap());
        }
        let code: Vec<u8> = (0..8).flat_map(|_| random().to_le_bytes()).collect();
        let place = random() % 0x8000;
        engine.write_ram(place, &code);
        let small = |value: u32| if value & 1 == 0 { value % RAM } else { value };
        let registers = Registers {
            eax: small(random()),
            ebx: small(random()),
            ecx: small(random()),
            edx: small(random()),
            esi: small(random()),
            edi: small(random()),
            ebp: small(random()),
            esp: small(random()),
            eip: place,
            eflags: random() & 0x24_4fd5,
        };
        engine.set_registers(&registers).unwrap();
        let limit = engine.instructions().unwrap() + 64;
        engine.set_stops(&Stops { instructions: Some(limit), ..Default::default() }).unwrap();
        for _ in 0..32 {
            exits += 1;
            match engine.run().unwrap() {
                Exit::In { data, .. } => data.fill(0x5a),
                Exit::Out { data, .. } => assert!(!data.is_empty()),
                _ => break,
            }
        }
        engine.location().unwrap();
    }
    println!("{exits} exits of {sequences} sequences");
}

/// The soft engine is advised only for instructions that it can run. Tries all opcodes with each second byte.
#[test]
fn the_soft_engine_is_advised_only_for_what_it_can_run() {
    let (mut advised, mut wrong) = (0, Vec::new());
    let mut engine = machine(&[]);
    engine.set_stops(&Stops { step: true, ..Stops::default() }).unwrap();
    let ((mut fresh, position), ram) = (engine.processor().unwrap(), engine.save_ram().unwrap());
    fresh.cr4 |= flatland::x86::cr4::OSFXSR;
    for opcode in (0..=0xffff_u16).flat_map(|opcode| {
        let [first, second] = opcode.to_be_bytes();
        let two_bytes = [0x0f, first, second];
        [[].as_slice(), &[0x66], &[0xf3]]
            .map(|prefix| ([prefix, &[first, second]].concat(), [prefix, &two_bytes].concat()))
    }) {
        for code in [opcode.0, opcode.1] {
            let mut bytes = [0; 15];
            bytes[..code.len()].copy_from_slice(&code);
            let bytes = flatland::x86::CodeBytes::new(&bytes);
            let by_soft = FaultKind::Unsupported { engine: "the soft engine", code: bytes };
            assert!(!flatland::words::advice(&by_soft).contains("--engine"), "{code:02x?}");
            let by_kvm = FaultKind::Unsupported { engine: "KVM", code: bytes };
            // `ud0`, `ud1`, `ud2` and `int 6` raise #UD on every engine.
            let is_ud = matches!(
                code.as_slice(),
                [.., 0x0f, 0x0b | 0xb9 | 0xff] | [.., 0x0f, 0x0b | 0xb9 | 0xff, _] | [.., 0xcd, 6]
            );
            if is_ud || !flatland::words::advice(&by_kvm).contains("--engine soft") {
                continue;
            }
            advised += 1;
            engine.set_processor(&fresh, position).unwrap();
            engine.restore_ram(&ram).unwrap();
            engine.write_ram(0x100, bytes.as_slice());
            engine.set_registers(&Registers { eip: 0x100, esp: 0x8000, ..Registers::default() }).unwrap();
            if let Exit::Fault(Fault { kind, .. }) = engine.run().unwrap()
                && matches!(kind, FaultKind::Unsupported { .. } | FaultKind::Exception { vector: 6, .. })
            {
                wrong.push(format!("{code:02x?}: {kind:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(advised > 10_000, "{advised}");
}
