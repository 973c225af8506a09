//! A mean that panics for two kinds of input: the exercise of the chapter "Panics".

#![no_std]
#![no_main]

use flatland_guest::test;

/// The mean of some numbers, rounded down. `None` if there are none.
fn mean(numbers: &[u32]) -> Option<u32> {
    let sum: u64 = numbers.iter().map(|&number| u64::from(number)).sum();
    let mean = sum.checked_div(numbers.len() as u64)?;
    u32::try_from(mean).ok()
}

// The tests: leave them as they are.

#[test]
fn of_three_numbers() {
    assert_eq!(mean(&[1, 2, 6]), Some(3));
}

#[test]
fn of_no_numbers() {
    assert_eq!(mean(&[]), None);
}

#[test]
fn of_large_numbers() {
    assert_eq!(mean(&[u32::MAX, u32::MAX]), Some(u32::MAX));
}
