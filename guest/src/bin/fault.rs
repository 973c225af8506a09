//! Ends in the fault that its argument names, to show its report.
//!
//! `cargo xtask run fault` lists them.

#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;

use flatland_guest::process::ExitCode;
use flatland_guest::{entry, env, eprintln};

entry!(main);

/// The name of a fault, what it does, and the function that does it.
type Way = (&'static str, &'static str, fn());

const WAYS: &[Way] = &[
    ("divide", "divides by zero", divide),
    ("ud2", "executes an instruction that is undefined on purpose", ud2),
    ("null", "writes through a null pointer", null),
    ("rodata", "writes to a constant", rodata),
    ("read", "reads behind the end of RAM", read),
    ("write", "writes behind the end of RAM", write),
    ("jump", "jumps behind the end of RAM", jump),
    ("port", "sends a byte to a port that does not exist", port),
    ("stack", "recurses without end", stack),
    ("gp", "loads a selector of no segment", gp),
    ("triple", "causes an exception without an IDT", triple),
    ("sse", "executes an SSE instruction; SSE is off", sse),
];

/// An address behind the end of RAM. A machine has at most 3840 MiB.
const OUTSIDE: usize = 0xf800_0000;

fn main() -> ExitCode {
    let name = env::args().nth(1);
    match WAYS.iter().find(|(way, ..)| Some(*way) == name.as_deref()) {
        Some((_, _, fault)) => fault(),
        None => {
            eprintln!("Choose a fault, as in `cargo xtask run fault -- divide`:");
            WAYS.iter().for_each(|(name, what, _)| eprintln!("  {name:6}  {what}"));
        }
    }
    ExitCode::from(2)
}

// Safe Rust does none of this, so most of them are assembly.

fn divide() {
    // SAFETY: the exception ends the run.
    unsafe { asm!("div {zero:e}", zero = in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _) };
}

fn ud2() {
    // SAFETY: the exception ends the run.
    unsafe { asm!("ud2") };
}

fn null() {
    // SAFETY: the fault ends the run. Without memory protection, this changes the first byte of the program, which is not
    // executed again.
    unsafe { asm!("mov byte ptr [{null}], 0x31", null = in(reg) 0) };
}

fn rodata() {
    static CONSTANT: u32 = 42;
    // SAFETY: the fault ends the run. Without memory protection, this changes a number that is not used.
    unsafe { asm!("mov byte ptr [{constant}], 43", constant = in(reg) black_box(&CONSTANT)) };
}

fn read() {
    // SAFETY: the fault ends the run.
    unsafe { asm!("mov {outside:l}, [{outside}]", outside = inout(reg_abcd) OUTSIDE => _) };
}

fn write() {
    // SAFETY: the fault ends the run.
    unsafe { asm!("mov byte ptr [{outside}], 42", outside = in(reg) OUTSIDE) };
}

fn jump() {
    // SAFETY: the fault ends the run.
    unsafe { asm!("jmp {outside}", outside = in(reg) OUTSIDE) };
}

fn port() {
    // SAFETY: the fault ends the run.
    unsafe { asm!("out 0x80, al") };
}

fn stack() {
    #[expect(unconditional_recursion, reason = "this is the fault")]
    fn deeper() -> u32 {
        black_box(deeper() + 1)
    }
    deeper();
}

fn gp() {
    // SAFETY: the exception ends the run.
    unsafe { asm!("mov es, {selector:x}", selector = in(reg) 0x1230) };
}

fn triple() {
    let no_table = [0_u8; 6];
    // SAFETY: the exception has no handler, so it ends the run.
    unsafe { asm!("lidt [{table}]", "ud2", table = in(reg) &no_table) };
}

fn sse() {
    // xorps xmm0, xmm0: the assembler refuses it for this target.
    // SAFETY: the exception ends the run.
    unsafe { asm!(".byte 0x0f, 0x57, 0xc0") };
}
