//! Sends back each line of its input. The last one gets an end if it has none.

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
