//! What images with page tables, privilege levels and a task state segment begin with, and their tables.

// Each test program uses only a part of this.
#![allow(dead_code)]

/// Where the tables lie. Code lies below.
pub const POINTERS: usize = 0xd00;
pub const GDT: u32 = 0xd10;
pub const LDT: u32 = 0xd60;
pub const TSS: u32 = 0xd80;
pub const IDT: u32 = 0xe80;
pub const DIRECTORY: usize = 0x1000;
pub const TABLE: usize = 0x2000;

/// The number of gates.
pub const VECTORS: usize = 0x22;

/// How many bytes [`begin`] makes.
pub const BEGIN_LEN: usize = BEGIN.len();

/// In GNU's assembler language of Intel's syntax.
#[rustfmt::skip]
const BEGIN: &[u8] = &[
    // start:
    0x0f, 0x01, 0x15, 0x00, 0x0d, 0x00, 0x00,  // lgdtd 0xd00
    0x0f, 0x01, 0x1d, 0x08, 0x0d, 0x00, 0x00,  // lidtd 0xd08
    0xb8, 0x00, 0x10, 0x00, 0x00,              // mov eax,0x1000
    0x0f, 0x22, 0xd8,                          // mov cr3,eax
    0xb8, 0x10, 0x06, 0x00, 0x00,              // mov eax,0x610
    0x0f, 0x22, 0xe0,                          // mov cr4,eax
    0xb8, 0x00, 0x00, 0x00, 0x00,              // mov eax,CR0
    0x0f, 0x22, 0xc0,                          // mov cr0,eax
    0xea, 0x2d, 0x00, 0x00, 0x00, 0x08, 0x00,  // jmp 0x8:0x2d
    // paged:
    0xb8, 0x28, 0x00, 0x00, 0x00,              // mov eax,0x28
    0x0f, 0x00, 0xd8,                          // ltr ax
    0xb8, 0x30, 0x00, 0x00, 0x00,              // mov eax,0x30
    0x0f, 0x00, 0xd0,                          // lldt ax
    0x31, 0xd2,                                // xor edx,edx
    0xb9, 0x74, 0x01, 0x00, 0x00,              // mov ecx,0x174
    0xb8, 0x08, 0x00, 0x00, 0x00,              // mov eax,0x8
    0x0f, 0x30,                                // wrmsr
    0x41,                                      // inc ecx
    0xb8, 0x00, 0x3f, 0x00, 0x00,              // mov eax,0x3f00
    0x0f, 0x30,                                // wrmsr
    0x41,                                      // inc ecx
    0xb8, 0x00, 0x00, 0x00, 0x00,              // mov eax,ENTERED
    0x0f, 0x30,                                // wrmsr
];

/// The code at 0: loads all tables, CR0, and the registers of `sysenter`, which goes to `entered`. What is behind it is executed
/// next.
pub fn begin(cr0: u32, entered: u32) -> Vec<u8> {
    const CR0_AT: usize = 0x1f;
    const ENTERED_AT: usize = 0x55;
    let mut code = BEGIN.to_vec();
    code[CR0_AT..][..4].copy_from_slice(&cr0.to_le_bytes());
    code[ENTERED_AT..][..4].copy_from_slice(&entered.to_le_bytes());
    code
}

/// Puts bytes into an image.
pub fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Puts all tables into an image but the gates and the entries of the page table. `last` is the last descriptor of the GDT, and
/// `local` that of the LDT.
pub fn put_tables(image: &mut [u8], last: u64, local: u64) {
    put(image, POINTERS, &[&0x3f_u16.to_le_bytes()[..], &GDT.to_le_bytes()].concat());
    put(image, POINTERS + 8, &[&(VECTORS as u16 * 8 - 1).to_le_bytes()[..], &IDT.to_le_bytes()].concat());
    // Code and data of levels 0 and 3, the task state segment, and the LDT.
    let descriptors = [
        0,
        0x00cf_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        system(0x89, TSS, 0x87),
        system(0x82, LDT, 7),
        last,
    ];
    for (at, descriptor) in (GDT as usize..).step_by(8).zip(descriptors) {
        put(image, at, &u64::to_le_bytes(descriptor));
    }
    put(image, LDT as usize, &local.to_le_bytes());
    // ESP and SS of level 0, and where the map of ports begins. All are allowed.
    for (offset, value) in [(4, 0x3f80), (8, 0x10), (0x64, 0x68 << 16)] {
        put(image, TSS as usize + offset, &u32::to_le_bytes(value));
    }
    put(image, DIRECTORY, &(TABLE as u32 | 7).to_le_bytes());
}

/// Puts the gate of a vector into an image.
pub fn put_gate(image: &mut [u8], vector: usize, access: u64, handler: u32) {
    put(image, IDT as usize + vector * 8, &gate(access, handler).to_le_bytes());
}

/// Puts the entry of a page into an image.
pub fn put_page(image: &mut [u8], page: usize, entry: u32) {
    put(image, TABLE + page * 4, &entry.to_le_bytes());
}

/// A gate into the code of level 0.
pub fn gate(access: u64, offset: u32) -> u64 {
    u64::from(offset) | 8 << 16 | access << 40
}

fn system(access: u64, base: u32, limit: u64) -> u64 {
    limit | u64::from(base) << 16 | access << 40
}
