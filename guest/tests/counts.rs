//! Code that is executed as often as the host's test of coverage knows.

#![no_std]
#![no_main]

use core::hint::black_box;

use flatland_guest::test;

#[test]
fn a_branch_is_taken_once_in_a_million() {
    let (mut number, mut rare) = (0_u32, 0_u32);
    while number < 1_000_000 {
        if black_box(number) == 777_777 {
            rare += 1;
        }
        number += 1;
    }
    assert_eq!(rare, 1);
}

#[test]
fn an_assertion_has_several_lines() {
    for number in 0..3 {
        assert!(
            black_box(number) < 4,
            "{} is not less than {}, and the loop gives nothing but numbers that are",
            black_box(number),
            black_box(4),
        );
    }
}

#[test]
#[should_panic]
fn a_panic_has_several_lines() {
    for number in 0..3 {
        if black_box(number) == 2 {
            panic!(
                "{}",
                black_box(number), // It is 2.
            );
        }
    }
}
