//! The processor's state at entry: 32-bit protected mode, paging off, flat segments.

use flatland_x86::entry::{self, CODE_SELECTOR, DATA_SELECTOR, GDT, IDT};
use kvm_bindings::{kvm_segment, kvm_sregs};

/// Segment types (SDM volume 3, section 3.4.5.1), with the accessed bit set so that loading one never
/// writes to the GDT.
const CODE_EXECUTE_READ_ACCESSED: u8 = 0b1011;
const DATA_READ_WRITE_ACCESSED: u8 = 0b0011;

/// Sets segments, descriptor tables and mode; leaves the rest (TR, LDTR, the local APIC's base) as reset.
pub fn set_segments(sregs: &mut kvm_sregs) {
    sregs.cs = flat_segment(CODE_SELECTOR, CODE_EXECUTE_READ_ACCESSED);
    let data = flat_segment(DATA_SELECTOR, DATA_READ_WRITE_ACCESSED);
    for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
        *segment = data;
    }
    (sregs.gdt.base, sregs.gdt.limit) = (GDT.base.into(), GDT.limit);
    (sregs.idt.base, sregs.idt.limit) = (IDT.base.into(), IDT.limit);
    sregs.cr0 = entry::CR0.into();
}

/// A segment of 4 GiB from 0, as the processor caches it (SDM volume 3, section 3.4.5).
fn flat_segment(selector: u16, type_: u8) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: 1, // 32-bit operands and addresses
        s: 1,  // code or data
        l: 0,  // not 64-bit code
        g: 1,  // the limit counts pages
        ..Default::default()
    }
}
