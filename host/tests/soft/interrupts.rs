//! Interrupts of devices: when they are delivered, and what their handlers find.

use flatland::soft::SoftEngine;
use flatland::x86::entry::Table;
use flatland::x86::{
    Engine, Exit, Fault, Location, Position, Processor, Registers, SegmentRegister, Stops, Vector, eflags,
    segment,
};

use super::{debug, exception, fault, halt, machine, out, read_u32, write_u32s};

const IDT: u32 = 0x2000;
const HANDLER: u32 = 0x100;
const STACK: u32 = 0x8000;

fn vector(number: u8) -> Vector {
    Vector::new(number).unwrap()
}

/// A machine with this code at 0 and interrupt gates for vectors from 0x20 on, each of which leads to
/// `inc ebx; hlt` at a place of its own. ESP is [`STACK`].
fn with_gates(code: &[u8], flags: u32) -> SoftEngine {
    let mut engine = machine(code);
    for number in 0x20..0x28 {
        let handler = HANDLER + (number - 0x20) * 0x10;
        write_u32s(&mut engine, IDT + number * 8, &[0x8_0000 | handler, 0x8e00]);
        engine.write_ram(handler, &[0x43, 0xf4]);
    }
    change(&mut engine, |state| {
        state.idt = Table { base: IDT, limit: 0x7ff };
        state.registers.esp = STACK;
        state.registers.eflags = flags;
    });
    engine
}

fn change(engine: &mut SoftEngine, change: impl FnOnce(&mut Processor)) {
    let (mut state, _) = engine.processor().unwrap();
    change(&mut state);
    let location = Location::At(state.registers.eip);
    engine.set_processor(&state, Position { location, was_reported: false }).unwrap();
}

/// The frame of a handler that was entered at the same privilege level: EIP, CS, EFLAGS.
fn frame(engine: &SoftEngine, esp: u32) -> [u32; 3] {
    [0, 4, 8].map(|offset| read_u32(engine, esp + offset))
}

/// Where an interrupt that is pending from the beginning comes, at full speed and in steps: the count of instructions when
/// the handler halts, and the address that it returns to.
fn delivered(code: &[u8], flags: u32) -> (u64, u32) {
    let [fast, stepped] = [false, true].map(|step| {
        let mut engine = with_gates(code, flags);
        engine.write_ram(0x40, &[0x10, 0]);
        engine.raise(vector(0x20)).unwrap();
        engine.set_stops(&Stops { step, ..Stops::default() }).unwrap();
        while !matches!(engine.run().unwrap(), Exit::Halt) {}
        let registers = engine.registers().unwrap();
        assert_eq!((registers.ebx, registers.esp), (1, STACK - 12), "{code:02x?}");
        assert!(engine.pending_interrupts().is_empty());
        (engine.instructions().unwrap(), read_u32(&engine, registers.esp))
    });
    assert_eq!(fast, stepped, "{code:02x?}");
    fast
}

#[test]
fn shadows_put_off_an_interrupt_by_one_instruction() {
    const OFF: u32 = 2;
    const ON: u32 = 2 | eflags::IF;
    // The two instructions of the handler are counted, too.
    for (code, flags, before, eip) in [
        // IF is set: before the first instruction
        (&[0x40, 0x40][..], ON, 0, 0),
        // inc eax; sti; inc eax; inc eax
        (&[0x40, 0xfb, 0x40, 0x40], OFF, 3, 3),
        // sti; sti; inc eax: the second one casts none
        (&[0xfb, 0xfb, 0x40], OFF, 2, 2),
        // sti; mov ss, [0x40]; inc eax; inc eax
        (&[0xfb, 0x8e, 0x15, 0x40, 0, 0, 0, 0x40, 0x40], OFF, 3, 8),
        // sti; jmp 5: also behind a branch
        (&[0xfb, 0xeb, 2, 0xf4, 0xf4, 0x40], OFF, 2, 5),
        // push 0x202; popf; inc eax: popf casts none
        (&[0x68, 2, 2, 0, 0, 0x9d, 0x40], OFF, 2, 6),
        // push 0x202; push 8; push 0x10; iret
        (&[0x68, 2, 2, 0, 0, 0x6a, 8, 0x6a, 0x10, 0xcf, 0, 0, 0, 0, 0, 0, 0x40, 0x40], OFF, 4, 0x10),
        // sti; hlt: wakes at once
        (&[0xfb, 0xf4, 0x40], OFF, 2, 2),
        // sti; rep stosb, of 3: the instruction is complete
        (&[0xfb, 0xb1, 3, 0xf3, 0xaa], OFF, 2, 3),
    ] {
        assert_eq!(delivered(code, flags), (before + 2, eip), "{code:02x?}");
    }
}

#[test]
fn without_if_it_stays_pending() {
    // inc eax; hlt
    let mut engine = with_gates(&[0x40, 0xf4], 2);
    engine.raise(vector(0x20)).unwrap();
    assert_eq!(halt(&mut engine).eax, 1);
    assert_eq!(engine.pending_interrupts().highest(), Some(vector(0x20)));
}

#[test]
fn an_interrupt_gate_turns_interrupts_off_and_iret_on() {
    // sti; mov ecx, [0x40]: the handler returns here; jmp $
    let mut engine = with_gates(&[0xfb, 0x90, 0x90, 0xeb, 0xfd], 2);
    // inc ebx; out 0xe9, al; iret
    for handler in [HANDLER, HANDLER + 0x70] {
        engine.write_ram(handler, &[0x43, 0xe6, 0xe9, 0xcf]);
    }
    for number in [0x20, 0x27] {
        engine.raise(vector(number)).unwrap();
    }
    // The highest first, and the other one directly behind its `iret`.
    out(&mut engine);
    assert_eq!(engine.registers().unwrap().eip & !0xf, HANDLER + 0x70);
    assert_eq!(engine.registers().unwrap().eflags & eflags::IF, 0);
    assert_eq!(frame(&engine, STACK - 12), [2, 8, 0x202]);
    out(&mut engine);
    assert_eq!(engine.registers().unwrap().eip & !0xf, HANDLER);
    assert_eq!(frame(&engine, STACK - 12), [2, 8, 0x202]);
    // sti, nop; inc, out, iret; inc, out
    assert_eq!(engine.instructions(), Some(7));
    assert!(engine.pending_interrupts().is_empty());
}

/// One that comes with an exit is delivered behind that instruction, whatever the block was.
#[test]
fn raised_at_an_exit_it_comes_before_the_next_instruction() {
    for (code, eip) in [
        // out 0xe9, al; inc eax
        (&[0xe6, 0xe9, 0x40, 0xf4][..], 2),
        // sti; out 0xe9, al; inc eax
        (&[0xfb, 0xe6, 0xe9, 0x40, 0xf4], 3),
        // mov ss, [0x40]; out 0xe9, al; inc eax: the shadow ends with the transfer
        (&[0x8e, 0x15, 0x40, 0, 0, 0, 0xe6, 0xe9, 0x40, 0xf4], 8),
    ] {
        let mut engine = with_gates(code, 2 | eflags::IF);
        engine.write_ram(0x40, &[0x10, 0]);
        out(&mut engine);
        engine.raise(vector(0x21)).unwrap();
        let registers = halt(&mut engine);
        assert_eq!((registers.eax, registers.ebx), (0, 1), "{code:02x?}");
        assert_eq!(frame(&engine, STACK - 12), [eip, 8, 0x202], "{code:02x?}");
    }
}

#[test]
fn from_an_outer_level_it_goes_through_the_task_state_segment() {
    // inc eax; jmp 0
    let mut engine = with_gates(&[0x40, 0xeb, 0xfd], 2 | eflags::IF);
    const TASK: u32 = 0x3000;
    const GDT: u32 = 0x4000;
    write_u32s(&mut engine, TASK + 4, &[STACK, 0x10]);
    // Flat code and data of level 0 and of level 3.
    for (number, high) in [(1, 0x00cf_9b00), (2, 0x00cf_9300), (3, 0x00cf_fb00), (4, 0x00cf_f300)] {
        write_u32s(&mut engine, GDT + number * 8, &[0xffff, high]);
    }
    let flat = |selector, high: u64| SegmentRegister::of(selector, high << 32 | 0xffff);
    change(&mut engine, |state| {
        state.gdt = Table { base: GDT, limit: 0x27 };
        state.tr = SegmentRegister { selector: 0x28, base: TASK, limit: 0x67, rights: 0x8b };
        state.segments[usize::from(segment::CS)] = flat(0x1b, 0x00cf_fb00);
        state.segments[usize::from(segment::SS)] = flat(0x23, 0x00cf_f300);
        state.registers.esp = 0x7000;
    });
    assert!(engine.interrupt_at(Some(5)));
    assert!(matches!(engine.run().unwrap(), Exit::Interrupted));
    engine.raise(vector(0x20)).unwrap();
    let registers = halt(&mut engine);
    assert_eq!((registers.eax, registers.ebx, registers.esp), (3, 1, STACK - 20));
    let frame = [0, 4, 8, 12, 16].map(|offset| read_u32(&engine, registers.esp + offset));
    assert_eq!(frame, [1, 0x1b, 2 | eflags::IF | eflags::PF, 0x7000, 0x23]);
    let system = engine.system_registers().unwrap();
    assert_eq!((system.cs, system.ss), (8, 0x10));
}

#[test]
fn a_run_returns_at_an_exact_count_of_instructions() {
    // inc eax, 40 times; jmp 0
    let code = [&[0x40; 40][..], &[0xeb, 0xd6]].concat();
    let mut engine = machine(&code);
    for count in [0, 1, 2, 3, 40, 41, 42, 43, 1000, 1001, 5000] {
        assert!(engine.interrupt_at(Some(count)));
        assert!(matches!(engine.run().unwrap(), Exit::Interrupted));
        let registers = engine.registers().unwrap();
        assert_eq!(engine.instructions(), Some(count));
        assert_eq!((u64::from(registers.eip), u64::from(registers.eax)), (count % 41, count - count / 41));
        assert_eq!(engine.location().unwrap(), Location::At(registers.eip));
    }
    // A limit that comes first is told first, and the other one after it.
    engine.interrupt_at(Some(5010));
    engine.set_stops(&Stops { instructions: Some(5005), ..Stops::default() }).unwrap();
    debug(&mut engine);
    assert_eq!(engine.instructions(), Some(5005));
    engine.set_stops(&Stops::default()).unwrap();
    assert!(matches!(engine.run().unwrap(), Exit::Interrupted));
    assert_eq!(engine.instructions(), Some(5010));
}

#[test]
fn a_limit_counts_the_instructions_of_a_handler_and_not_its_delivery() {
    let mut engine = with_gates(&[0x40, 0x40, 0x40], 2 | eflags::IF);
    engine.raise(vector(0x20)).unwrap();
    engine.set_stops(&Stops { instructions: Some(1), ..Stops::default() }).unwrap();
    debug(&mut engine);
    assert_eq!(
        engine.registers().unwrap(),
        Registers { ebx: 1, esp: STACK - 12, eip: HANDLER + 1, eflags: 2, ..Registers::default() }
    );
}

/// The IDT at entry ends below the vector.
#[test]
fn without_a_gate_it_is_a_general_protection_fault() {
    let mut engine = machine(&[0xfb, 0x40, 0x40]);
    engine.raise(vector(0x20)).unwrap();
    let kind = exception(13, Some(0x20 * 8 + 3));
    assert_eq!(fault(&mut engine), Fault { kind, location: Location::At(2) });
    let mut engine = with_gates(&[0xfb, 0x40, 0x40], 2);
    // Its own IDT has a gate for #GP only.
    write_u32s(&mut engine, IDT + 0x20 * 8, &[0, 0]);
    write_u32s(&mut engine, IDT + 13 * 8, &[0x8_0000 | (HANDLER + 0x10), 0x8e00]);
    engine.raise(vector(0x20)).unwrap();
    halt(&mut engine);
    assert_eq!(frame(&engine, STACK - 16), [0x20 * 8 + 3, 2, 8]);
}

#[test]
fn what_is_pending_and_its_shadow_are_part_of_the_state() {
    // sti; inc eax; inc eax
    let mut engine = with_gates(&[0xfb, 0x40, 0x40], 2);
    engine.raise(vector(0x20)).unwrap();
    engine.interrupt_at(Some(1));
    assert!(matches!(engine.run().unwrap(), Exit::Interrupted));
    let (state, position) = engine.processor().unwrap();
    let mut ram = vec![0; 0x1_0000];
    engine.read_ram(0, &mut ram);
    let mut other = machine(&ram);
    other.set_processor(&state, position).unwrap();
    for engine in [&mut engine, &mut other] {
        assert_eq!(halt(engine).eax, 1);
        assert_eq!(frame(engine, STACK - 12), [2, 8, 0x202]);
    }
}
