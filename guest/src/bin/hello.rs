//! Says hello to a line of input, to show that `core` is all there: formatting, floats, copying, comparing.

#![no_std]
#![no_main]

use core::fmt::Write;

use flatland_guest::console::{self, Console};
use flatland_guest::entry;

entry!(main);

fn main() {
    let mut line = [0; 512];
    let mut len = 0;
    while console::ready() > 0 && len < line.len() {
        match console::read_byte() {
            b'\n' => break,
            byte => line[len] = byte,
        }
        len += 1;
    }
    let copy = line;
    let name = core::str::from_utf8(&copy[..len]).unwrap_or("stranger");
    let circle = core::f64::consts::TAU * len as f64;
    // A console takes everything.
    let _ = writeln!(Console, "Hello, {name}! {} {len} {circle:.3}", copy == line);
}
