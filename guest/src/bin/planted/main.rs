//! Eight planted bugs for a fuzzer to find.
//!
//! The first byte of the input chooses one: see `bugs.rs`.

#![no_std]
#![no_main]

mod bugs;

flatland_guest::fuzz!(bugs::target);
