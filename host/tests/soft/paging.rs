//! Paging in the soft engine.

use flatland::soft::SoftEngine;
use flatland::x86::entry::Table;
use flatland::x86::{
    Access, Engine, Fault, FaultKind, Location, Position, Registers, SegmentRegister, cr0, cr4,
};

use super::{fault, halt, machine, outside, read_u32, write_u32s};

const DIRECTORY: u32 = 0x8000;
const TABLE: u32 = 0x9000;
const OFFSET: u32 = 0xfff;
const PRESENT: u32 = 1;
const WRITABLE: u32 = 2;
const USER: u32 = 4;
const ACCESSED: u32 = 0x20;
const DIRTY: u32 = 0x40;

/// A machine with paging on: pages are what they are without, but for these linear pages. Its code is at `eip`.
fn paged(eip: u32, code: &[u8], entries: &[(u32, u32)]) -> SoftEngine {
    let mut engine = machine(&[]);
    engine.write_ram(eip, code);
    write_u32s(&mut engine, DIRECTORY, &[TABLE | PRESENT | WRITABLE | USER]);
    let identity: Vec<_> = (0..16).map(|page| page << 12 | PRESENT | WRITABLE | USER).collect();
    write_u32s(&mut engine, TABLE, &identity);
    for (page, entry) in entries {
        write_u32s(&mut engine, TABLE + page * 4, &[*entry]);
    }
    let (mut state, _) = engine.processor().unwrap();
    (state.cr3, state.cr4, state.cr0) = (DIRECTORY, cr4::PSE, state.cr0 | cr0::PG | cr0::WP);
    state.registers.eip = eip;
    engine.set_processor(&state, Position { location: Location::At(eip), was_reported: false }).unwrap();
    engine
}

fn page_fault(error_code: u32) -> FaultKind {
    FaultKind::Exception { vector: 14, error_code: Some(error_code) }
}

fn cr2(engine: &mut SoftEngine) -> u32 {
    engine.processor().unwrap().0.cr2
}

#[test]
fn faults_have_their_error_code_and_address() {
    // Page 4 is not there, page 5 is read-only, page 6 lies outside RAM.
    let entries = [(4, 0), (5, 0x5000 | PRESENT), (6, 0x0100_0000 | PRESENT | WRITABLE)];
    for (code, kind, address) in [
        // mov al, [0x4123]; mov [0x4123], al; inc byte [0x4123]
        (&[0xa0, 0x23, 0x41, 0, 0][..], page_fault(0), 0x4123),
        (&[0xa2, 0x23, 0x41, 0, 0], page_fault(2), 0x4123),
        (&[0xfe, 0x05, 0x23, 0x41, 0, 0], page_fault(2), 0x4123),
        // mov eax, [0x3ffe]; mov [0x3ffe], eax: the second page
        (&[0xa1, 0xfe, 0x3f, 0, 0], page_fault(0), 0x4000),
        (&[0xa3, 0xfe, 0x3f, 0, 0], page_fault(2), 0x4000),
        // mov [0x5000], eax; or dword [0x5000], 1
        (&[0xa3, 0, 0x50, 0, 0], page_fault(3), 0x5000),
        (&[0x83, 0x0d, 0, 0x50, 0, 0, 1], page_fault(3), 0x5000),
        // mov eax, [0x6010]
        (&[0xa1, 0x10, 0x60, 0, 0], outside(Access::Read, 0x0100_0010), 0),
        // mov eax, [0x00400000]: no table
        (&[0xa1, 0, 0, 0x40, 0], page_fault(0), 0x0040_0000),
    ] {
        let mut engine = paged(0x1000, code, &entries);
        let before = engine.registers().unwrap();
        let expected = Fault { kind, location: Location::At(0x1000) };
        assert_eq!((fault(&mut engine), cr2(&mut engine)), (expected, address), "{code:02x?}");
        assert_eq!(engine.registers().unwrap(), before, "{code:02x?}");
        assert_eq!(read_u32(&engine, 0x3ffc), 0, "{code:02x?}");
    }
    // jmp 0x4567
    let mut engine = paged(0x1000, &[0xe9, 0x62, 0x35, 0, 0], &entries);
    assert_eq!(fault(&mut engine), Fault { kind: page_fault(0), location: Location::At(0x4567) });
    assert_eq!(cr2(&mut engine), 0x4567);
}

#[test]
fn a_page_fault_while_one_is_delivered_leaves_its_own_address() {
    // Pages 4 and 6 are not there: mov al, [0x6123], with the stack's top at 0x5000. The double fault finds no stack, either.
    let mut engine = paged(0x1000, &[0xa0, 0x23, 0x61, 0, 0], &[(4, 0), (6, 0)]);
    for vector in [8, 14] {
        write_u32s(&mut engine, 0x2000 + vector * 8, &[0x0008_1800, 0x8e00]);
    }
    let (mut state, position) = engine.processor().unwrap();
    state.registers.esp = 0x5000;
    state.idt = Table { base: 0x2000, limit: 0x7ff };
    state.gdt = Table { base: 0x3000, limit: 15 };
    write_u32s(&mut engine, 0x3008, &[0xffff, 0x00cf_9b00]);
    engine.set_processor(&state, position).unwrap();
    assert_eq!(fault(&mut engine), Fault { kind: FaultKind::TripleFault, location: Location::At(0x1000) });
    assert_eq!(cr2(&mut engine), 0x4ffc);
}

#[test]
fn a_call_gate_checks_the_inner_stack_before_it_reads_the_outer_one() {
    // call 0x1b:0, at level 3, whose stack lies on page 4, which is not there
    let mut engine = paged(0x1000, &[0x9a, 0, 0, 0, 0, 0x1b, 0], &[(4, 0)]);
    // Code and data of level 0, and a call gate of level 3 to that code, with a parameter.
    let gdt = [0, 0, 0xffff, 0x00cf_9b00, 0xffff, 0x00cf_9300, 0x0008_1800, 0xec01];
    write_u32s(&mut engine, 0x3000, &gdt);
    let (mut state, position) = engine.processor().unwrap();
    for segment in &mut state.segments {
        segment.selector |= 3;
        segment.rights |= 3 << 5;
    }
    state.registers.esp = 0x4800;
    state.gdt = Table { base: 0x3000, limit: 31 };
    state.tr = SegmentRegister { selector: 0x28, base: 0x2000, limit: 0x67, rights: 0x8b };
    for (stack, vector) in [(0, 10), (0x10, 14)] {
        write_u32s(&mut engine, 0x2004, &[0x5800, stack]);
        engine.set_processor(&state, position).unwrap();
        // #TS names the null selector; #PF is of a load at level 3.
        let error_code = Some(if vector == 10 { 0 } else { 4 });
        let kind = FaultKind::Exception { vector, error_code };
        assert_eq!(fault(&mut engine), Fault { kind, location: Location::At(0x1000) });
    }
    assert_eq!(cr2(&mut engine), 0x4800);
}

#[test]
fn entries_say_how_they_were_used() {
    // mov al, [0x2000]; mov [0x3000], al; hlt
    let mut engine = paged(0x1000, &[0xa0, 0, 0x20, 0, 0, 0xa2, 0, 0x30, 0, 0, 0xf4], &[]);
    halt(&mut engine);
    let flags = |engine: &SoftEngine, page: u32| read_u32(engine, TABLE + page * 4) & (ACCESSED | DIRTY);
    let used = [ACCESSED, ACCESSED, ACCESSED | DIRTY, 0];
    assert_eq!([1, 2, 3, 4].map(|page| flags(&engine, page)), used);
    assert_eq!(read_u32(&engine, DIRECTORY) & (ACCESSED | DIRTY), ACCESSED);
}

#[test]
fn an_instruction_on_two_pages_is_that_of_the_pages_that_are_there() {
    // 0x2ffe: mov eax, imm32. Its last bytes are on linear page 3, which is 0xa000, and later 0xb000.
    let mut engine = paged(0x2ffe, &[0xb8, 0x11], &[(3, 0xa000 | PRESENT)]);
    // or eax, ebx; and the first time: mov dword [TABLE + 3 * 4], 0xb001; jmp 0x2ffe; then hlt
    let rest = |last: &[u8]| [&[0x22, 0x33, 0x44, 0x09, 0xd8], last].concat();
    let back = [0xc7, 0x05, 0x0c, 0x90, 0, 0, 0x01, 0xb0, 0, 0, 0x89, 0xc3, 0xe9, 0xe8, 0xff, 0xff, 0xff];
    engine.write_ram(0xa000, &rest(&back));
    // Where the store changes the page, the next instruction is the other page's.
    engine.write_ram(0xb000, &[0x55, 0x66, 0x77]);
    engine.write_ram(0xb000 + 15, &[0x89, 0xc3, 0xe9, 0xe8, 0xff, 0xff, 0xff]);
    engine.write_ram(0xb003, &[0xf4]);
    let Registers { eax, ebx, eip, .. } = halt(&mut engine);
    assert_eq!((eax, ebx, eip), (0x7766_5511, 0x4433_2211, 0x3004));
}

#[test]
fn the_opcode_of_an_x87_exception_is_read_from_both_of_its_pages() {
    // fldz; fld1; push 0x37b; fldcw [esp]; and at 0x2fff, the second byte on linear page 3, which is 0xa000: fdiv st(1)
    let code = [0xd9, 0xee, 0xd9, 0xe8, 0x68, 0x7b, 3, 0, 0, 0xd9, 0x2c, 0x24, 0xd8];
    let mut engine = paged(0x2ff3, &code, &[(3, 0xa000 | PRESENT)]);
    engine.write_ram(0xa000, &[0xf1, 0xf4]);
    halt(&mut engine);
    let fpu = engine.processor().unwrap().0.fpu.expect("it was used");
    assert_eq!((fpu.opcode, fpu.instruction), (0x0f1, 0x2fff));
}

#[test]
fn code_that_changes_through_another_page() {
    // Linear page 5 is page 1: mov byte [0x5007], 0x48 changes the `inc eax` behind it.
    let code = [0xc6, 0x05, 7, 0x50, 0, 0, 0x48, 0x40, 0xf4];
    let mut engine = paged(0x1000, &code, &[(5, 0x1000 | PRESENT | WRITABLE)]);
    assert_eq!(halt(&mut engine).eax, u32::MAX);
}

#[test]
fn breakpoints_of_the_guests_own_are_at_linear_addresses() {
    // Linear pages 4 and 5 are page 6, and linear page 7 is page 1, where the code is: mov [0x5000], al; mov [0x4000], al; hlt
    let rights = PRESENT | WRITABLE;
    let entries = [(4, 0x6000 | rights), (5, 0x6000 | rights), (7, 0x1000 | PRESENT)];
    let code = [0xa2, 0, 0x50, 0, 0, 0xa2, 0, 0x40, 0, 0, 0xf4];
    // A breakpoint at 0x4000 for stores of a byte, and one at an instruction.
    for (address, dr7, at) in [(0x4000, 0x1_0001, 0x100a), (0x7005, 1, 0x7005)] {
        let mut engine = paged(0x1000, &code, &entries);
        let (mut state, position) = engine.processor().unwrap();
        state.registers.eip = at & !OFFSET;
        (state.debug[0], state.debug[7]) = (address, dr7);
        engine.set_processor(&state, position).unwrap();
        let kind = FaultKind::Exception { vector: 1, error_code: None };
        assert_eq!(fault(&mut engine), Fault { kind, location: Location::At(at) });
    }
}

#[test]
fn strings_on_pages_in_another_order() {
    // Pages 2 to 4 are 12, 11 and 10. mov esi, 0x2ffe; mov edi, 0x3ffd; mov ecx, 6; rep movsb; hlt
    let entry = |page: u32| page << 12 | PRESENT | WRITABLE;
    let code = [0xbe, 0xfe, 0x2f, 0, 0, 0xbf, 0xfd, 0x3f, 0, 0, 0xb9, 6, 0, 0, 0, 0xf3, 0xa4, 0xf4];
    let mut engine = paged(0x1000, &code, &[(2, entry(12)), (3, entry(11)), (4, entry(10))]);
    engine.write_ram(0xcffe, b"ab");
    engine.write_ram(0xb000, b"cdef");
    halt(&mut engine);
    let mut bytes = [[0; 3]; 2];
    engine.read_ram(0xbffd, &mut bytes[0]);
    engine.read_ram(0xa000, &mut bytes[1]);
    assert_eq!(bytes.concat(), b"abcdef");
}

#[test]
fn pages_of_4_mib() {
    // The directory's second entry is a page of 4 MiB at 0: mov eax, [0x00401000]; hlt
    let mut engine = paged(0x1000, &[0xa1, 0, 0x10, 0x40, 0, 0xf4], &[]);
    write_u32s(&mut engine, DIRECTORY + 4, &[0x80 | PRESENT]);
    assert_eq!(halt(&mut engine).eax, 0x4010_00a1);
    assert_eq!(read_u32(&engine, DIRECTORY + 4), 0x80 | PRESENT | ACCESSED);
}
