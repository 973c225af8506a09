//! A read-only page far above RAM that catches the processor's exceptions without any code in the guest.
//!
//! It holds a GDT with the flat segments, an IDT, and one `hlt` for each vector, the target of its gate in the IDT.
//! At a HLT exit with EIP inside the page, EIP gives the vector, and the frame that the processor pushed on the
//! guest's stack gives the location. A guest that loads an IDT of its own handles its exceptions itself.

use flatland_contract::memory::PAGE_SIZE;
use flatland_x86::entry::{CODE_SELECTOR, DESCRIPTORS, GDT, IDT, TABLES, VECTORS};
use flatland_x86::{Location, Registers, Speed, eflags};

/// The page's address.
pub const EXCEPTION_PAGE: u32 = TABLES;
/// The page's size.
pub const SIZE: usize = PAGE_SIZE as usize;

const _: () = assert!(EXCEPTION_PAGE.is_multiple_of(PAGE_SIZE));

/// The address of vector 0's `hlt`, and the distance to the next one.
const STUBS: u32 = EXCEPTION_PAGE + 0x200;
const STUB_SPACING: u32 = 4;

/// [`Speed::LOOP`], for [`measure`](super::measure).
pub const LOOP: u32 = EXCEPTION_PAGE + 0x300;

const HLT: u8 = 0xf4;
const INT1: u32 = 0xf1;
/// The vector of #DB.
pub const DEBUG_EXCEPTION: u8 = 1;

/// The page's bytes.
pub fn contents() -> [u8; SIZE] {
    let mut page = [0; SIZE];
    let mut put = |address: u32, bytes: &[u8]| {
        let offset = (address - EXCEPTION_PAGE) as usize;
        page[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    for (index, descriptor) in (0..).zip(DESCRIPTORS) {
        put(GDT.base + index * 8, &descriptor.to_le_bytes());
    }
    for vector in 0..VECTORS {
        let stub = STUBS + u32::from(vector) * STUB_SPACING;
        put(IDT.base + u32::from(vector) * 8, &interrupt_gate(stub).to_le_bytes());
        put(stub, &[HLT]);
    }
    put(LOOP, &Speed::LOOP);
    page
}

/// A present 32-bit interrupt gate of privilege level 0 (SDM volume 3, section 7.11).
fn interrupt_gate(handler: u32) -> u64 {
    const PRESENT_32_BIT_INTERRUPT: u64 = 0x8e00 << 32;
    let handler = u64::from(handler);
    (handler & 0xffff_0000) << 32
        | PRESENT_32_BIT_INTERRUPT
        | u64::from(CODE_SELECTOR) << 16
        | handler & 0xffff
}

/// The vector whose `hlt` has just been executed, if EIP is in the page.
pub fn vector_at(eip: u32) -> Option<u8> {
    let offset = eip.checked_sub(STUBS)?;
    (offset < u32::from(VECTORS) * STUB_SPACING).then_some((offset / STUB_SPACING) as u8)
}

/// What the processor pushed when it took an exception.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The error code, for the vectors that have one.
    pub error_code: Option<u32>,
    /// The instruction that caused it.
    pub location: Location,
    /// The registers as they were at the instruction.
    pub registers: Registers,
}

/// Undoes the push of an exception: EIP, CS and EFLAGS, and below them an error code for some vectors (SDM volume 3,
/// section 7.12.1). `at_handler` holds the registers in the handler. `dr6` gives the cause of a debug exception.
/// `read` reads RAM.
pub fn frame(vector: u8, at_handler: Registers, dr6: u64, read: impl Fn(u32) -> Option<u32>) -> Frame {
    let esp = at_handler.esp;
    let word = |offset: u32| read(esp.wrapping_add(offset));
    // `int n` pushes no error code for any n (SDM volume 3, section 7.4.3), and the pushed EIP is past it.
    let int_n = u32::from_le_bytes([0xcd, vector, 0, 0]);
    let by_software =
        word(0).and_then(|eip| read(eip.wrapping_sub(2))).is_some_and(|code| code & 0xffff == int_n);
    let has_error_code = pushes_error_code(vector) && !by_software;
    // DR6.B0 to B3, BD and BS: other causes of a debug exception (SDM volume 3, section 19.2.3).
    const NOT_BY_INSTRUCTION: u64 = 0x600f;
    let by_int1 = vector == DEBUG_EXCEPTION
        && dr6 & NOT_BY_INSTRUCTION == 0
        && word(0).and_then(|eip| read(eip.wrapping_sub(1))).is_some_and(|code| code & 0xff == INT1);
    let by_software = by_software || by_int1;
    let error_size = if has_error_code { 4 } else { 0 };
    let (Some(eip), Some(pushed)) = (word(error_size), word(error_size + 8)) else {
        // The frame is not in RAM, so there is nothing to undo.
        return Frame { error_code: None, location: Location::Unknown, registers: at_handler };
    };
    Frame {
        error_code: has_error_code.then(|| word(0)).flatten(),
        location: if is_trap(vector) || by_software { Location::EndsAt(eip) } else { Location::At(eip) },
        // The push of a fault sets RF (SDM volume 3, section 19.3.1.1).
        registers: Registers {
            eip,
            eflags: pushed & !eflags::RF,
            esp: esp.wrapping_add(error_size + 12),
            ..at_handler
        },
    }
}

/// SDM volume 3, table 7-1, column "Error Code".
fn pushes_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21)
}

/// Traps are reported after the instruction that caused them (SDM volume 3, table 7-1, column "Type").
fn is_trap(vector: u8) -> bool {
    matches!(vector, 3 | 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gate_leads_to_the_hlt_of_its_vector() {
        let page = contents();
        for vector in 0..VECTORS {
            let gate_offset = (IDT.base - EXCEPTION_PAGE) as usize + usize::from(vector) * 8;
            let gate = u64::from_le_bytes(page[gate_offset..gate_offset + 8].try_into().unwrap());
            let handler = (gate & 0xffff | gate >> 32 & 0xffff_0000) as u32;
            assert_eq!(page[(handler - EXCEPTION_PAGE) as usize], HLT);
            // EIP after the `hlt`, as KVM reports it.
            assert_eq!(vector_at(handler + 1), Some(vector));
        }
    }

    #[test]
    fn a_hlt_elsewhere_is_no_exception() {
        for eip in [0, 1, EXCEPTION_PAGE, STUBS - 1, STUBS + u32::from(VECTORS) * STUB_SPACING, u32::MAX] {
            assert_eq!(vector_at(eip), None, "{eip:#x}");
        }
    }

    #[test]
    fn frames_are_undone() {
        let stack = |words: &'static [u32]| {
            move |address: u32| {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let at = (address as usize).checked_sub(0x100)?;
                Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
            }
        };
        let at_handler = Registers { esp: 0x100, eip: STUBS, eax: 7, ..Default::default() };
        let before = |esp| Registers { esp, eip: 0x10, eflags: 0x202, eax: 7, ..Default::default() };
        assert_eq!(
            frame(0, at_handler, 0, stack(&[0x10, 8, 0x202])),
            Frame { error_code: None, location: Location::At(0x10), registers: before(0x10c) }
        );
        assert_eq!(
            frame(13, at_handler, 0, stack(&[0x30, 0x10, 8, 0x202])),
            Frame { error_code: Some(0x30), location: Location::At(0x10), registers: before(0x110) }
        );
        assert_eq!(
            frame(3, at_handler, 0, stack(&[0x10, 8, 0x202])),
            Frame { error_code: None, location: Location::EndsAt(0x10), registers: before(0x10c) }
        );
        // int 13, at 0x10e
        assert_eq!(
            frame(13, at_handler, 0, stack(&[0x110, 8, 0x202, 0x0dcd_9090, 0])),
            Frame {
                error_code: None,
                location: Location::EndsAt(0x110),
                registers: Registers { eip: 0x110, ..before(0x10c) }
            }
        );
        // int1, at 0x10f, and a single step after it
        let behind_int1 = stack(&[0x110, 8, 0x202, 0xf190_9090, 0]);
        for (dr6, location) in [(0xffff_0ff0, Location::EndsAt(0x110)), (0xffff_4ff0, Location::At(0x110))] {
            let registers = Registers { eip: 0x110, ..before(0x10c) };
            assert_eq!(
                frame(1, at_handler, dr6, behind_int1),
                Frame { error_code: None, location, registers }
            );
        }
        assert_eq!(
            frame(13, at_handler, 0, stack(&[0x30, 0x10])),
            Frame { error_code: None, location: Location::Unknown, registers: at_handler }
        );
    }
}
