//! A segment descriptor: the exercise of the chapter "Ring 3".

#![no_std]
#![no_main]

use flatland_guest::test;

/// A descriptor of a segment that begins at 0 and has all 4 GiB, for this ring (SDM volume 3, section 3.4.5).
///
/// Code of ring 0 is 0x00cf_9b00_0000_ffff, and data of ring 0 is 0x00cf_9300_0000_ffff. Bit 43 says that a segment is
/// code, and bits 45 and 46 are the ring.
fn descriptor(is_code: bool, ring: u64) -> u64 {
    0x00cf_9300_0000_ffff | u64::from(is_code) << 43 | ring << 45
}

// The tests: leave them as they are.

#[test]
fn of_ring_0() {
    assert_eq!(descriptor(true, 0), 0x00cf_9b00_0000_ffff);
    assert_eq!(descriptor(false, 0), 0x00cf_9300_0000_ffff);
}

#[test]
fn of_ring_3() {
    assert_eq!(descriptor(true, 3), 0x00cf_fb00_0000_ffff);
    assert_eq!(descriptor(false, 3), 0x00cf_f300_0000_ffff);
}
