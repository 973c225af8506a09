//! The heap: what std's tests of a collection would find broken.

#![no_std]
#![no_main]

use flatland_guest::alloc::{boxed::Box, string::String, vec, vec::Vec};
use flatland_guest::test;

#[test]
fn boxes_come_and_go() {
    let boxes: Vec<Box<u64>> = (0..1000).map(Box::new).collect();
    assert_eq!(boxes.iter().map(|number| **number).sum::<u64>(), 499_500);
}

#[test]
fn most_of_ram_can_be_had_at_once() {
    let bytes = vec![7_u8; 12 << 20];
    assert!(bytes.iter().all(|&byte| byte == 7));
}

#[test]
fn what_is_freed_can_be_had_again() {
    for round in 0..50_u8 {
        let bytes = vec![round; 8 << 20];
        assert_eq!(bytes[8 << 19], round);
    }
}

#[test]
#[should_panic(expected = "memory allocation of 4294966784 bytes failed")]
fn what_is_not_there_cannot_be_had() {
    // Twice, since the first may fail for other reasons than the second.
    let mut text = String::new();
    text.push_str("x");
    let size = core::hint::black_box(isize::MAX as usize);
    let _ = Vec::<u8>::with_capacity(size);
}
