//! Fast transfers: fewer exits for bulk input and output.
//!
//! Each transfer at a port is an exit, which takes microseconds. Two shortcuts avoid most exits. A `rep outsb` or
//! `rep insb` is finished in RAM after its first exits (`string_io`). Single bytes that the guest sends to the
//! console or to diagnostics are collected by KVM in a ring, without any exit (`ring`, coalesced PIO). The machine
//! sees the same bytes in the same order, the same registers after each exit, and the same fault at the same address
//! as without the shortcuts. [`Engine::set_fast_transfers`](flatland_x86::Engine::set_fast_transfers) turns both off,
//! and so does [`Stops::each_transfer`](flatland_x86::Stops::each_transfer).

mod ring;
mod string_io;

pub use ring::{Ring, collects};
pub use string_io::{Found, Repeated, Rest, StringIo};
