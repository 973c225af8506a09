//! What the documentation promises of any file: how much memory it takes, and a message that says what to do.

use std::io::Read;

use flatland_machine::{FileError, Recording};

use crate::common::damage::measured;

/// Reads a file. Also returns how much memory that took at most.
pub fn read(from: impl Read) -> (Result<Recording, FileError>, usize) {
    measured(|| Recording::read_from(from))
}

pub const MIB: usize = 1 << 20;

/// The bound that the documentation of `read_from` states for a file of this size.
pub fn most_memory(file: usize) -> usize {
    2 * MIB + 2400 * file
}

/// The bound that the documentation of `replay` states, besides the machine.
pub const MOST_MEMORY_OF_REPLAY: usize = MIB;

/// The bound that `read_from` states for the start of a machine with this much RAM.
pub fn most_memory_of_start(ram: u32) -> usize {
    32 * MIB + 4 * ram as usize
}

/// Checks that a message is one sentence that ends with what to do.
pub fn check_message(message: &str) {
    const TO_DO: [&str; 8] =
        ["copy it again", "save it", "record it", "give ", "use ", "go on ", "make ", "`flatland replay`"];
    let to_do = message.rsplit(": ").next().unwrap();
    let says_it = TO_DO.iter().any(|start| to_do.starts_with(start)) || message.contains("--from-snapshot");
    assert!(says_it && !message.contains(['\n', '.']), "{message:?}");
}
