//! A run that moves between engines keeps what an operating system has set up: paging, tables, levels, and the state of x87 and SSE.

#[path = "../../tests/common/system_image.rs"]
mod system_image;

use std::env;
use std::time::Duration;

use flatland_machine::{
    EngineChoice, EngineKind, Event, Machine, MemorySize, Outcome, Program, Streams, Wants,
};
use flatland_x86::{Processor, Registers};

use system_image::{GDT, IDT, LDT, TSS, begin, put, put_gate, put_page, put_tables};

fn machine(engine: EngineChoice, image: &[u8]) -> Machine {
    Machine::builder()
        .engine(engine)
        .memory(MemorySize::mib(1))
        .output(Vec::new())
        .time_limit(Duration::from_secs(10))
        .build(&Program::from_bytes(image.to_vec()).unwrap())
        .unwrap()
}

/// The code behind that of [`begin`]: takes a page fault, and goes to level 3 with numbers in x87 and
/// SSE. There it makes a transfer. Then it stores a number, and comes back to level 0 by an interrupt.
#[rustfmt::skip]
const ALL_OF_THE_STATE: &[u8] = &[
    0xd9, 0xe8,                                // fld1
    0xd9, 0xeb,                                // fldpi
    0x0f, 0x10, 0x1d, 0x00, 0x00, 0x00, 0x00,  // movups xmm3,0x0
    0x0f, 0xae, 0x15, 0x10, 0x02, 0x00, 0x00,  // ldmxcsr 0x210
    0xa1, 0x00, 0x50, 0x00, 0x00,              // mov eax,0x5000
    0x6a, 0x23,                                // push 0x23
    0x68, 0x00, 0x3e, 0x00, 0x00,              // push 0x3e00
    0x68, 0x02, 0x02, 0x00, 0x00,              // push 0x202
    0x6a, 0x1b,                                // push 0x1b
    0x68, 0x86, 0x00, 0x00, 0x00,              // push 0x86
    0xcf,                                      // iret
    // user:
    0xb8, 0x23, 0x00, 0x00, 0x00,              // mov eax,0x23
    0x8e, 0xd8,                                // mov ds,eax
    0xb9, 0x04, 0x00, 0x00, 0x00,              // mov ecx,0x4
    0x8e, 0xe9,                                // mov gs,ecx
    0xe6, 0xe9,                                // out 0xe9,al
    0xdb, 0x1d, 0x10, 0x30, 0x00, 0x00,        // fistp 0x3010
    0x8b, 0x1d, 0x10, 0x30, 0x00, 0x00,        // mov ebx,0x3010
    0x66, 0x0f, 0x7e, 0xd9,                    // movd ecx,xmm3
    0xcd, 0x20,                                // int 0x20
    // page_fault:
    0x83, 0xc4, 0x04,                          // add esp,0x4
    0x83, 0x04, 0x24, 0x05,                    // add [esp],0x5
    0xcf,                                      // iret
    // last:
    0x0f, 0x00, 0xc2,                          // sldt edx
    0x0f, 0x00, 0xce,                          // str esi
    0x0f, 0x20, 0xd7,                          // mov edi,cr2
    0xf4,                                      // hlt
];

/// Where `ldmxcsr` finds its operand.
const MXCSR: usize = 0x210;

fn image_with_all_of_the_state(cr0: u32) -> Vec<u8> {
    let mut image = begin(cr0, 0x1234);
    image.extend(ALL_OF_THE_STATE);
    image.resize(0x4000, 0);
    put(&mut image, MXCSR, &0x7f80_u32.to_le_bytes());
    // The LDT has data from 0x100 on.
    put_tables(&mut image, 0, 0x00cf_f300_0100_ffff);
    put_gate(&mut image, 14, 0x8e, 0xa8);
    put_gate(&mut image, 0x20, 0xee, 0xb0);
    // The page of data lies elsewhere in RAM. The last one is the stack at entry.
    for (page, entry) in [(0, 0x0007), (1, 0x1003), (2, 0x2003), (3, 0x4007), (0xff, 0xf_f003)] {
        put_page(&mut image, page, entry);
    }
    image
}

/// What must not change. Where FIP, FOP and FDP are kept is the processor's: AMD's drop them while no exception is pending.
fn system_state(machine: &mut Machine) -> Processor {
    let (mut state, _) = machine.engine().processor().unwrap();
    if let Some(fpu) = &mut state.fpu {
        (fpu.instruction, fpu.opcode, fpu.data) = (0, 0, 0);
    }
    // IA32_SYSENTER_CS, ESP and EIP.
    state.msrs.retain(|(number, _)| (0x174..=0x176).contains(number));
    state.msrs.sort();
    (state.time_stamp, state.instructions) = (0, None);
    state
}

#[test]
fn paging_levels_and_floats_move() {
    if env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
        return;
    }
    let at_transfer = || {
        let mut m = machine(EngineChoice::Soft, &image_with_all_of_the_state(0x8001_0033));
        let event = m.resume(&Wants { transfers: true, ..Wants::default() }).unwrap();
        assert!(matches!(event, Event::Transfer(..)), "{event:?}");
        m
    };
    let at_end = |m: &mut Machine| {
        let outcome = m.run().unwrap();
        let Registers { ebx, ecx, edx, esi, edi, .. } = m.registers().unwrap();
        let mut stored = [0; 4];
        m.engine().read_ram(0x4010, &mut stored);
        // Pi, of code as numbers, LDTR, TR and CR2.
        assert_eq!((outcome, ebx, ecx), (Outcome::Halted, 3, 0x0015_010f));
        assert_eq!((edx, esi, edi, stored), (0x30, 0x28, 0x5000, [3, 0, 0, 0]));
    };
    at_end(&mut at_transfer());

    let mut m = at_transfer();
    let before = system_state(&mut m);
    // It is what it is for.
    assert_eq!((before.cr0, before.cr2, before.cr3, before.cr4), (0x8001_0033, 0x5000, 0x1000, 0x610));
    assert_eq!((before.segments[1].selector, before.segments[5].base), (0x1b, 0x100));
    assert_eq!((before.ldtr.base, before.tr.base, before.tr.rights), (LDT, TSS, 0x8b));
    assert_eq!((before.gdt.base, before.idt.base, before.idt.limit), (GDT, IDT, 0x10f));
    assert_eq!(before.msrs, [(0x174, 8), (0x175, 0x3f00), (0x176, 0x1234)]);
    assert!(before.fpu.as_ref().is_some_and(|fpu| (fpu.tags, fpu.mxcsr) == (0b1100_0000, 0x7f80)));
    // A KVM that emulates the processor has no paging. It says so, and the run stays where it is.
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !info.split_whitespace().any(|flag| flag == "vmx" || flag == "svm") {
        let refused = m.move_to(EngineKind::Kvm).unwrap_err().to_string();
        assert!(refused.contains("paging"), "{refused}");
        assert_eq!(system_state(&mut m), before);
        return at_end(&mut m);
    }
    m.move_to(EngineKind::Kvm).unwrap();
    assert_eq!(system_state(&mut m), before, "on KVM");
    let snapshot = m.snapshot().unwrap();
    m.move_to(EngineKind::Soft).unwrap();
    assert_eq!(system_state(&mut m), before, "on soft again");
    at_end(&mut m);
    let mut m = machine(EngineChoice::Kvm, &[0xf4]);
    m.restore(&snapshot, Streams::none()).unwrap();
    assert_eq!(system_state(&mut m), before, "restored on KVM");
    // QEMU's processor gives up at an interrupt to another level if TR was loaded by VMRUN: it takes a busy task state segment for a
    // bad one ("invalid tss type", target/i386/tcg/seg_helper.c).
    if !info.contains("QEMU TCG") {
        at_end(&mut m);
    }
}

/// All but paging, which not each KVM has: before the instruction that turns it on.
#[test]
fn tables_and_floats_move() {
    if env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
        return;
    }
    let mut image = image_with_all_of_the_state(0x1_0033);
    // Nothing at the address that is not mapped.
    image[0x6d..0x72].fill(0x90);
    let mut m = machine(EngineChoice::Soft, &image);
    let event = m.resume(&Wants { transfers: true, ..Wants::default() }).unwrap();
    assert!(matches!(event, Event::Transfer(..)), "{event:?}");
    let before = system_state(&mut m);
    assert_eq!((before.cr0, before.cr4, before.segments[1].selector), (0x1_0033, 0x610, 0x1b));
    m.move_to(EngineKind::Kvm).unwrap();
    assert_eq!(system_state(&mut m), before, "on KVM");
    m.move_to(EngineKind::Soft).unwrap();
    assert_eq!(system_state(&mut m), before, "on soft again");
    assert_eq!(m.run().unwrap(), Outcome::Halted);
    assert_eq!(m.registers().unwrap().ebx, 3);
}
