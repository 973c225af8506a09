//! Copies its input to its output, as many bytes at once as there are.
//!
//! A `rep insb` fetches what is ready, and a `rep outsb` sends it: one instruction each for up to 64 KiB.

#![no_std]
#![no_main]

use flatland_guest::alloc::vec;
use flatland_guest::entry;
use flatland_guest::io::{self, Read, Write};

entry!(main);

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = input.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        output.write_all(&buffer[..len])?;
    }
}
