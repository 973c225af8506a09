//! Ends in a fault, the one that its argument names, to show what each looks like.
//!
//! `cargo xtask run fault` lists them.

#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;

use flatland_guest::process::ExitCode;
use flatland_guest::{entry, env, eprintln};

entry!(main);

/// A name, what it does, and the function that does it.
type Way = (&'static str, &'static str, fn());

const WAYS: &[Way] = &[
    ("divide", "divides by zero", divide),
    ("ud2", "executes an instruction that is kept undefined", ud2),
    ("null", "writes through a null pointer, to where code lies", null),
    ("rodata", "writes to a constant", rodata),
    ("read", "reads behind the end of RAM", read),
    ("write", "writes behind the end of RAM", write),
    ("jump", "jumps behind the end of RAM", jump),
    ("port", "sends a byte to a port that is not there", port),
    ("stack", "calls itself without end", stack),
    ("gp", "loads a segment selector that names no segment", gp),
    ("triple", "takes an exception with no table of handlers", triple),
    ("sse", "computes with SSE, which is off", sse),
];

/// Behind the end of RAM, of which a machine has at most 3840 MiB.
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

// Rust checks what it can before it does any of this, so most of them are machine code.

fn divide() {
    // SAFETY: the exception ends the run.
    unsafe { asm!("div {zero:e}", zero = in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _) };
}

fn ud2() {
    // SAFETY: the exception ends the run.
    unsafe { asm!("ud2") };
}

fn null() {
    // SAFETY: it ends the run; or, where memory is not protected, changes the first byte of the program, which has
    // been executed by then.
    unsafe { asm!("mov byte ptr [{null}], 0x31", null = in(reg) 0) };
}

fn rodata() {
    static CONSTANT: u32 = 42;
    // SAFETY: it ends the run; or, where memory is not protected, changes a number that nobody uses.
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
    #[expect(unconditional_recursion, reason = "that is what it shows")]
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
    // SAFETY: the exception that finds no handler, nor one for that, ends the run.
    unsafe { asm!("lidt [{table}]", "ud2", table = in(reg) &no_table) };
}

fn sse() {
    // xorps xmm0, xmm0, which the assembler does not take for this target.
    // SAFETY: the exception ends the run.
    unsafe { asm!(".byte 0x0f, 0x57, 0xc0") };
}
