//! Answers each byte with its successor, and ends at `*`. `HAL*` is answered `IBM`.
//!
//! This is the guest of the exercise of 2011 that the project began with. `*` is 42, the Answer to the Ultimate
//! Question of Life, the Universe, and Everything.

#![no_std]
#![no_main]

use flatland_guest::{console, entry};

entry!(main);

fn main() {
    loop {
        match console::read_byte() {
            42 => return,
            byte => console::write_byte(byte.wrapping_add(1)),
        }
    }
}
