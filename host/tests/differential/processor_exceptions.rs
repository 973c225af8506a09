//! Exceptions, on the soft engine and on the processor that runs the test: vector, error code, EIP, EFLAGS with TF
//! and RF, the general registers and RAM.
//!
//! What is peculiar to privilege level 3 is not compared: ports, gates and selectors of the operating system, IF and
//! IOPL. Nor are flags that the manual leaves undefined (`trace`). #AC has tests of its own, with the soft engine at that
//! level.

use flatland::soft::SoftEngine;
use flatland::x86::eflags::RF;
use flatland::x86::{Engine, Exit, Registers};
use iced_x86::{Instruction, Mnemonic};

use super::case::{CODE, DATA, STACK, case};
use super::catalogue::{Form, forms};
use super::exceptions::{is_comparison, is_repeated};
use super::processor::{
    AC, DATA as DATA_SELECTOR, Processor, ProcessorAtLevel3, Signal, SoftAtAnyLevel, SoftAtLevel3,
    at_any_level, differs_by_level, halt_at,
};
use super::random::{Random, seeds};
use super::random_bytes;
use super::subject::{Before, RAM, soft_engine};
use super::trace::{decode, trace};
use super::verdict::{Tally, not_comparable, outside_ram};

const TF: u32 = 1 << 8;
/// The flags that privilege level 3 cannot change: IF and IOPL.
const PRIVILEGED_FLAGS: u32 = 0x3200;

/// A case of a form. TF is set in one of three cases: a trap follows the first instruction or iteration, unless that
/// faults.
fn case_of_a_form(forms: &[Form], seed: u64) -> Before {
    let mut random = Random::new(seed);
    let mut before = at_any_level(case(&forms[seed as usize % forms.len()], &mut random));
    if random.one_in(3) {
        before.registers.eflags |= TF;
    }
    before
}

#[test]
fn each_form_against_the_processor() {
    let forms = forms();
    let mut processor = Processor::default();
    let mut tally = Tally::default();
    for seed in seeds(1_226) {
        tally.case(seed, &case_of_a_form(&forms, seed), &mut SoftAtAnyLevel, &mut processor);
    }
    tally.finish("forms of instructions, soft and the processor");
}

/// Operands at random addresses, so that about half of them are not aligned.
#[test]
fn each_form_with_alignment_checks_against_the_processor() {
    let forms = forms();
    let mut processor = ProcessorAtLevel3::default();
    let mut tally = Tally::default();
    for seed in seeds(1_226) {
        let mut before = case_of_a_form(&forms, seed);
        before.registers.eflags |= AC;
        let first = decode(&before.ram[before.registers.eip as usize..], before.registers.eip);
        if matches!(first.mnemonic(), Mnemonic::Int3 | Mnemonic::Into) {
            tally.leave_out("gates of the operating system");
            continue;
        }
        tally.case(seed, &before, &mut SoftAtLevel3, &mut processor);
    }
    tally.finish("forms of instructions with alignment checks, soft and the processor");
}

#[test]
fn random_bytes_against_the_processor() {
    let mut processor = Processor::default();
    let mut tally = Tally::default();
    for seed in seeds(1_000) {
        let before = at_any_level(random_bytes::before(&mut Random::new(seed)));
        tally.case(seed, &before, &mut SoftAtAnyLevel, &mut processor);
    }
    tally.finish("sequences of random bytes, soft and the processor");
}

/// Code with two operands in memory. Where both are outside RAM, it is told of the one that is read or stored first.
#[rustfmt::skip]
const TWO_OPERANDS: &[&[u8]] = &[
    &[0xa4],       // movsb
    &[0x66, 0xa5], // movsw
    &[0xf3, 0xa5], // rep movsd
    &[0xa6],       // cmpsb
    &[0x66, 0xa7], // cmpsw
    &[0xf3, 0xa7], // repe cmpsd
    &[0xff, 0x36], // push [esi]
    &[0x8f, 0x07], // pop [edi]
    &[0xff, 0x16], // call [esi]
];

#[test]
fn two_operands_outside_ram() {
    let mut processor = Processor::default();
    let mut tally = Tally::default();
    let outside = [0x2000_0000, 0x4000_0000, 0x8000_0000];
    for (seed, code) in (0..).zip(TWO_OPERANDS) {
        // Both, and each alone.
        for [esi, edi] in [[outside[0], outside[1]], [DATA, outside[1]], [outside[0], DATA]] {
            for esp in [STACK, outside[2]] {
                let mut ram = vec![0xf4; RAM as usize];
                ram[CODE as usize..][..code.len()].copy_from_slice(code);
                let (ecx, eip, eflags) = (3, CODE, 2);
                let registers = Registers { esi, edi, ecx, esp, eip, eflags, ..Registers::default() };
                let before = at_any_level(Before { registers, ram });
                tally.case(seed, &before, &mut SoftAtAnyLevel, &mut processor);
            }
        }
    }
    tally.finish("instructions with two operands in memory, soft and the processor");
}

/// The addresses of the soft engine's IDT, of its handlers (a `hlt` each), and of the code that loads it. No case
/// uses them.
const IDT: u32 = 0x2000;
const HANDLERS: u32 = 0x2800;
const LIDT: u32 = 0x2a00;
const VECTORS: u32 = 32;
/// The selector of data at entry.
const SOFT_DATA: u32 = 0x10;
const HANDLER_SIZE: u32 = 2;

/// Writes the IDT to RAM.
fn with_idt(mut before: Before) -> Before {
    let mut put = |address: u32, bytes: &[u8]| {
        before.ram[address as usize..][..bytes.len()].copy_from_slice(bytes);
    };
    for vector in 0..VECTORS {
        let handler = HANDLERS + vector * HANDLER_SIZE;
        put(IDT + vector * 8, &[(0x0008_0000 | handler).to_le_bytes(), 0x8e00_u32.to_le_bytes()].concat());
    }
    // lidt [LIDT + 8]; hlt
    put(LIDT, &[&[0x0f, 0x01, 0x1d][..], &(LIDT + 8).to_le_bytes(), &[0xf4]].concat());
    put(LIDT + 8, &[&(VECTORS as u16 * 8 - 1).to_le_bytes()[..], &IDT.to_le_bytes()].concat());
    before
}

/// The exception that reaches a handler of the soft engine's guest, read from its frame. `None` if none does.
fn delivered(before: &Before) -> Option<Signal> {
    let mut engine = soft_engine(before);
    engine.set_registers(&Registers { eip: LIDT, ..before.registers }).unwrap();
    engine.set_registers(&Registers { eip: LIDT, eflags: 2, ..before.registers }).unwrap();
    assert!(matches!(engine.run().unwrap(), Exit::Halt));
    engine.set_registers(&before.registers).unwrap();
    let Exit::Halt = engine.run().unwrap() else { return None };
    let mut registers = engine.registers().unwrap();
    let vector = (registers.eip - 1).checked_sub(HANDLERS).map(|offset| offset / HANDLER_SIZE)?;
    let mut pop = |engine: &SoftEngine| {
        let mut word = [0; 4];
        assert_eq!(engine.read_ram(registers.esp, &mut word), 4);
        registers.esp += 4;
        u32::from_le_bytes(word)
    };
    let error_code = if matches!(vector, 8 | 10..=14 | 17) { pop(&engine) } else { 0 };
    (registers.eip, _, registers.eflags) = (pop(&engine), pop(&engine), pop(&engine));
    Some(Signal { vector, error_code, address: 0, registers })
}

/// Compares the exceptions that reach a handler, without `undefined_flags`. Returns whether there was one to compare.
#[track_caller]
fn compare(processor: &mut Processor, before: &Before, undefined_flags: u32, what: &str) -> bool {
    let before = with_idt(before.clone());
    let (mut theirs, _) =
        processor.signal(&before).unwrap_or_else(|| panic!("{what}: its process has ended"));
    let is_halt = theirs.vector == 13 && halt_at(&before.ram, theirs.registers.eip).is_some();
    // A page fault means the end of RAM here. A vector from [`VECTORS`] on means the alarm.
    let is_alignment_check = theirs.vector == 17;
    let has_room = (16..=RAM).contains(&theirs.registers.esp);
    if is_halt || is_alignment_check || theirs.vector == 14 || theirs.vector >= VECTORS || !has_room {
        return false;
    }
    theirs.address = 0;
    let Some(mut ours) = delivered(&before) else { panic!("{what}: nothing, and {theirs:x?}") };
    if (ours.registers.eax, theirs.registers.eax) == (SOFT_DATA, DATA_SELECTOR) {
        theirs.registers.eax = SOFT_DATA;
    }
    // A trap in the middle of a repeated instruction: Intel's processors push RF, and the status flags from before `repe
    // cmps` and `repe scas`. AMD's do not.
    const STATUS_FLAGS: u32 = 0x8d5;
    let eip = theirs.registers.eip;
    let instruction = decode(before.ram.get(eip as usize..).unwrap_or_default(), eip);
    let in_the_middle = match is_repeated(&instruction) {
        true if is_comparison(&instruction) => RF | STATUS_FLAGS,
        true => RF,
        false => 0,
    };
    let undefined_flags = undefined_flags | if theirs.vector == 1 { in_the_middle } else { 0 };
    for signal in [&mut ours, &mut theirs] {
        signal.registers.eflags &= !(PRIVILEGED_FLAGS | undefined_flags);
    }
    assert_eq!(ours, theirs, "{what}: {ours:x?} and {theirs:x?}");
    true
}

#[test]
fn frames_of_exceptions_are_those_of_the_processor() {
    let mut processor = Processor::default();
    let forms = forms();
    let mut vectors = 0_u32;
    for seed in seeds(1_226) {
        let before = case_of_a_form(&forms, seed);
        let trace = trace(&before, |_, _| {});
        let differs = trace.executed.iter().find_map(differs_by_level);
        // Hint NOPs that AMD decodes as prefetches (`exceptions`), and `int1` (see `ROWS`).
        let is_known = |instruction: &Instruction| {
            matches!(instruction.mnemonic(), Mnemonic::Reservednop | Mnemonic::Int1)
        };
        if differs.is_some()
            || trace.executed.iter().any(is_known)
            || not_comparable(&trace.executed).is_some()
            || outside_ram(&trace.after.end).is_some()
            || trace.undefined.is_some()
        {
            continue;
        }
        let code: Vec<_> = trace.executed.iter().map(|instruction| instruction.code()).collect();
        let what = format!("FLATLAND_SEED={seed} FLATLAND_CASES=1: {code:?}");
        vectors += u32::from(compare(&mut processor, &before, trace.undefined_flags, &what));
    }
    println!("{vectors} exceptions");
    assert!(vectors > 0, "there was none");
}

/// Code, and registers that are not 0.
struct Row {
    text: &'static str,
    code: &'static [u8],
    eax: u32,
}

const fn row(text: &'static str, code: &'static [u8], eax: u32) -> Row {
    Row { text, code, eax }
}

/// The selectors are beyond any GDT. `int1` is left out: a hypervisor may intercept it and report another EIP.
const ROWS: &[Row] = &[
    row("ud2", &[0x0f, 0x0b], 0),
    row("ud1", &[0x0f, 0xb9, 0xc0], 0),
    row("lock add eax, eax", &[0xf0, 0x01, 0xc0], 0),
    row("mov cs, eax", &[0x8e, 0xc8], 0),
    row("mov sreg 6, eax", &[0x8e, 0xf0], 0),
    row("les eax, eax", &[0xc4, 0xc0], 0),
    row("jmp far eax", &[0xff, 0xe8], 0),
    row("ff /7", &[0xff, 0xf8], 0),
    row("8f /1", &[0x8f, 0xc8], 0),
    row(
        "16 bytes",
        &[0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90],
        0,
    ),
    row("div cl by 0", &[0xf6, 0xf1], 7),
    row("aam 0", &[0xd4, 0], 0),
    row("idiv ecx of the least", &[0x99, 0x83, 0xc9, 0xff, 0xf7, 0xf9], 0x8000_0000),
    row("int3", &[0xcc], 0),
    row("int 3", &[0xcd, 3], 0),
    row("int 4", &[0xcd, 4], 0),
    row("into with OF", &[0xb0, 0x7f, 0x04, 1, 0xce], 0),
    row("int 0x20", &[0xcd, 0x20], 0),
    row("int 0xff", &[0xcd, 0xff], 0),
    row("mov ds, ax: beyond the GDT", &[0x8e, 0xd8], 0x1234_8ff8),
    row("mov es, ax: the same, for level 3", &[0x8e, 0xc0], 0x8ffb),
    row("mov ss, ax: beyond the GDT", &[0x8e, 0xd0], 0x8ffb),
    row("mov ss, ax: null", &[0x8e, 0xd0], 0),
    row("push 0x8ffb; pop fs", &[0x68, 0xfb, 0x8f, 0, 0, 0x0f, 0xa1], 0),
    row("push 0x8ffb; pop ss", &[0x68, 0xfb, 0x8f, 0, 0, 0x17], 0),
    row(
        "push 0x8ffb; push 0x8000; lds eax, [esp]",
        &[0x68, 0xfb, 0x8f, 0, 0, 0x68, 0, 0x80, 0, 0, 0xc5, 0x04, 0x24],
        0,
    ),
    row("jmp 0x8ffb:0", &[0xea, 0, 0, 0, 0, 0xfb, 0x8f], 0),
    row("jmp 0:0", &[0xea, 0, 0, 0, 0, 0, 0], 0),
    row("call 0x8ffb:0", &[0x9a, 0, 0, 0, 0, 0xfb, 0x8f], 0),
    row("push 0x8ffb; push 0x8000; retf", &[0x68, 0xfb, 0x8f, 0, 0, 0x68, 0, 0x80, 0, 0, 0xcb], 0),
    row(
        "push 2; push 0x8ffb; push 0x8000; iret",
        &[0x6a, 2, 0x68, 0xfb, 0x8f, 0, 0, 0x68, 0, 0x80, 0, 0, 0xcf],
        0,
    ),
    row("push 0x102; popf; inc eax", &[0x68, 2, 1, 0, 0, 0x9d, 0x40, 0x40], 0),
    row("push 0x102; popf; popf", &[0x6a, 2, 0x68, 2, 1, 0, 0, 0x9d, 0x9d, 0x40], 0),
    row("push 0x102; popf; pushf", &[0x68, 2, 1, 0, 0, 0x9d, 0x9c, 0x40], 0),
    row("push 0x102; popf; div cl", &[0x68, 2, 1, 0, 0, 0x9d, 0xf6, 0xf1], 7),
    row("push 0x102; popf; ud2", &[0x68, 2, 1, 0, 0, 0x9d, 0x0f, 0x0b], 7),
    row("push 0x102; popf; int3", &[0x68, 2, 1, 0, 0, 0x9d, 0xcc, 0x40], 0),
    row("push 0x102; popf; into without OF", &[0x68, 2, 1, 0, 0, 0x9d, 0xce, 0x40], 0),
    row("push 0x102; popf; jmp", &[0x68, 2, 1, 0, 0, 0x9d, 0xeb, 2, 0x40, 0x40, 0x40], 0),
    row("push 0x102; popf; call", &[0x68, 2, 1, 0, 0, 0x9d, 0xe8, 2, 0, 0, 0, 0x40, 0x40, 0x40], 0),
    row("push 0x102; popf; loop that is not taken", &[0x68, 2, 1, 0, 0, 0x9d, 0x41, 0xe2, 0xfe, 0x40], 0),
    row("push 0x102; popfw", &[0x68, 2, 1, 0, 0, 0x66, 0x9d, 0x40, 0x40], 0),
    row(
        "mov ecx, 3; push 0x102; popf; rep stosb",
        &[0xb9, 3, 0, 0, 0, 0x68, 2, 1, 0, 0, 0x9d, 0xf3, 0xaa, 0x40],
        0,
    ),
    row(
        "mov ecx, 1; push 0x102; popf; rep stosb",
        &[0xb9, 1, 0, 0, 0, 0x68, 2, 1, 0, 0, 0x9d, 0xf3, 0xaa, 0x40],
        0,
    ),
    row(
        "mov ecx, 3; push 0x102; popf; es rep stosd",
        &[0xb9, 3, 0, 0, 0, 0x68, 2, 1, 0, 0, 0x9d, 0x26, 0xf3, 0xab, 0x40],
        0,
    ),
    row("push 0x102; popf; rep stosb with ECX = 0", &[0x68, 2, 1, 0, 0, 0x9d, 0xf3, 0xaa, 0x40], 0),
    row(
        "mov ecx, 3; push 0x102; popf; repe cmpsb",
        &[0xb9, 3, 0, 0, 0, 0x68, 2, 1, 0, 0, 0x9d, 0xf3, 0xa6, 0x40],
        0,
    ),
    row(
        "mov ecx, 3; push 0x102; popf; repe cmpsw of 16-bit addresses",
        &[0xb9, 3, 0, 0, 0, 0x68, 2, 1, 0, 0, 0x9d, 0x67, 0xf3, 0x66, 0xa7, 0x40],
        0,
    ),
    row(
        "mov eax, ss; push 0x102; popf; mov ss, eax; xor eax, eax",
        &[0x8c, 0xd0, 0x68, 2, 1, 0, 0, 0x9d, 0x8e, 0xd0, 0x31, 0xc0, 0x40],
        0,
    ),
    row(
        "push ss; push 0x102; popf; pop ss; xor eax, eax",
        &[0x16, 0x68, 2, 1, 0, 0, 0x9d, 0x17, 0x31, 0xc0, 0x40],
        0,
    ),
    row(
        "push ss; push esp; push 0x102; popf; lss eax, [esp]; xor eax, eax",
        &[0x16, 0x54, 0x68, 2, 1, 0, 0, 0x9d, 0x0f, 0xb2, 0x04, 0x24, 0x31, 0xc0, 0x40],
        0,
    ),
    row(
        "mov eax, ds; push 0x102; popf; mov ds, eax; xor eax, eax",
        &[0x8c, 0xd8, 0x68, 2, 1, 0, 0, 0x9d, 0x8e, 0xd8, 0x31, 0xc0, 0x40],
        0,
    ),
    row(
        "mov eax, ss; push 0x102; popf; mov ss, eax; int3",
        &[0x8c, 0xd0, 0x68, 2, 1, 0, 0, 0x9d, 0x8e, 0xd0, 0xcc, 0x40],
        0,
    ),
    row(
        "mov eax, ss; push 0x102; popf; mov ss, eax; ud2",
        &[0x8c, 0xd0, 0x68, 2, 1, 0, 0, 0x9d, 0x8e, 0xd0, 0x0f, 0x0b],
        0,
    ),
    row(
        "push 0x102; push cs; call, iret; inc ebx",
        &[0x68, 2, 1, 0, 0, 0x0e, 0xe8, 2, 0, 0, 0, 0x43, 0x43, 0xcf],
        0,
    ),
    row(
        "push 0x1_0002; push cs; call, iret; ud2",
        &[0x68, 2, 0, 1, 0, 0x0e, 0xe8, 3, 0, 0, 0, 0x0f, 0x0b, 0x43, 0xcf],
        0,
    ),
    row(
        "push 0x1_0002; push cs; call, iret; nop; int3",
        &[0x68, 2, 0, 1, 0, 0x0e, 0xe8, 3, 0, 0, 0, 0x90, 0xcc, 0x43, 0xcf],
        0,
    ),
    row(
        "push 0x1_0002; push cs; call, iret; int3",
        &[0x68, 2, 0, 1, 0, 0x0e, 0xe8, 3, 0, 0, 0, 0xcc, 0x43, 0x43, 0xcf],
        0,
    ),
];

#[test]
fn a_table_of_exceptions_is_as_on_the_processor() {
    let mut processor = Processor::default();
    let mut different = Vec::new();
    for Row { text, code, eax } in ROWS {
        let mut ram = vec![0xf4; RAM as usize];
        ram[DATA as usize..][..0x100].fill(7);
        ram[CODE as usize..][..code.len()].copy_from_slice(code);
        let registers = Registers {
            eax: *eax,
            esi: DATA,
            edi: DATA + 0x80,
            esp: STACK,
            eip: CODE,
            eflags: 0x202,
            ..Registers::default()
        };
        let before = Before { registers, ram };
        let compared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert!(compare(&mut processor, &before, 0, text), "{text}: no exception");
        }));
        if compared.is_err() {
            different.push(text);
        }
    }
    assert!(different.is_empty(), "{different:#?}");
}
