//! Exceptions and interrupts, with and without an IDT of the guest that can handle them.

use super::*;

/// An interrupt or trap gate to the host's flat code segment.
fn gate(handler: u32, type_: u32) -> [u32; 2] {
    [0x0008_0000 | handler & 0xffff, handler & 0xffff_0000 | 0x8000 | type_ << 8]
}

const INTERRUPT_32: u32 = 0xe;
const TRAP_32: u32 = 0xf;
const INTERRUPT_16: u32 = 0x6;

/// An IDT at 0x2000 with the gates given, and its description at 0x1ff0 for `lidt [0x1ff0]`.
fn set_idt(engine: &mut SoftEngine, gates: &[(u8, [u32; 2])]) {
    engine.write_ram(0x1ff0, &[0xff, 0x07, 0x00, 0x20, 0, 0]);
    for (vector, gate) in gates {
        write_u32s(engine, 0x2000 + u32::from(*vector) * 8, gate);
    }
}

const LIDT: [u8; 7] = [0x0f, 0x01, 0x1d, 0xf0, 0x1f, 0, 0];

#[test]
fn a_fault_goes_to_the_guests_handler_and_back() {
    // lidt [0x1ff0]; div ecx; hlt
    let mut engine = machine(&[&LIDT[..], &[0xf7, 0xf1, 0xf4]].concat());
    set_idt(&mut engine, &[(0, gate(0x100, INTERRUPT_32))]);
    // inc ecx; mov eax, [esp]; iret
    engine.write_ram(0x100, &[0x41, 0x8b, 0x04, 0x24, 0xcf]);
    let registers = halt(&mut engine);
    // 7 / 1, with EAX = the address of the `div`.
    assert_eq!((registers.eax, registers.ecx, registers.esp), (7, 1, RAM));
    // lidt, the handler's three, div, hlt
    assert_eq!(engine.instructions(), Some(6));
}

#[test]
fn frames_of_events() {
    // lidt; sti; xor eax, eax; stc; int n; hlt
    let (eflags, eflags_without_if) = (0x247, 0x047);
    for (type_, vector, in_handler) in [(INTERRUPT_32, 0x40, eflags_without_if), (TRAP_32, 0x41, eflags)] {
        let mut engine = machine(&[&LIDT[..], &[0xfb, 0x31, 0xc0, 0xf9, 0xcd, vector, 0xf4]].concat());
        set_idt(&mut engine, &[(vector, gate(0x100, type_))]);
        engine.write_ram(0x100, &[0x9c, 0xf4]); // pushf; hlt
        halt(&mut engine);
        let frame = [4, 8, 12, 16].map(|below| read_u32(&engine, RAM - below));
        assert_eq!(frame, [eflags, 8, 13, in_handler]);
    }
}

#[test]
fn error_codes_are_pushed() {
    // lidt; mov eax, 0x28; mov ds, ax
    let mut engine = machine(&[&LIDT[..], &[0xb8, 0x28, 0, 0, 0, 0x8e, 0xd8]].concat());
    set_idt(&mut engine, &[(13, gate(0x100, INTERRUPT_32))]);
    engine.write_ram(0x100, &[0x58, 0x5b, 0xf4]); // pop eax; pop ebx; hlt
    let registers = halt(&mut engine);
    assert_eq!((registers.eax, registers.ebx), (0x28, 12));
}

#[test]
fn a_16_bit_gate_pushes_words() {
    let mut engine = machine(&[&LIDT[..], &[0xcd, 0x40, 0xf4]].concat());
    set_idt(&mut engine, &[(0x40, gate(0x100, INTERRUPT_16))]);
    engine.write_ram(0x100, &[0x66, 0xcf]); // iretw
    let registers = halt(&mut engine);
    assert_eq!((registers.eip, registers.esp), (10, RAM));
    assert_eq!(read_u32(&engine, RAM - 6) & 0xffff, 9);
}

#[test]
fn double_and_triple_faults() {
    // A gate for #DF only: #GP has no gate, which raises #GP again.
    let code = [&LIDT[..], &[0x0f, 0x32]].concat(); // rdmsr
    let mut twice = machine(&code);
    set_idt(&mut twice, &[(8, gate(0x100, INTERRUPT_32))]);
    twice.write_ram(0x100, &[0x58, 0xf4]); // pop eax; hlt
    assert_eq!(halt(&mut twice).eax, 0);
    assert_eq!(read_u32(&twice, RAM - 12), 7);
    // No gate at all.
    let mut thrice = machine(&code);
    set_idt(&mut thrice, &[]);
    assert_eq!(fault(&mut thrice), Fault { kind: FaultKind::TripleFault, location: Location::At(7) });
    // #UD is benign: what follows it is handled on its own. The missing gate of #UD is #NP with EXT.
    let mut after_benign = machine(&[&LIDT[..], &[0x0f, 0x0b]].concat());
    set_idt(&mut after_benign, &[(11, gate(0x100, INTERRUPT_32)), (6, [0x0008_0000, 0x0e00])]);
    after_benign.write_ram(0x100, &[0x58, 0xf4]);
    assert_eq!(halt(&mut after_benign).eax, 6 * 8 + 2 + 1);
}

#[test]
fn single_step_traps() {
    // lidt; pushf; or dword [esp], 0x100; popf; inc ebx; inc ebx; hlt
    let code = [0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0x43, 0x43, 0xf4];
    let mut engine = machine(&[&LIDT[..], &code].concat());
    set_idt(&mut engine, &[(1, gate(0x100, INTERRUPT_32))]);
    // inc ecx; mov eax, [esp]; iret
    engine.write_ram(0x100, &[0x41, 0x8b, 0x04, 0x24, 0xcf]);
    let registers = halt(&mut engine);
    // A trap after each `inc ebx`, none after `popf`.
    assert_eq!((registers.ebx, registers.ecx, registers.eax), (2, 2, 18));
}

#[test]
fn no_single_step_trap_after_an_interrupt() {
    // lidt; pushf; or dword [esp], 0x100; popf; int 0x40; hlt
    let code = [0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0xcd, 0x40, 0xf4];
    let mut engine = machine(&[&LIDT[..], &code].concat());
    set_idt(&mut engine, &[(1, gate(0x100, INTERRUPT_32)), (0x40, gate(0x180, INTERRUPT_32))]);
    // inc ecx; iret, for traps; inc ebx; iret, for the interrupt
    engine.write_ram(0x100, &[0x41, 0xcf]);
    engine.write_ram(0x180, &[0x43, 0xcf]);
    let registers = halt(&mut engine);
    assert_eq!((registers.ebx, registers.ecx), (1, 0));
}

/// TF traps after an instruction, so EIP is that of the next one. The guest has no handler here.
#[test]
fn a_single_step_trap_without_a_handler_is_told_at_the_next_instruction() {
    // push 0x102; popf; then an instruction and what follows it
    for (code, eip, registers) in [
        // inc eax
        (&[0x40, 0x40, 0xf4][..], 7, Registers { eax: 1, ..Registers::default() }),
        // jmp 0xa
        (&[0xeb, 2, 0xf4, 0xf4, 0x40], 0xa, Registers::default()),
        // popf with TF clear: it was set before
        (&[0x9d, 0x40], 7, Registers { esp: 4, ..Registers::default() }),
        // rep stosb: once
        (&[0xf3, 0xaa, 0x40], 6, Registers { ecx: 2, edi: 0x101, ..Registers::default() }),
        // rep outsb: once
        (&[0xf3, 0x6e, 0x40], 6, Registers { ecx: 2, esi: 0x101, ..Registers::default() }),
        // rep insb: once
        (&[0xf3, 0x6c, 0x40], 6, Registers { ecx: 2, edi: 0x101, ..Registers::default() }),
        // mov ss, [0x80]; inc eax
        (&[0x8e, 0x15, 0x80, 0, 0, 0, 0x40, 0x40], 13, Registers { eax: 1, ..Registers::default() }),
        // push ss; pop ss: a trap after the push
        (&[0x16, 0x17, 0x40], 7, Registers { esp: u32::MAX - 3, ..Registers::default() }),
        // into, with OF clear
        (&[0xce, 0x40], 7, Registers::default()),
        // in al, dx; out dx, al
        (&[0xec, 0x40], 7, Registers { eax: 0x5a, ..Registers::default() }),
        (&[0xee, 0x40], 7, Registers::default()),
    ] {
        let mut engine = machine(&[&[0x68, 2, 1, 0, 0, 0x9d], code].concat());
        write_u32s(&mut engine, 0x80, &[0x10]);
        write_u32s(&mut engine, RAM - 0x100, &[2]);
        let repeats = code[0] == 0xf3;
        let before = Registers {
            ecx: if repeats { 3 } else { 0 },
            edi: if repeats { 0x100 } else { 0 },
            esi: if repeats { 0x100 } else { 0 },
            esp: RAM - 0x100,
            eflags: 2,
            ..Registers::default()
        };
        engine.set_registers(&before).unwrap();
        let fault = loop {
            match engine.run().unwrap() {
                Exit::In { data, .. } => data.fill(0x5a),
                Exit::Out { data, .. } => assert_eq!(data.len(), 1),
                Exit::Fault(fault) => break fault,
                exit => panic!("{code:02x?}: {exit:?}"),
            }
        };
        assert_eq!(fault, Fault { kind: exception(1, None), location: Location::At(eip) }, "{code:02x?}");
        let after = engine.registers().unwrap();
        let expected = Registers {
            ecx: registers.ecx,
            edi: if registers.edi == 0 { before.edi } else { registers.edi },
            esi: if registers.esi == 0 { before.esi } else { registers.esi },
            esp: before.esp.wrapping_add(registers.esp),
            eip,
            eflags: if code[0] == 0x9d { 2 } else { 0x102 },
            ..registers
        };
        assert_eq!(after, expected, "{code:02x?}");
    }
}

/// A fault comes instead of the trap that would follow its instruction, and an instruction that has faulted is traced
/// when it is executed again.
#[test]
fn a_fault_comes_before_the_trap_of_its_instruction() {
    // lidt; push 0x102; popf; div ecx; hlt
    let mut engine = machine(&[&LIDT[..], &[0x68, 2, 1, 0, 0, 0x9d, 0xf7, 0xf1, 0xf4]].concat());
    set_idt(&mut engine, &[(0, gate(0x100, INTERRUPT_32)), (1, gate(0x180, INTERRUPT_32))]);
    // inc ecx; mov eax, [esp + 8]; iret: the flags have TF and RF
    engine.write_ram(0x100, &[0x41, 0x8b, 0x44, 0x24, 8, 0xcf]);
    // pop ebx; hlt
    engine.write_ram(0x180, &[0x5b, 0xf4]);
    let registers = halt(&mut engine);
    assert_eq!((registers.eax & 0x1_0100, registers.ecx, registers.ebx), (0x1_0100, 1, 15));
}

/// A software interrupt whose delivery faults counts as not executed: the handler of that fault returns to the
/// instruction.
#[test]
fn a_software_interrupt_that_cannot_be_delivered_is_a_fault_of_its_instruction() {
    const EXTERNAL: u32 = 1;
    for (code, vector, external) in [
        (&[0xcd, 0x20, 0xf4][..], 0x20, 0),
        (&[0xcc, 0xf4], 3, 0),
        (&[0xce, 0xf4], 4, 0),
        (&[0xf1, 0xf4], 1, EXTERNAL),
    ] {
        // Beyond the IDT; a gate that is not present; one of no known type; to a segment beyond the GDT.
        let handler = gate(0x100, INTERRUPT_32);
        let idt = u32::from(vector) * 8 + 2 + external;
        for (gates, limit, exception, error_code) in [
            (&[][..], if vector == 0x20 { 14 * 8 - 1 } else { 0x7ff }, None, idt),
            (&[[0x0008_0100, 0x0e00]], 0x7ff, Some(11), idt),
            (&[[0x0008_0100, 0x8000]], 0x7ff, Some(13), idt),
            (&[[0x0100_0100, 0x8e00]], 0x7ff, Some(13), 0x100 + external),
        ] {
            // An empty gate is one of no known type, and one beyond the limit is no gate: both are #GP.
            let exception = exception.unwrap_or(13);
            // lidt; then the interrupt, with OF set
            let mut engine = machine(&[&LIDT[..], code].concat());
            let gates: Vec<_> = gates.iter().map(|gate| (vector, *gate)).collect();
            set_idt(&mut engine, &[&[(11, handler), (13, handler)], &gates[..]].concat());
            engine.write_ram(0x1ff0, &(limit as u16).to_le_bytes());
            engine.write_ram(0x100, &[0xf4]);
            engine.set_registers(&Registers { esp: RAM, eflags: 0x802, ..Registers::default() }).unwrap();
            halt(&mut engine);
            let frame = [16, 12, 8, 4].map(|below| read_u32(&engine, RAM - below));
            let context = format!("{code:02x?} {exception} {gates:x?}");
            assert_eq!(frame, [error_code, 7, 8, 0x1_0802], "{context}");
            // lidt and hlt: the interrupt does not count.
            assert_eq!(engine.instructions(), Some(2), "{context}");
        }
    }
}
