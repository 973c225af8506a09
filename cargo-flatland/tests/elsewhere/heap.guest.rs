//! Allocates all RAM, one MiB at a time, frees it, and does it again. Prints the number of MiB each time.

#![no_std]
#![no_main]

use flatland_guest::entry;
use flatland_guest::prelude::*;

entry!(main);

fn main() {
    for _ in 0..2 {
        let mut blocks = Vec::with_capacity(4096);
        loop {
            let mut block: Vec<u8> = Vec::new();
            if block.try_reserve_exact(1 << 20).is_err() {
                break;
            }
            block.push(7);
            blocks.push(block);
        }
        println!("{}", blocks.len());
    }
}
