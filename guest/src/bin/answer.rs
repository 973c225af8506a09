#![no_std]
#![no_main]
use flatland_guest::{read_byte, write_byte, entry};
entry!(main);
fn main() {
    loop {
        match read_byte() {
            42 => return,
            byte => write_byte(byte.wrapping_add(1)),
        }
    }
}
