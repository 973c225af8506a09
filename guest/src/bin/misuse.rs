//! Fails in the way that its argument names, without a fault, to show the message.
//!
//! `cargo xtask run misuse` lists them.

#![no_std]
#![no_main]

use core::fmt;
use core::hint::black_box;

use flatland_guest::prelude::*;
use flatland_guest::process::ExitCode;
use flatland_guest::{entry, env};

entry!(main);

/// The error that `main` returns. It is shown with `Debug`, as with std.
#[derive(Debug)]
enum Error {
    #[expect(dead_code, reason = "`Debug` shows it")]
    NotFortyTwo(u32),
}

fn main() -> Result<ExitCode, Error> {
    match env::args().nth(1).as_deref() {
        Some("allocate") => allocate(),
        Some("capacity") => drop(black_box(Vec::<u8>::with_capacity(usize::MAX))),
        Some("panic") => panic!("{}", PanicsWhenShown),
        Some("error") => return Err(Error::NotFortyTwo(41)),
        Some("megabytes") => (0..1 << 18).for_each(|number| println!("{number:07}")),
        Some("middle") => print!("in the middle of a line"),
        Some("exit") => {
            print!("in the middle of a line");
            return Ok(ExitCode::from(7));
        }
        _ => {
            eprintln!("Choose a way, as in `cargo xtask run misuse -- panic`:");
            eprintln!("  allocate   allocates until there is no RAM left");
            eprintln!("  capacity   allocates more than there are addresses");
            eprintln!("  panic      panics while it formats the message of a panic");
            eprintln!("  error      returns an error from `main`");
            eprintln!("  megabytes  prints 2 MiB");
            eprintln!("  middle     ends in the middle of a line");
            eprintln!("  exit       ends in the middle of a line, with status 7");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn allocate() {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(black_box(Vec::with_capacity(1 << 20)));
    }
}

struct PanicsWhenShown;

impl fmt::Display for PanicsWhenShown {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("it begins, ")?;
        panic!("and panics")
    }
}
