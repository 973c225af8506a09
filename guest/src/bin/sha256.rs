//! Prints the SHA-256 of its input, as `sha256sum` does, with the crate `sha2`.

#![no_std]
#![no_main]

use flatland_guest::io::{self, BufRead};
use flatland_guest::{entry, print, println};
use sha2::{Digest, Sha256};

entry!(main);

fn main() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut hash = Sha256::new();
    loop {
        let bytes = input.fill_buf()?;
        let len = bytes.len();
        if len == 0 {
            break;
        }
        hash.update(bytes);
        input.consume(len);
    }
    for byte in hash.finalize() {
        print!("{byte:02x}");
    }
    println!("  -");
    Ok(())
}
