//! The heap: what std's tests of a collection would find broken.

#![no_std]
#![no_main]

use core::hint::black_box;

use flatland_guest::prelude::*;
use flatland_guest::test;

#[test]
fn boxes_come_and_go() {
    let boxes: Vec<Box<u64>> = (0..1000).map(Box::new).collect();
    assert_eq!(boxes.iter().map(|number| **number).sum::<u64>(), 499_500);
}

#[test]
fn most_of_ram_can_be_had_at_once() {
    let mut bytes = Vec::with_capacity(13 << 20);
    bytes.push(7_u8);
    assert_eq!(bytes.spare_capacity_mut().len(), (13 << 20) - 1);
}

#[test]
fn what_is_freed_can_be_had_again() {
    for round in 0..50_u8 {
        let mut bytes = Vec::with_capacity(8 << 20);
        bytes.push(round);
        assert_eq!(black_box(bytes), [round]);
    }
}

#[test]
fn what_is_zeroed_is_zero_when_it_is_had_again() {
    drop(black_box(vec![0xff_u8; 4096]));
    assert_eq!(black_box(vec![0_u8; 4096]), [0; 4096]);
}

#[test]
fn more_than_there_is_can_be_asked_for() {
    let mut bytes = Vec::<u8>::new();
    assert!(bytes.try_reserve_exact(16 << 20).is_err());
    assert!(bytes.try_reserve_exact(1 << 20).is_ok());
}

#[test]
#[should_panic(expected = "memory allocation of 16777216 bytes failed")]
fn what_is_not_there_ends_the_run() {
    drop(black_box(Vec::<u8>::with_capacity(16 << 20)));
}
