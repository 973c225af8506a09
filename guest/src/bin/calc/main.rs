//! Evaluates each line of its input as an expression, with a parser made with the crate `winnow`.
//!
//! A line that cannot be evaluated is reported on standard error. The run goes on, and ends with status 1.

#![no_std]
#![no_main]

mod expression;

use flatland_guest::process::ExitCode;
use flatland_guest::{entry, eprintln, io, println};

entry!(main);

fn main() -> io::Result<ExitCode> {
    let mut status = ExitCode::SUCCESS;
    for (index, line) in io::stdin().lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        match expression::value(&line) {
            Ok(value) => println!("{value}"),
            Err(error) => {
                eprintln!("line {}: {error}", index + 1);
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}
