//! Simulates what `nbody` does, with floats that the processor computes. It is the same code, compiled for another
//! target: `hard-floats` in Cargo.toml.

#![no_std]
#![no_main]

// With its `entry!`.
#[path = "nbody.rs"]
#[allow(unused_attributes, reason = "`no_std` and `no_main` are of its own crate")]
mod nbody;
