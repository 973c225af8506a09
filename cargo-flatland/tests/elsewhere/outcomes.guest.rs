//! Each way for a test to end.

#![no_std]
#![no_main]

use flatland_guest::{console, println, process, test};

#[test]
fn passes() {
    println!("not shown");
}

#[test]
fn panics() {
    println!("shown");
    assert_eq!(1 + 1, 3, "arithmetic");
}

#[test]
fn halts() {
    process::halt();
}

#[test]
fn exits_with_0() {
    process::exit(0);
}

#[test]
fn exits_with_7() {
    process::exit(7);
}

#[test]
fn returns_an_error() -> Result<(), &'static str> {
    Err("no luck")
}

#[test]
fn reads_input() {
    console::read_byte();
}

#[test]
fn divides_by_zero() {
    unsafe { core::arch::asm!("div {0:e}", in(reg) 0, inout("eax") 0 => _, inout("edx") 0 => _) };
}

#[test]
fn writes_to_null() {
    unsafe { core::arch::asm!("mov dword ptr [{}], 7", in(reg) 12) };
}

#[test]
fn overflows_the_stack() {
    #[expect(unconditional_recursion)]
    fn deeper() {
        deeper();
        // Code after the call keeps it from becoming a jump.
        unsafe { core::arch::asm!("nop") };
    }
    deeper();
}

#[test]
#[timeout(1)]
fn takes_too_long() {
    loop {}
}

#[test]
#[should_panic]
fn does_not_panic() {}

#[test]
#[should_panic]
fn ends_like_a_panic() {
    process::exit(101);
}

#[test]
#[should_panic(expected = "this")]
fn panics_otherwise() {
    panic!("that");
}

#[test]
#[should_panic(expected = "this")]
fn panics_as_it_should() {
    panic!("this and that");
}

#[test]
#[ignore = "for another time"]
fn is_ignored() {
    panic!("not ignored");
}
