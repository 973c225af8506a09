//! Sends back each line of its input, and ends the last one if nobody has.

#![no_std]
#![no_main]

use flatland_guest::{entry, io, println};

entry!(main);

fn main() {
    for line in io::stdin().lines() {
        println!("{line}");
    }
}
