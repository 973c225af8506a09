//! Fast transfers: what saves exits for bulk input and output.
//!
//! Every transfer at a port leaves KVM, which takes microseconds. Two shortcuts avoid most of that. A `rep outsb` or
//! `rep insb` is finished in RAM after its first exits (`string_io`), and what a guest sends byte by byte to the console
//! or to diagnostics KVM collects in a ring, with no exit at all (`ring`). What is promised is what holds without them:
//! the same bytes in the same order, the same registers after each exit, and the same fault at the same place.
//! [`Engine::set_fast_transfers`](flatland_x86::Engine::set_fast_transfers) turns both off, and so does a wish to stop
//! at each transfer.

mod ring;
mod string_io;

pub use ring::{Ring, takes};
pub use string_io::{Found, Repeated, Rest, StringIo};
