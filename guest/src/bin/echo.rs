//! Sends back its input line by line. The last line gets a newline if it has none.

#![no_std]
#![no_main]

use flatland_guest::{entry, io, println};

entry!(main);

fn main() -> io::Result<()> {
    for line in io::stdin().lines() {
        println!("{}", line?);
    }
    Ok(())
}
