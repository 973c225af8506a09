//! The soft engine beside others: the same registers, flags and memory before, the same after.
//!
//! - `forms`: each form of instruction with random operands, beside KVM or Unicorn.
//! - `random_bytes` and `random_streams`: random code, beside KVM or Unicorn.
//! - `processor_exceptions`: what raises exceptions, beside the processor that runs the test.
//! - `on_purpose`: a bug put into the soft engine is found.
//!
//! A quick slice runs with the other tests; `cargo xtask differential` runs all of it. `FLATLAND_CASES` says how many
//! cases each test has, and `FLATLAND_SEED` where they begin: each case comes from its own seed, which is printed
//! with a difference. Flags and results that the manual leaves undefined are not compared (`trace`), and the known
//! differences stand in `exceptions`. A known difference hides no other: where a case has one, each of its instructions
//! is compared alone (`verdict`).
//!
//! Unicorn is a third party, QEMU's translator. Its tests are ignored unless they are asked for: `cargo xtask
//! differential --unicorn`, with Debian's package libunicorn2.

#![cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]

mod case;
mod catalogue;
#[path = "../common/mod.rs"]
mod common;
mod exceptions;
mod forms;
#[path = "../unicorn/mod.rs"]
mod libunicorn;
mod on_purpose;
mod processor;
mod processor_exceptions;
mod random;
mod random_bytes;
mod random_streams;
mod subject;
mod trace;
mod unicorn;
mod verdict;
