//! Handles an exception itself: a table of handlers, and one that goes on behind the instruction that faulted.

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};

use flatland_guest::{entry, println};

entry!(main);

/// An interrupt gate: where the handler of an exception is (SDM volume 3, section 7.11).
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    offset_low: u16,
    selector: u16,
    zero: u8,
    kind: u8,
    offset_high: u16,
}

impl Gate {
    const MISSING: Self = Self { offset_low: 0, selector: 0, zero: 0, kind: 0, offset_high: 0 };

    fn to(handler: extern "C" fn()) -> Self {
        let offset = handler as usize as u32;
        Self {
            offset_low: offset as u16,
            // The machine's own code segment, in which the program runs.
            selector: 1 << 3,
            zero: 0,
            // Present, and a gate of 32 bits that turns interrupts off.
            kind: 0x8e,
            offset_high: (offset >> 16) as u16,
        }
    }
}

/// What LIDT loads: the offset of the table's last byte, and its address.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: *const [Gate; 7],
}

/// What the processor pushes before it goes to a handler.
#[repr(C)]
struct Frame {
    eip: u32,
    cs: u32,
    eflags: u32,
}

fn main() {
    let mut table = [Gate::MISSING; 7];
    // Exception 6, #UD, is an instruction that does not exist.
    table[6] = Gate::to(undefined);
    let pointer = Pointer { limit: size_of_val(&table) as u16 - 1, base: &table };
    // SAFETY: the table lives until the program ends, and its one handler returns.
    unsafe { asm!("lidt [{}]", in(reg) &pointer) };
    println!("before");
    // SAFETY: `ud2` exists to be undefined. The handler goes on behind it with all registers as they were.
    unsafe { asm!("ud2") };
    println!("behind it");
}

/// Saves the general registers, calls [`skip`] with the frame, and returns to where the frame says.
#[unsafe(naked)]
extern "C" fn undefined() {
    naked_asm!(
        "pushad",
        "lea eax, [esp + 32]", // the frame lies above the eight registers
        "push eax",
        "call {skip}",
        "add esp, 4",
        "popad",
        "iretd",
        skip = sym skip,
    )
}

extern "C" fn skip(frame: &mut Frame) {
    println!("#UD in segment {:#x}: skipped", frame.cs);
    frame.eip += 2; // the length of `ud2`
}
