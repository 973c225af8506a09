//! Input and output of every form.

use super::*;

#[test]
fn output_of_every_form() {
    // mov eax, 0x44434241; out 0xe9, al; out 0xe9, ax; out 0xe9, eax; mov dx, 0x1234; out dx, al; hlt
    let mut engine = machine(&[
        0xb8, 0x41, 0x42, 0x43, 0x44, 0xe6, 0xe9, 0x66, 0xe7, 0xe9, 0xe7, 0xe9, 0x66, 0xba, 0x34, 0x12, 0xee,
        0xf4,
    ]);
    assert_eq!(out(&mut engine), (0xe9, 1, b"A".to_vec()));
    assert_eq!(engine.location().unwrap(), Location::At(5));
    assert_eq!(engine.registers().unwrap().eip, 7);
    assert_eq!(out(&mut engine), (0xe9, 2, b"AB".to_vec()));
    assert_eq!(out(&mut engine), (0xe9, 4, b"ABCD".to_vec()));
    assert_eq!(out(&mut engine), (0x1234, 1, b"A".to_vec()));
    halt(&mut engine);
}

#[test]
fn output_of_strings() {
    let start = |code: &[u8], registers: Registers| {
        let mut engine = machine(code);
        engine.write_ram(0x100, b"Hello, Flatland!");
        engine.set_registers(&Registers { edx: 0xe9, eflags: registers.eflags | 2, ..registers }).unwrap();
        engine
    };
    // rep outsb; hlt: one exit
    let registers = Registers { ecx: 16, esi: 0x100, ..Default::default() };
    let mut engine = start(&[0xf3, 0x6e, 0xf4], registers);
    assert_eq!(out(&mut engine), (0xe9, 1, b"Hello, Flatland!".to_vec()));
    let after = halt(&mut engine);
    assert_eq!((after.ecx, after.esi), (0, 0x110));
    assert_eq!(engine.instructions(), Some(2));
    // rep outsw, downwards
    let mut engine =
        start(&[0xf3, 0x66, 0x6f, 0xf4], Registers { ecx: 2, esi: 0x102, eflags: 0x400, ..registers });
    assert_eq!(out(&mut engine), (0xe9, 2, b"llHe".to_vec()));
    assert_eq!(halt(&mut engine).esi, 0xfe);
    // outsd
    let mut engine = start(&[0x6f, 0xf4], registers);
    assert_eq!(out(&mut engine), (0xe9, 4, b"Hell".to_vec()));
    assert_eq!(halt(&mut engine).ecx, 16);
    // rep outsb with nothing to do
    halt(&mut start(&[0xf3, 0x6e, 0xf4], Registers { ecx: 0, ..registers }));
    // rep outsb across the end of RAM: the bytes in RAM, then the fault.
    let mut engine = start(&[0xf3, 0x6e, 0xf4], Registers { ecx: 8, esi: RAM - 4, ..registers });
    assert_eq!(out(&mut engine), (0xe9, 1, vec![0; 4]));
    assert_eq!(fault(&mut engine).kind, outside(Access::Read, RAM));
    assert_eq!(engine.registers().unwrap().ecx, 4);
}

#[test]
fn input_of_every_form() {
    let start = |code: &[u8], registers: Registers| {
        let mut engine = machine(code);
        engine.set_registers(&Registers { edx: 0xe9, eflags: registers.eflags | 2, ..registers }).unwrap();
        engine
    };
    let feed = |engine: &mut SoftEngine, bytes: &[u8]| match engine.run().unwrap() {
        Exit::In { port, width, data } => {
            data.copy_from_slice(&bytes[..data.len()]);
            (port, width, data.len())
        }
        exit => panic!("{exit:?}"),
    };
    // in al, 0xe9; in ax, dx; in eax, dx; hlt
    let mut engine =
        start(&[0xe4, 0xe9, 0x66, 0xed, 0xed, 0xf4], Registers { eax: 0x8765_4321, ..Default::default() });
    assert_eq!(feed(&mut engine, b"a"), (0xe9, 1, 1));
    // Not before the next run.
    let registers = engine.registers().unwrap();
    assert_eq!((registers.eip, registers.eax), (0, 0x8765_4321));
    assert_eq!(feed(&mut engine, b"bc"), (0xe9, 2, 2));
    assert_eq!(engine.registers().unwrap().eax, 0x8765_4361);
    assert_eq!(feed(&mut engine, b"defg"), (0xe9, 4, 4));
    assert_eq!(halt(&mut engine).eax, 0x6766_6564);
    assert_eq!(engine.instructions(), Some(4));

    // rep insb of 5000: in portions; insb over code
    let mut engine = start(&[0xf3, 0x6c, 0xf4], Registers { ecx: 5000, edi: 0x1000, ..Default::default() });
    assert_eq!(feed(&mut engine, &[7; 5000]), (0xe9, 1, 4096));
    assert_eq!(engine.registers().unwrap().ecx, 5000);
    assert_eq!(feed(&mut engine, &[8; 5000]), (0xe9, 1, 904));
    let after = halt(&mut engine);
    assert_eq!((after.ecx, after.edi), (0, 0x1000 + 5000));
    assert_eq!(read_u32(&engine, 0x1ffe), 0x0808_0707);
    assert_eq!(engine.instructions(), Some(2));
    // insd downwards
    let mut engine = start(&[0x6d, 0xf4], Registers { edi: 0x1000, eflags: 0x400, ..Default::default() });
    assert_eq!(feed(&mut engine, b"wxyz"), (0xe9, 4, 4));
    assert_eq!(halt(&mut engine).edi, 0xffc);
    assert_eq!(read_u32(&engine, 0x1000), u32::from_le_bytes(*b"wxyz"));
    // insb to outside: nothing is consumed
    let mut engine = start(&[0x6c], Registers { edi: RAM, ..Default::default() });
    assert_eq!(fault(&mut engine).kind, outside(Access::Write, RAM));
    // insb over the next instruction
    let mut engine = start(&[0x6c, 0x0f, 0x0b], Registers { edi: 1, ..Default::default() });
    feed(&mut engine, &[0xf4]);
    halt(&mut engine);
}
