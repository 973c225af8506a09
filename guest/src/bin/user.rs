//! Goes to ring 3 and comes back by a system call, and sees what ring 3 may not do.

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};

use flatland_guest::{entry, println, process};

entry!(main);

// A selector is a descriptor's number times eight, and the ring that asks.
const KERNEL_CODE: u16 = 1 << 3;
const KERNEL_DATA: u16 = 2 << 3;
const USER_CODE: u16 = 3 << 3 | 3;
const USER_DATA: u16 = 4 << 3 | 3;
const TASK: u16 = 5 << 3;

/// The size of a task-state segment, in bytes.
const TASK_SIZE: u32 = 104;

/// Numbers of exceptions and of what ring 3 calls.
const PROTECTION: usize = 13;
const SYSTEM_CALL: usize = 128;

/// What LGDT and LIDT load.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u32,
}

impl Pointer {
    fn to<T>(table: *const T) -> Self {
        Self { limit: size_of::<T>() as u16 - 1, base: table as u32 }
    }
}

fn main() {
    let (mut kernel_stack, mut user_stack) = ([0_u32; 1024], [0_u32; 1024]);
    let end_of = |stack: &mut [u32; 1024]| stack.as_mut_ptr_range().end as u32;

    // A task-state segment says where the stack is to which ring 3 is left (SDM volume 3, section 9.2.1).
    let mut task_state = [0_u32; TASK_SIZE as usize / 4];
    task_state[1] = end_of(&mut kernel_stack);
    task_state[2] = KERNEL_DATA.into();
    // The bits that allow ports begin behind it: there are none.
    task_state[25] = TASK_SIZE << 16;
    let task = &raw const task_state as u64;

    // None, code and data of ring 0, code and data of ring 3, and the task (SDM volume 3, section 3.4.5).
    let descriptors = [
        0,
        0x00cf_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        u64::from(TASK_SIZE - 1) | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24) << 56,
    ];

    let mut gates = [0; 129];
    gates[PROTECTION] = gate(refused, 0);
    gates[SYSTEM_CALL] = gate(called, 3);

    println!("in ring {}", ring());
    // SAFETY: the segments in use mean what they meant before. The tables stay: the program never leaves this function.
    unsafe { asm!("lgdt [{}]", in(reg) &Pointer::to(&descriptors)) };
    // SAFETY: as above.
    unsafe { asm!("lidt [{}]", in(reg) &Pointer::to(&gates)) };
    // SAFETY: as above.
    unsafe { asm!("ltr {:x}", in(reg) TASK) };
    // SAFETY: the program goes on in `user`.
    unsafe {
        asm!(
            "mov ds, {data:x}",
            "mov es, {data:x}",
            // As if ring 3 had been interrupted where it begins.
            "push {data}",
            "push {stack}",
            "push 2", // the flag that is always set
            "push {code}",
            "push {begin}",
            "iretd",
            data = in(reg) u32::from(USER_DATA),
            stack = in(reg) end_of(&mut user_stack),
            code = const USER_CODE,
            begin = in(reg) user as extern "C" fn() -> !,
            options(noreturn),
        )
    }
}

/// A gate to a handler in ring 0, for this ring and those below.
fn gate(handler: extern "C" fn() -> !, ring: u64) -> u64 {
    let offset = handler as usize as u64;
    offset & 0xffff | u64::from(KERNEL_CODE) << 16 | (0x8e | ring << 5) << 40 | (offset >> 16) << 48
}

/// The lowest two bits of CS are the ring.
fn ring() -> u16 {
    let cs: u16;
    // SAFETY: it is only read.
    unsafe { asm!("mov {cs:x}, cs", cs = out(reg) cs) };
    cs & 3
}

/// All that runs in ring 3: it calls ring 0 with its ring, and then sends a byte itself.
extern "C" fn user() -> ! {
    // SAFETY: the call changes no register that matters here, and the fault ends the program.
    unsafe {
        asm!(
            "int 0x80",
            "out 0xe9, al",
            in("eax") u32::from(ring()),
            options(noreturn),
        )
    }
}

/// Says which ring calls, and goes back to it.
#[unsafe(naked)]
extern "C" fn called() -> ! {
    naked_asm!(
        "pushad",
        "push eax",
        "call {said}",
        "add esp, 4",
        "popad",
        "iretd",
        said = sym said,
    )
}

extern "C" fn said(ring: u32) {
    println!("a call from ring {ring}");
}

/// Exception 13, #GP: something that the ring may not do. Above the error code and EIP is the segment of its code.
#[unsafe(naked)]
extern "C" fn refused() -> ! {
    naked_asm!(
        "push dword ptr [esp + 8]",
        "call {told}",
        told = sym told,
    )
}

extern "C" fn told(segment: u32) -> ! {
    println!("ring {} may not do that", segment & 3);
    process::exit(0)
}
