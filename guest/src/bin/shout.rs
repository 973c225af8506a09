//! Sends back what it reads, in capitals.

#![no_std]
#![no_main]

use flatland_guest::{console, entry};

entry!(main);

fn main() {
    loop {
        console::write_byte(console::read_byte().to_ascii_uppercase());
    }
}
