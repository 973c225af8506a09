//! A parser that a fuzzer finds a bug in: the exercise of the chapter "A fuzz target".

#![no_std]
#![no_main]

use flatland_guest::test;

/// Reads a decimal number. `None` if it is none, or too large.
fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = text.iter().map(|digit| u32::from(digit - b'0'));
    Some(digits.fold(0, |number, digit| number * 10 + digit))
}

// The tests: leave them as they are.

#[test]
fn numbers_are_read() {
    assert_eq!(number(b"2011"), Some(2011));
    assert_eq!(number(b"4294967295"), Some(u32::MAX));
    assert_eq!(number(b"HAL"), None);
    assert_eq!(number(b""), None);
}

#[test]
fn numbers_that_are_too_large_are_none() {
    assert_eq!(number(b"4294967296"), None);
    assert_eq!(number(b"99999999999999999999"), None);
}
