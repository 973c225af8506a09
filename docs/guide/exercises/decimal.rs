//! A number as text, without `format!`: the exercise of the chapter "Ports".

#![no_std]
#![no_main]

use flatland_guest::test;

/// Writes the decimal digits of a number to the front of `digits`, and returns them.
fn decimal(number: u32, digits: &mut [u8; 10]) -> &[u8] {
    todo!("the digits of {number}, in {} bytes", digits.len())
}

// The tests: leave them as they are.

#[test]
fn one_digit() {
    assert_eq!(decimal(7, &mut [0; 10]), b"7");
    assert_eq!(decimal(0, &mut [0; 10]), b"0");
}

#[test]
fn several_digits() {
    assert_eq!(decimal(2011, &mut [0; 10]), b"2011");
}

#[test]
fn the_largest_number() {
    assert_eq!(decimal(u32::MAX, &mut [0; 10]), b"4294967295");
}
