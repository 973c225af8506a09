//! The parts of an address: the exercise of the chapter "Pages".

#![no_std]
#![no_main]

use flatland_guest::test;

/// How a processor reads an address when paging is on (SDM volume 3, section 5.3).
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    /// The upper 10 bits: an index into the page directory.
    directory: u32,
    /// The next 10 bits: an index into a page table.
    table: u32,
    /// The lowest 12 bits: an offset in a page.
    offset: u32,
}

fn parts(address: u32) -> Parts {
    todo!("the parts of {address:#x}")
}

// The tests: leave them as they are.

#[test]
fn each_part_is_found() {
    assert_eq!(parts(1 << 22), Parts { directory: 1, table: 0, offset: 0 });
    assert_eq!(parts(1 << 12), Parts { directory: 0, table: 1, offset: 0 });
    assert_eq!(parts(1), Parts { directory: 0, table: 0, offset: 1 });
}

#[test]
fn the_last_byte_is_in_the_last_page() {
    assert_eq!(parts(u32::MAX), Parts { directory: 1023, table: 1023, offset: 4095 });
}
