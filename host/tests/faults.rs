//! What the processor cannot go on from, with an image of a few bytes for each: its name, its place and the registers.
//!
//! Every image runs on each engine, and they must agree. This program needs nothing but /dev/kvm, so its binary also
//! runs on another machine.

mod common;

use common::{ended, engines, finish, machine_on, machines, run};
use flatland::x86::{Access, CodeBytes, Fault, FaultKind, Location};
use flatland::{EngineChoice, Outcome};
use flatland_contract::Direction;
use flatland_contract::memory::{DEFAULT_RAM_SIZE, MAX_RAM_SIZE};

fn fault(kind: FaultKind, location: Location) -> Outcome {
    Outcome::Fault(Fault { kind, location })
}

fn exception(vector: u8, error_code: Option<u32>) -> FaultKind {
    FaultKind::Exception { vector, error_code }
}

fn outside(access: Access, address: u32) -> FaultKind {
    FaultKind::OutsideRam { access, address, ram_size: DEFAULT_RAM_SIZE }
}

fn port(port: u16, width: u8, direction: Direction) -> FaultKind {
    FaultKind::Port { port, width, direction }
}

#[test]
fn what_was_sent_before_a_fault_is_not_lost() {
    #[rustfmt::skip]
    let code = [
        0xb0, b'A', // 0: mov al, 'A'
        0xe6, 0xe9, // 2: out 0xe9, al
        0x0f, 0x0b, // 4: ud2
    ];
    assert_eq!(run(&code, b""), ended(fault(exception(6, None), Location::At(4)), b"A"));
}

#[test]
fn transfers_that_the_contract_does_not_have() {
    use Direction::{In, Out};
    #[rustfmt::skip]
    let cases: &[(&[u8], FaultKind, Location)] = &[
        // 0: mov dx, 0x3f8; 4: nop; 5: in al, dx
        (&[0x66, 0xba, 0xf8, 0x03, 0x90, 0xec], port(0x3f8, 1, In), Location::At(5)),
        // 0: mov dx, 0x3f8; 4: nop; 5: out dx, al
        (&[0x66, 0xba, 0xf8, 0x03, 0x90, 0xee], port(0x3f8, 1, Out), Location::At(5)),
        // 0: mov dx, 0x3f8; 4: outsb
        (&[0x66, 0xba, 0xf8, 0x03, 0x6e], port(0x3f8, 1, Out), Location::At(4)),
        // 0: mov dx, 0x3f8; 4: mov cl, 3; 6: rep outsb
        (&[0x66, 0xba, 0xf8, 0x03, 0xb1, 3, 0xf3, 0x6e], port(0x3f8, 1, Out), Location::At(6)),
        // 0: out 0xe9, eax
        (&[0xe7, 0xe9], port(0xe9, 4, Out), Location::At(0)),
        // 0: in ax, 0xe9
        (&[0x66, 0xe5, 0xe9], port(0xe9, 2, In), Location::At(0)),
        // 0: out 0xeb, al
        (&[0xe6, 0xeb], port(0xeb, 1, Out), Location::At(0)),
        // 0: in al, 0xea
        (&[0xe4, 0xea], port(0xea, 1, In), Location::At(0)),
        // 0: in al, 0xf4
        (&[0xe4, 0xf4], port(0xf4, 1, In), Location::At(0)),
    ];
    for (code, kind, location) in cases {
        assert_eq!(run(code, b"x"), ended(fault(*kind, *location), b""), "{code:02x?}");
    }
}

#[test]
fn exceptions_without_a_handler() {
    #[rustfmt::skip]
    let cases: &[(&[u8], FaultKind, Location)] = &[
        // 0: xor ecx, ecx; 2: div ecx
        (&[0x31, 0xc9, 0xf7, 0xf1], exception(0, None), Location::At(2)),
        // 0: nop; 1: ud2
        (&[0x90, 0x0f, 0x0b], exception(6, None), Location::At(1)),
        // 0: mov ax, 0x30; 4: mov ds, ax
        (&[0x66, 0xb8, 0x30, 0x00, 0x8e, 0xd8], exception(13, Some(0x30)), Location::At(4)),
        // 0: jmp far 0x40:0
        (&[0xea, 0, 0, 0, 0, 0x40, 0], exception(13, Some(0x40)), Location::At(0)),
    ];
    for (code, kind, location) in cases {
        assert_eq!(run(code, b""), ended(fault(*kind, *location), b""), "{code:02x?}");
    }
}

#[test]
#[rustfmt::skip]
fn registers_at_an_exception_are_those_of_the_instruction() {
    let code = [
        0xb8, 0x11, 0x11, 0x11, 0x11, // 0: mov eax, 0x11111111
        0x31, 0xf6,                   // 5: xor esi, esi
        0xf9,                         // 7: stc
        0x50,                         // 8: push eax
        0x0f, 0x0b,                   // 9: ud2
    ];
    for mut machine in machines(&code, b"") {
    assert_eq!(machine.run().unwrap(), fault(exception(6, None), Location::At(9)));
    let registers = machine.engine().registers().unwrap();
    assert_eq!((registers.eax, registers.eip, registers.esp), (0x1111_1111, 9, DEFAULT_RAM_SIZE - 4));
    const CARRY_ZERO_AND_RESERVED: u32 = 1 << 0 | 1 << 6 | 1 << 1;
    assert_eq!(registers.eflags & CARRY_ZERO_AND_RESERVED, CARRY_ZERO_AND_RESERVED);
    }
}

#[test]
#[rustfmt::skip]
fn a_guest_with_an_idt_of_its_own_takes_its_exceptions_itself() {
    let code = [
        0x0f, 0x01, 0x1d, 0x10, 0x00, 0x00, 0x00, //  0: lidt [0x10]
        0x0f, 0x0b,                               //  7: ud2
        0xb0, b'!',                               //  9: mov al, '!'
        0xe6, 0xe9,                               //  b: out 0xe9, al
        0xf4, 0x90, 0x90,                         //  d: hlt; nop; nop
        0x37, 0x00, 0x20, 0x00, 0x00, 0x00,       // 10: limit 0x37, base 0x20
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0,             // 16
        0, 0, 0, 0, 0, 0, 0, 0,                   // 20: vector 0
        0, 0, 0, 0, 0, 0, 0, 0,                   // 28: vector 1
        0, 0, 0, 0, 0, 0, 0, 0,                   // 30: vector 2
        0, 0, 0, 0, 0, 0, 0, 0,                   // 38: vector 3
        0, 0, 0, 0, 0, 0, 0, 0,                   // 40: vector 4
        0, 0, 0, 0, 0, 0, 0, 0,                   // 48: vector 5
        0x09, 0x00, 0x08, 0x00, 0x00, 0x8e, 0, 0, // 50: vector 6, interrupt gate to 8:9
    ];
    assert_eq!(run(&code, b""), ended(Outcome::Halted, b"!"));
}

#[test]
fn accesses_outside_ram() {
    const END: [u8; 4] = DEFAULT_RAM_SIZE.to_le_bytes();
    let with = |opcode: &[u8], address: [u8; 4], rest: &[u8]| [opcode, &address, rest].concat();
    for (code, kind, location) in [
        // 0: mov al, [END]
        (with(&[0xa0], END, &[]), outside(Access::Read, DEFAULT_RAM_SIZE), Location::At(0)),
        // 0: mov [END], al
        (with(&[0xa2], END, &[]), outside(Access::Write, DEFAULT_RAM_SIZE), Location::At(0)),
        // 0: mov al, [-1]
        (with(&[0xa0], [0xff; 4], &[]), outside(Access::Read, u32::MAX), Location::At(0)),
        // 0: mov eax, [END - 2]
        (
            with(&[0xa1], (DEFAULT_RAM_SIZE - 2).to_le_bytes(), &[]),
            outside(Access::Read, DEFAULT_RAM_SIZE),
            Location::At(0),
        ),
        // 0: mov al, [MAX_RAM_SIZE]
        (
            with(&[0xa0], MAX_RAM_SIZE.to_le_bytes(), &[]),
            outside(Access::Read, MAX_RAM_SIZE),
            Location::At(0),
        ),
        // 0: mov esp, 0x80000000; 5: push eax
        (
            with(&[0xbc], 0x8000_0000_u32.to_le_bytes(), &[0x50]),
            outside(Access::Write, 0x7fff_fffc),
            Location::At(5),
        ),
        // 0: mov ecx, 8; 5: mov edi, END - 2; a: rep stosb
        (
            [&[0xb9, 8, 0, 0, 0, 0xbf][..], &(DEFAULT_RAM_SIZE - 2).to_le_bytes(), &[0xf3, 0xaa]].concat(),
            outside(Access::Write, DEFAULT_RAM_SIZE),
            Location::At(0xa),
        ),
        // 0: mov ecx, 8; 5: mov edi, END - 4; a: rep movsd
        (
            [&[0xb9, 8, 0, 0, 0, 0xbf][..], &(DEFAULT_RAM_SIZE - 4).to_le_bytes(), &[0xf3, 0xa5]].concat(),
            outside(Access::Write, DEFAULT_RAM_SIZE),
            Location::At(0xa),
        ),
        // 0: mov eax, END - 1; 5: jmp eax, to an instruction that RAM has only the first byte of
        (
            with(&[0xb8], (DEFAULT_RAM_SIZE - 1).to_le_bytes(), &[0xff, 0xe0]),
            outside(Access::Execute, DEFAULT_RAM_SIZE),
            Location::At(DEFAULT_RAM_SIZE - 1),
        ),
        // 0: mov eax, END; 5: jmp eax
        (
            with(&[0xb8], END, &[0xff, 0xe0]),
            outside(Access::Execute, DEFAULT_RAM_SIZE),
            Location::At(DEFAULT_RAM_SIZE),
        ),
    ] {
        assert_eq!(run(&code, b""), ended(fault(kind, location), b""), "{code:02x?}");
    }
}

#[test]
fn triple_faults() {
    // 0: lidt [9] (no vectors at all); 7: ud2
    let no_idt = [0x0f, 0x01, 0x1d, 0x09, 0, 0, 0, 0x0f, 0x0b, 0, 0, 0, 0, 0, 0];
    for engine in engines() {
        let run = finish(machine_on(*engine, &no_idt, b""));
        // kvm-amd resets the processor at a triple fault, and with it the address.
        let possible = [Location::At(7), Location::Unknown].map(|at| fault(FaultKind::TripleFault, at));
        assert!(possible.contains(&run.outcome), "{engine:?}: {:?}", run.outcome);
    }
}

/// On a processor it is a triple fault, but the soft engine can still name the exception.
#[test]
fn exceptions_without_a_stack() {
    // 0: mov esp, 0x80000000; 5: ud2
    let code = [0xbc, 0, 0, 0, 0x80, 0x0f, 0x0b];
    let triple_faults = [Location::At(5), Location::Unknown].map(|at| fault(FaultKind::TripleFault, at));
    for engine in engines() {
        let outcome = finish(machine_on(*engine, &code, b"")).outcome;
        let possible = match engine {
            EngineChoice::Soft => vec![fault(exception(6, None), Location::At(5))],
            EngineChoice::Kvm => triple_faults.to_vec(),
            // On the engine where it ends.
            _ => [&triple_faults[..], &[fault(exception(6, None), Location::At(5))]].concat(),
        };
        assert!(possible.contains(&outcome), "{engine:?}: {outcome:?}");
    }
}

/// A KVM that emulates the processor supports fewer instructions. On a processor these instructions are exceptions.
/// Either way the instruction is named.
#[test]
fn instructions_that_not_every_engine_can_run() {
    let unsupported = |engine, code: &[u8]| {
        let mut bytes = [0; 15];
        bytes[..code.len()].copy_from_slice(code);
        fault(FaultKind::Unsupported { engine, code: CodeBytes::new(&bytes) }, Location::At(0))
    };
    for (code, by_soft, by_processor) in [
        // int1
        (
            &[0xf1][..],
            fault(exception(1, None), Location::EndsAt(1)),
            fault(exception(1, None), Location::EndsAt(1)),
        ),
        // int3
        (
            &[0xcc],
            fault(exception(3, None), Location::EndsAt(1)),
            fault(exception(3, None), Location::EndsAt(1)),
        ),
        // int 0x80: beyond the IDT, vector 0x80 * 8 + 2
        (
            &[0xcd, 0x80],
            fault(exception(13, Some(0x402)), Location::At(0)),
            fault(exception(13, Some(0x402)), Location::At(0)),
        ),
        // addps xmm0, xmm1: CR4.OSFXSR is clear
        (
            &[0x0f, 0x58, 0xc1],
            fault(exception(6, None), Location::At(0)),
            fault(exception(6, None), Location::At(0)),
        ),
    ] {
        for engine in engines() {
            let outcome = finish(machine_on(*engine, code, b"")).outcome;
            let possible = match engine {
                EngineChoice::Soft => vec![by_soft.clone()],
                EngineChoice::Kvm => vec![by_processor.clone(), unsupported("KVM", code)],
                // Where KVM does not have it, the soft engine tries.
                _ => vec![by_processor.clone(), by_soft.clone()],
            };
            assert!(possible.contains(&outcome), "{engine:?}: {code:02x?}: {outcome:?}");
        }
    }
}
