//! An image that uses what random bytes do not find: page tables, privilege levels, gates, a task state segment, sysenter, x87, MMX
//! and SSE. It goes round eight times, and ends with a `hlt` at level 0.

use crate::system_image::{
    BEGIN_LEN, DIRECTORY, GDT, IDT, POINTERS, TABLE, TSS, VECTORS, begin, gate, put_gate, put_page,
    put_tables,
};

/// The image's length.
pub const SIZE: usize = 0x2040;

/// What can be changed so that it has an effect, as ranges.
pub const USED: [(usize, usize); 6] = [
    (0, BEGIN_LEN + CODE.len()),
    (POINTERS, POINTERS + 14),
    (GDT as usize, TSS as usize + 0x88),
    (IDT as usize, IDT as usize + VECTORS * 8),
    (DIRECTORY, DIRECTORY + 4),
    (TABLE, SIZE),
];

const INTERRUPT: u32 = 0x11d;
const WITH_ERROR_CODE: u32 = 0x123;
const FAULT: u32 = 0x126;
const LAST: u32 = 0x139;
const ENTERED: u32 = 0x107;
const CALLED: u32 = 0x115;

/// The code behind that of [`begin`], in GNU's assembler language of Intel's syntax.
#[rustfmt::skip]
const CODE: &[u8] = &[
    0xdb, 0xe3,                                // fninit
    0xd9, 0xe8,                                // fld1
    0xd9, 0xeb,                                // fldpi
    0xde, 0xc1,                                // faddp st(1),st
    0xdd, 0x1d, 0x00, 0x30, 0x00, 0x00,        // fstp 0x3000
    0x0f, 0xae, 0x05, 0x00, 0x32, 0x00, 0x00,  // fxsave 0x3200
    0x0f, 0x10, 0x05, 0x00, 0x30, 0x00, 0x00,  // movups xmm0,0x3000
    0x66, 0x0f, 0x51, 0xc8,                    // sqrtpd xmm1,xmm0
    0xf2, 0x0f, 0x2c, 0xc1,                    // cvttsd2si eax,xmm1
    0x0f, 0x6f, 0x05, 0x00, 0x30, 0x00, 0x00,  // movq mm0,0x3000
    0x0f, 0xfc, 0xc0,                          // paddb mm0,mm0
    0x0f, 0x77,                                // emms
    0xcd, 0x20,                                // int 0x20
    // outward:
    0xb8, 0x23, 0x00, 0x00, 0x00,              // mov eax,0x23
    0x8e, 0xd8,                                // mov ds,eax
    0x8e, 0xc0,                                // mov es,eax
    0x8e, 0xe0,                                // mov fs,eax
    0x6a, 0x23,                                // push 0x23
    0x68, 0x00, 0x3e, 0x00, 0x00,              // push 0x3e00
    0x68, 0x02, 0x02, 0x00, 0x00,              // push 0x202
    0x6a, 0x1b,                                // push 0x1b
    0x68, 0xac, 0x00, 0x00, 0x00,              // push 0xac
    0xcf,                                      // iret
    // user:
    0x43,                                      // inc ebx
    0x83, 0xfb, 0x08,                          // cmp ebx,0x8
    0x73, 0x53,                                // jae 105 <done>
    0xdd, 0x05, 0x00, 0x30, 0x00, 0x00,        // fld 0x3000
    0xd9, 0xfa,                                // fsqrt
    0xdb, 0x1d, 0x10, 0x30, 0x00, 0x00,        // fistp 0x3010
    0xbe, 0x00, 0x30, 0x00, 0x00,              // mov esi,0x3000
    0xbf, 0xf8, 0x3f, 0x00, 0x00,              // mov edi,0x3ff8
    0xb9, 0x08, 0x00, 0x00, 0x00,              // mov ecx,0x8
    0xf3, 0xa4,                                // rep movs es:[edi],ds:[esi]
    0xcd, 0x20,                                // int 0x20
    0x9a, 0x00, 0x00, 0x00, 0x00, 0x3b, 0x00,  // call 0x3b:0x0
    0xb9, 0x00, 0x3e, 0x00, 0x00,              // mov ecx,0x3e00
    0xba, 0xe6, 0x00, 0x00, 0x00,              // mov edx,0xe6
    0x0f, 0x34,                                // sysenter
    // back:
    0xa3, 0x00, 0x50, 0x00, 0x00,              // mov 0x5000,eax
    // resume:
    0xb8, 0x21, 0x00, 0x00, 0x00,              // mov eax,0x21
    0xe6, 0xe9,                                // out 0xe9,al
    0xf6, 0xf3,                                // div bl
    0x1e,                                      // push ds
    0x0f, 0xa9,                                // pop gs
    0xf6, 0xc3, 0x01,                          // test bl,0x1
    0x74, 0x07,                                // je 103 <wrong>
    0xb8, 0x2b, 0x00, 0x00, 0x00,              // mov eax,0x2b
    0x8e, 0xe0,                                // mov fs,eax
    // wrong:
    0x0f, 0x0b,                                // ud2
    // done:
    0xcd, 0x21,                                // int 0x21
    // entered:
    0x83, 0x0d, 0x14, 0x20, 0x00, 0x00, 0x07,  // or 0x2014,0x7
    0x0f, 0x20, 0xd0,                          // mov eax,cr2
    0x0f, 0x06,                                // clts
    0x0f, 0x35,                                // sysexit
    // called:
    0x66, 0x0f, 0x00, 0xc8,                    // str ax
    0x0f, 0x02, 0xc8,                          // lar ecx,eax
    0xcb,                                      // retf
    // interrupt:
    0x60,                                      // pusha
    0x0f, 0x20, 0xc0,                          // mov eax,cr0
    0x61,                                      // popa
    0xcf,                                      // iret
    // with_code:
    0x83, 0xc4, 0x04,                          // add esp,0x4
    // fault:
    0xc7, 0x04, 0x24, 0xac, 0x00, 0x00, 0x00,  // mov [esp],0xac
    0xb8, 0x00, 0x00, 0x00, 0x40,              // mov eax,0x40000000
    0xff, 0x05, 0x20, 0x30, 0x00, 0x00,        // inc 0x3020
    0xcf,                                      // iret
    // last:
    0xf4,                                      // hlt
];

/// The image.
pub fn image() -> Vec<u8> {
    let mut image = begin(0x8005_0023, ENTERED);
    image.extend(CODE);
    image.resize(SIZE, 0);
    // The GDT's last is a call gate for level 3.
    put_tables(&mut image, gate(0xec, CALLED), 0);
    for vector in 0..VECTORS {
        let (access, handler) = match vector {
            8 | 10..=14 | 17 => (0x8e, WITH_ERROR_CODE),
            0x20 => (0xee, INTERRUPT),
            0x21 => (0xee, LAST),
            _ => (0x8e, FAULT),
        };
        put_gate(&mut image, vector, access, handler);
    }
    // Page 5 is not present at first. The first four have the code, the tables, and data.
    for (page, flags) in (0..16).zip([7, 3, 3, 7, 7, 6, 7, 3, 5, 7, 7, 7, 7, 7, 7, 7]) {
        put_page(&mut image, page as usize, page << 12 | flags);
    }
    image
}
