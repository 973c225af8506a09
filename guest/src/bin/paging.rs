//! Turns paging on, and sees one page at two addresses.

#![no_std]
#![no_main]

use core::arch::asm;
use core::ptr;

use flatland_guest::{entry, println};

entry!(main);

const PAGE_SIZE: u32 = 4096;
/// Bits of an entry (SDM volume 3, table 5-6).
const PRESENT: u32 = 1 << 0;
const WRITABLE: u32 = 1 << 1;
/// PG in CR0.
const PAGING: u32 = 1 << 31;

/// A page directory or a page table: both have 1024 entries and fill one page.
#[derive(Clone, Copy)]
#[repr(align(4096))]
struct Table([u32; 1024]);

/// A second address for a page. There is no RAM.
const SECOND: usize = 0x4000_0000;

fn main() {
    let mut directory = Table([0; 1024]);
    // One for each 4 MiB of the 16 MiB of RAM, and one for the second address.
    let mut tables = [Table([0; 1024]); 5];
    let mut shared = Table([0; 1024]);
    let entry = |address: u32| address | PRESENT | WRITABLE;
    // Each page of RAM keeps its address, because the program is there.
    for page in 0..4 * 1024 {
        tables[page / 1024].0[page % 1024] = entry(page as u32 * PAGE_SIZE);
    }
    for (index, table) in tables[..4].iter().enumerate() {
        directory.0[index] = entry(&raw const *table as u32);
    }
    // The upper ten bits of an address choose the table, and the next ten the page.
    tables[4].0[0] = entry(&raw mut shared as u32);
    directory.0[SECOND >> 22] = entry(&raw const tables[4] as u32);

    println!("paging is off");
    // SAFETY: all addresses that the program uses mean what they meant before.
    unsafe {
        asm!(
            "mov cr3, {directory}",
            "mov {flags}, cr0",
            "or {flags}, {paging}",
            "mov cr0, {flags}",
            directory = in(reg) &directory,
            flags = out(reg) _,
            paging = const PAGING,
        );
    }
    println!("paging is on");
    // SAFETY: a page is there, and it is the program's own.
    unsafe { ptr::with_exposed_provenance_mut::<u32>(SECOND).write_volatile(42) };
    // SAFETY: it is a variable. The compiler does not know of its other address, so it must be told to look.
    let read = unsafe { (&raw const shared.0[0]).read_volatile() };
    println!("written at {SECOND:#x}, read where the page is: {read}");
}
