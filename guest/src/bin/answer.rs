//! Answers each byte with the next one, until it is asked for the Answer. `HAL*` is answered `IBM`.
//!
//! The guest of the 2011 exercise, which halted on 42, the Answer to the Ultimate Question of Life, the
//! Universe, and Everything; `*` is 42.

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
