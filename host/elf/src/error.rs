//! Why an ELF file is no program.

use std::error::Error;
use std::fmt;

use flatland_contract::memory::{ENTRY, MAX_RAM_SIZE};

/// Why an ELF file makes no flat image, or says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElfError {
    /// It is of another kind of machine, or something else.
    NotElf,
    /// It needs relocation.
    NotStatic,
    /// It contradicts itself, or it is truncated.
    Broken(String),
    /// The processor starts elsewhere.
    Entry(u32),
    /// There is no code where the processor starts.
    NothingAtEntry,
    /// The segments at these addresses overlap.
    Overlap(u32, u32),
    /// A segment lies where no machine has RAM.
    OutsideRam {
        /// Its first address.
        start: u32,
        /// The address behind it.
        end: u64,
    },
    /// A segment is to be loaded to another address than it runs at.
    Moved {
        /// Where it runs.
        segment: u32,
        /// Where it is to be loaded.
        to: u32,
    },
    /// The image is larger than it may be.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The most it may have.
        most: u32,
    },
    /// The image would be mostly gaps.
    Sparse {
        /// The segment behind the last one.
        segment: u32,
        /// The bytes of all gaps up to there.
        gaps: u64,
    },
    /// The section of this name is compressed.
    Compressed(String),
    /// The file is larger than [`ElfError::MOST_BYTES`].
    FileTooLarge,
}

impl ElfError {
    /// The most bytes that an ELF file may have: 1 GiB.
    pub const MOST_BYTES: u64 = 1 << 30;
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NotElf => write!(f, "it is no 32-bit x86 ELF file: build it for i686-bare.json"),
            Self::NotStatic => write!(
                f,
                "it is not statically linked at fixed addresses: link it with guest/flatland.ld and without \
                 shared libraries"
            ),
            Self::Broken(how) => write!(f, "it is broken ({how}): build it again"),
            Self::Entry(entry) => write!(
                f,
                "its entry is {entry:#x} and not {ENTRY:#x}: link it with guest/flatland.ld, and declare \
                 `entry!(main)` once"
            ),
            Self::NothingAtEntry => write!(
                f,
                "it has no code at {ENTRY:#x}: link it with guest/flatland.ld, and declare `entry!(main)` once"
            ),
            Self::Overlap(first, second) => write!(
                f,
                "its segments at {first:#x} and {second:#x} overlap: mend the addresses in the linker script"
            ),
            Self::OutsideRam { start, end } => write!(
                f,
                "its segment from {start:#x} to {end:#x} lies above the most RAM that a machine can have, \
                 which ends at {MAX_RAM_SIZE:#x}: mend the addresses in the linker script"
            ),
            Self::Moved { segment, to } => write!(
                f,
                "its segment at {segment:#x} is to be loaded elsewhere, at {to:#x}, and nothing would move \
                 it: take AT(...) out of the linker script"
            ),
            Self::TooLarge { size, most } => {
                write!(f, "its flat image has {size} bytes, more than the {most} of RAM: give it more")
            }
            Self::Sparse { segment, gaps } => write!(
                f,
                "below its segment at {segment:#x} its flat image would have {gaps} bytes of gaps: mend the addresses \
                 in the linker script"
            ),
            Self::FileTooLarge => write!(
                f,
                "the file is larger than {} MiB: strip its debug information",
                Self::MOST_BYTES >> 20
            ),
            Self::Compressed(section) => {
                write!(f, "its section {section} is compressed: link it with --compress-debug-sections=none")
            }
        }
    }
}

impl Error for ElfError {}
