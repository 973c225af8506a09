//! A gate of the table of handlers: the exercise of the chapter "A handler of your own".

#![no_std]
#![no_main]

use flatland_guest::test;

/// An interrupt gate of 32 bits for ring 0: where a handler is (SDM volume 3, section 7.11).
///
/// From the lowest bit on: 16 bits of the handler's address, 16 bits of the selector of its code segment, 8 zeros, the
/// byte 0x8e, and the other 16 bits of the address.
fn gate(handler: u32, selector: u16) -> u64 {
    let handler = u64::from(handler);
    handler & 0xffff | u64::from(selector) << 16 | 0x8e << 40 | (handler >> 16) << 48
}

// The tests: leave them as they are.

#[test]
fn the_address_is_in_two_parts() {
    assert_eq!(gate(0x1234_5678, 0), 0x1234_8e00_0000_5678);
}

#[test]
fn the_selector_is_between_them() {
    assert_eq!(gate(0, 8), 0x8e00_0008_0000);
}
