//! Two tasks that never give the processor away, and a timer whose interrupt takes it from them.

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use core::hint;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use flatland_guest::{entry, interrupts, println};

entry!(main);

/// The timer's period in ticks: instructions, or nanoseconds on KVM.
const PERIOD: u32 = 20_000;
const ROUNDS: u32 = 3;

/// Which task runs, and where the registers of each lie while it does not.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static SAVED: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];
/// How many turns are done. Each task waits for its own.
static TURN: AtomicU32 = AtomicU32::new(0);

/// What LIDT loads.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: *const u64,
}

fn main() {
    const TIMER: usize = interrupts::TIMER_VECTOR as usize;
    let mut gates = [0_u64; TIMER + 1];
    gates[TIMER] = gate(ticked);
    let pointer = Pointer { limit: size_of_val(&gates) as u16 - 1, base: gates.as_ptr() };
    // SAFETY: the table lives until the timer is stopped, and its one handler returns.
    unsafe { asm!("lidt [{}]", in(reg) &pointer) };

    // The second task's stack is as if the task had been interrupted where it begins: eight registers, EIP, CS and EFLAGS, and
    // above them the address that a function finds there, to which this one does not return.
    let mut stack = [0_u32; 4096];
    let top = stack.len() - 1;
    stack[top - 3] = pong as extern "C" fn() -> ! as usize as u32;
    stack[top - 2] = 1 << 3; // the machine's code segment
    stack[top - 1] = 0x202; // with interrupts enabled
    SAVED[1].store(&raw const stack[top - 11] as u32, Relaxed);

    interrupts::set_timer(PERIOD);
    interrupts::enable();
    take_turns("ping", 0);
    while TURN.load(Relaxed) < 2 * ROUNDS {
        hint::spin_loop();
    }
    interrupts::disable();
    println!("both are done");
}

extern "C" fn pong() -> ! {
    take_turns("pong", 1);
    loop {
        hint::spin_loop();
    }
}

/// Prints when it is its turn. Until then it computes, and nothing but the timer lets the other task run.
fn take_turns(name: &str, own: u32) {
    for round in 1..=ROUNDS {
        while TURN.load(Relaxed) % 2 != own {
            hint::spin_loop();
        }
        interrupts::without_interrupts(|| println!("{name} {round}"));
        TURN.fetch_add(1, Relaxed);
    }
}

/// A gate of 32 bits that turns interrupts off.
fn gate(handler: extern "C" fn()) -> u64 {
    let offset = handler as usize as u64;
    offset & 0xffff | 1 << 19 | 0x8e << 40 | (offset >> 16) << 48
}

/// The timer's interrupt: the registers go to the stack of one task, and come from that of the other.
#[unsafe(naked)]
extern "C" fn ticked() {
    naked_asm!(
        "pushad",
        "push esp", // where they lie
        "call {switch}",
        "mov esp, eax", // where those of the other task lie
        "popad",
        "iretd",
        switch = sym switch,
    )
}

extern "C" fn switch(registers: u32) -> u32 {
    let running = RUNNING.load(Relaxed);
    SAVED[running].store(registers, Relaxed);
    RUNNING.store(1 - running, Relaxed);
    SAVED[1 - running].load(Relaxed)
}
