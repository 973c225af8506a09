//! Faults: why a processor cannot continue.

use core::fmt;

use flatland_contract::Direction;

/// A fault: why the processor cannot continue, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind.
    pub kind: FaultKind,
    /// The instruction that caused it.
    pub location: Location,
}

/// The location of an instruction, as exactly as the engine knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// It begins here.
    At(u32),
    /// It ends here: EIP was already past it.
    EndsAt(u32),
    /// The engine does not know it.
    Unknown,
}

impl Location {
    /// An address inside the instruction, for looking up its function and line.
    pub fn inside(self) -> Option<u32> {
        match self {
            Location::At(address) => Some(address),
            Location::EndsAt(address) => Some(address.wrapping_sub(1)),
            Location::Unknown => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Location::At(address) => write!(f, "at {address:#010x}"),
            Location::EndsAt(address) => write!(f, "just before {address:#010x}"),
            Location::Unknown => write!(f, "at an address that was not kept"),
        }
    }
}

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// A CPU exception for which the guest has no handler.
    Exception {
        /// The vector, 0 to 31.
        vector: u8,
        /// The error code, for the vectors that push one.
        error_code: Option<u32>,
    },
    /// An exception while a double fault was being delivered.
    TripleFault,
    /// An access outside RAM.
    OutsideRam {
        /// What was tried.
        access: Access,
        /// The first byte that is outside.
        address: u32,
        /// Where RAM ends.
        ram_size: u32,
    },
    /// A store to read-only memory.
    ReadOnly {
        /// The first byte that is read-only.
        address: u32,
    },
    /// The stack is used up: a push, or another access with ESP at the stack's end, hit the guard below.
    StackOverflow {
        /// The size of the stack in bytes.
        stack_size: u32,
    },
    /// An access to the guard below the stack that is no stack overflow.
    Guard {
        /// What was tried.
        access: Access,
        /// The first byte that is in the guard.
        address: u32,
        /// Where the guard begins.
        start: u32,
        /// Where the stack begins.
        end: u32,
    },
    /// A transfer at a port that has no device, or whose device has no transfer of this width or in this direction.
    Port {
        /// The port's number.
        port: u16,
        /// Bytes per transfer.
        width: u8,
        /// The direction.
        direction: Direction,
    },
    /// An instruction that the engine cannot run.
    Unsupported {
        /// The engine's name in a sentence.
        engine: &'static str,
        /// The bytes from the instruction's first on, as many as lie in RAM.
        code: CodeBytes,
    },
}

/// The kind of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store or a push.
    Write,
    /// The fetch of an instruction.
    Execute,
}

/// The bytes of an instruction and what follows it, up to the 15 that one can have (SDM volume 2, section
/// 2.3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeBytes {
    bytes: [u8; Self::MOST],
    len: u8,
}

impl CodeBytes {
    /// The longest that an instruction can be.
    pub const MOST: usize = 15;

    /// The first 15 of these bytes.
    pub fn new(from: &[u8]) -> Self {
        let mut bytes = [0; Self::MOST];
        let len = from.len().min(bytes.len());
        bytes[..len].copy_from_slice(&from[..len]);
        Self { bytes, len: len as u8 }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn locations() {
        assert_eq!(Location::At(0x12).to_string(), "at 0x00000012");
        assert_eq!(Location::EndsAt(0x12).to_string(), "just before 0x00000012");
        assert_eq!(Location::EndsAt(0x12).inside(), Some(0x11));
    }
}
