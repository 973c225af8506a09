//! Why an ELF file is not a usable program.

use std::error::Error;
use std::fmt;

use flatland_contract::memory::{ENTRY, MAX_RAM_SIZE};

/// Why no flat image can be made of an ELF file, or its sections and symbols cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElfError {
    /// The file is for another machine, or is not an ELF file.
    NotElf,
    /// The file needs relocation.
    NotStatic,
    /// The file is inconsistent or truncated.
    Broken(String),
    /// The entry is at this address instead of 0.
    Entry(u32),
    /// No segment has bytes at the entry.
    NothingAtEntry,
    /// The segments at these addresses overlap.
    Overlap(u32, u32),
    /// A segment is outside the RAM of any machine.
    OutsideRam {
        /// Its first address.
        start: u32,
        /// The address after it.
        end: u64,
    },
    /// A segment's load address differs from its address in memory.
    Moved {
        /// The address in memory.
        segment: u32,
        /// The load address.
        to: u32,
    },
    /// The image is larger than allowed.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The largest allowed size in bytes.
        most: u32,
    },
    /// The image would mostly consist of gaps.
    Sparse {
        /// The segment after the last gap.
        segment: u32,
        /// The total size of the gaps before it, in bytes.
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
                "it is not statically linked at fixed addresses: link it with flatland-guest's flatland.ld and without \
                 shared libraries"
            ),
            Self::Broken(how) => write!(f, "it is broken ({how}): build it again"),
            Self::Entry(entry) => write!(
                f,
                "its entry is {entry:#x} and not {ENTRY:#x}: link it with flatland-guest's flatland.ld, and declare \
                 `entry!(main)` once"
            ),
            Self::NothingAtEntry => write!(
                f,
                "it has no code at {ENTRY:#x}: link it with flatland-guest's flatland.ld, and declare `entry!(main)` once"
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
