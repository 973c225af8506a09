//! Copies its input to its output, up to 64 KiB at a time.
//!
//! One `rep insb` fetches the bytes that are ready, and one `rep outsb` sends them.

#![no_std]
#![no_main]

use flatland_guest::entry;
use flatland_guest::io::{self, Read, Write};
use flatland_guest::prelude::*;

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
