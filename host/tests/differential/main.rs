//! Compares the soft engine with others: from the same registers, flags and memory, the same must result.
//!
//! - `forms`: each form of instruction with random operands, compared with KVM or Unicorn.
//! - `random_bytes` and `random_streams`: random code, compared with KVM or Unicorn.
//! - `processor_exceptions`: exceptions, compared with the processor that runs the test.
//! - `floats`, `functions`: x87, MMX, SSE and SSE2, compared with the processor that runs the test.
//! - `moved`: runs that move between the engines at random, compared with the soft engine alone.
//! - `privileged`: programs with page tables, privilege levels and faults, compared with KVM.
//! - `on_purpose`: a bug put into the soft engine is found.
//!
//! A quick slice runs with the other tests; `cargo xtask differential` runs all of it. `FLATLAND_CASES` sets the
//! number of cases of each test, and `FLATLAND_SEED` the first seed: each case comes from its own seed, which is
//! printed with a difference. Flags and results that the manual leaves undefined are not compared (`trace`), and
//! `exceptions` lists the known differences. A known difference hides no other: if a case has one, each of its
//! instructions is compared alone (`verdict`).
//!
//! Unicorn is QEMU's translator. Its tests are ignored by default; `cargo xtask differential --unicorn` runs them,
//! and needs Debian's package libunicorn2.

#![cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]

mod case;
mod catalogue;
#[path = "../common/mod.rs"]
mod common;
mod exceptions;
mod floats;
mod forms;
mod functions;
#[path = "../unicorn/mod.rs"]
mod libunicorn;
mod moved;
mod on_purpose;
mod privileged;
mod processor;
mod processor_exceptions;
#[path = "../common/random.rs"]
mod random;
mod random_bytes;
mod random_streams;
mod subject;
mod trace;
mod unicorn;
mod verdict;
