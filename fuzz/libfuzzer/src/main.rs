//! The bugs of the guest `planted`, natively under libFuzzer. The variable FORMAT is the first byte of each input, and chooses one.

#![no_main]

#[path = "../../../guest/src/bin/planted/bugs.rs"]
mod bugs;

use std::env;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static FORMAT: OnceLock<u8> = OnceLock::new();

fuzz_target!(
    init: {
        let format = env::var("FORMAT").ok().and_then(|format| format.parse().ok());
        FORMAT.set(format.expect("FORMAT is a number")).expect("it is set once");
    },
    |data: &[u8]| {
        let format = *FORMAT.get().expect("it was set");
        bugs::target(&[&[format], data].concat());
    }
);
