//! Alignment checks (SDM volume 3, section 7.15, "Interrupt 17").

use flatland::soft::SoftEngine;
use flatland::x86::entry::Table;
use flatland::x86::{Engine, Fault, Location, SegmentRegister, cr0, eflags};

use super::{exception, fault, halt, machine, read_u32, write_u32s};

/// A machine at this privilege level, with flat segments.
fn at_level(level: u16, cr0: u32, eflags: u32, code: &[u8]) -> SoftEngine {
    let mut engine = machine(code);
    let (mut state, position) = engine.processor().unwrap();
    for segment in &mut state.segments {
        segment.selector |= level;
        segment.rights |= level << 5;
    }
    state.cr0 |= cr0;
    state.registers.eflags |= eflags;
    engine.set_processor(&state, position).unwrap();
    engine
}

const NOT_ALIGNED: Fault = Fault { kind: exception(17, Some(0)), location: Location::At(0) };
/// What privilege level 3 gets for `hlt`.
const ENDED: fn(u32) -> Fault = |at| Fault { kind: exception(13, Some(0)), location: Location::At(at) };

#[test]
fn they_need_am_and_ac_and_level_3() {
    // mov eax, [0x101]; hlt
    let code = [0xa1, 1, 1, 0, 0, 0xf4];
    assert_eq!(fault(&mut at_level(3, cr0::AM, eflags::AC, &code)), NOT_ALIGNED);
    for (cr0, flags) in [(0, eflags::AC), (cr0::AM, 0)] {
        assert_eq!(fault(&mut at_level(3, cr0, flags, &code)), ENDED(5), "{cr0:#x} {flags:#x}");
    }
    halt(&mut at_level(0, cr0::AM, eflags::AC, &code));
}

#[test]
fn they_begin_and_end_with_popf() {
    // push 0x40002; popf; push 2; popf; mov eax, [0x101]; push 0x40002; popf; mov eax, [0x101]
    let set = [0x68, 2, 0, 4, 0, 0x9d];
    let load = [0xa1, 1, 1, 0, 0];
    let code = [&set[..], &[0x6a, 2, 0x9d], &load, &set, &load].concat();
    let expected = Fault { location: Location::At(20), ..NOT_ALIGNED };
    assert_eq!(fault(&mut at_level(3, cr0::AM, 0, &code)), expected);
}

#[test]
fn each_size_has_its_alignment() {
    // SDM volume 3, table 7-7. Each instruction is tried with all of these.
    for (code, alignment) in [
        (&[0x8a, 0x03][..], 1),      // mov al, [ebx]
        (&[0x66, 0x8b, 0x03], 2),    // mov ax, [ebx]
        (&[0x8b, 0x03], 4),          // mov eax, [ebx]
        (&[0x01, 0x03], 4),          // add [ebx], eax
        (&[0xd9, 0x03], 4),          // fld dword [ebx]
        (&[0xdd, 0x03], 8),          // fld qword [ebx]
        (&[0xdb, 0x2b], 8),          // fld tbyte [ebx]
        (&[0xdb, 0x3b], 8),          // fstp tbyte [ebx]
        (&[0xd9, 0x33], 4),          // fnstenv [ebx]
        (&[0xdd, 0x33], 4),          // fnsave [ebx]
        (&[0x66, 0xdd, 0x33], 2),    // fnsave of 16 bits
        (&[0x0f, 0xc7, 0x0b], 8),    // cmpxchg8b [ebx]
        (&[0x0f, 0x01, 0x43, 2], 4), // sgdt [ebx + 2]: a doubleword behind a word
        (&[0x0f, 0x6f, 0x03], 8),    // movq mm0, [ebx]
        (&[0x62, 0x03], 4),          // bound eax, [ebx]: 0 and 0 have EAX between them
    ] {
        for offset in 0..8 {
            let code = [code, &[0xf4]].concat();
            let mut engine = at_level(3, cr0::AM, eflags::AC, &code);
            let (mut state, position) = engine.processor().unwrap();
            state.registers.ebx = 0x200 + offset;
            engine.set_processor(&state, position).unwrap();
            let expected = if u32::is_multiple_of(offset, alignment) {
                ENDED(code.len() as u32 - 1)
            } else {
                NOT_ALIGNED
            };
            assert_eq!(fault(&mut engine), expected, "{code:02x?} {offset}");
        }
    }
}

#[test]
fn what_the_processor_accesses_for_level_0_is_not_checked() {
    // ud2; and the handler's hlt
    let mut engine = at_level(3, cr0::AM, eflags::AC, &[0x0f, 0x0b]);
    engine.write_ram(0x100, &[0xf4]);
    let (mut state, position) = engine.processor().unwrap();
    // The tables, the task state segment and its stack all lie at odd addresses.
    state.gdt = Table { base: 0x3001, limit: 0x17 };
    state.idt = Table { base: 0x2001, limit: 0x7ff };
    state.tr = SegmentRegister { selector: 0x28, base: 0x4001, limit: 0x67, rights: 0x8b };
    engine.set_processor(&state, position).unwrap();
    let flat = |access: u32| [0xffff, 0x00cf_0000 | access << 8];
    write_u32s(&mut engine, 0x3001, &[[0, 0], flat(0x9b), flat(0x93)].concat());
    write_u32s(&mut engine, 0x2001 + 6 * 8, &[0x0008_0100, 0x8e00]);
    write_u32s(&mut engine, 0x4001 + 4, &[0x7fff, 0x10]);
    let registers = halt(&mut engine);
    assert_eq!((registers.eip, registers.esp), (0x101, 0x7fff - 20));
    // EIP, CS, EFLAGS with RF and AC
    let frame = [0, 4, 8].map(|offset| read_u32(&engine, registers.esp + offset));
    assert_eq!(frame, [0, 0xb, 0x5_0002]);
}
