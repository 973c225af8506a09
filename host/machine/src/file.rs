//! What the files of this crate have in common: a head, values in compressed blocks with checksums, and their errors.
//!
//! A file begins with a magic, four letters for its kind, and the version of that kind's format. It is read as hostile
//! input. Its checksums find damage, not intent: each value is also checked before it is used. No length is trusted
//! before as many bytes have arrived.

pub(crate) mod blocks;
pub(crate) mod outcome;
pub(crate) mod processor;
pub(crate) mod values;

use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};

use blocks::{Reader, Writer};

/// The first bytes of a file. As in PNG files: a byte that is not ASCII, and line ends, which a transfer as text
/// changes.
const MAGIC: [u8; 12] = *b"\x89flatland\r\n\n";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A [`Snapshot`](crate::Snapshot).
    Snapshot,
    /// A [`Recording`](crate::Recording).
    Recording,
}

impl FileKind {
    const ALL: [Self; 2] = [Self::Snapshot, Self::Recording];

    /// How many bytes at the beginning of a file say its kind.
    pub const HEAD_SIZE: usize = MAGIC.len() + 4;

    /// What a file holds that begins with these bytes, of any version of its format.
    pub fn of(head: &[u8]) -> Option<Self> {
        let (magic, letters) = head.get(..Self::HEAD_SIZE)?.split_at(MAGIC.len());
        Self::ALL.into_iter().find(|kind| magic == MAGIC && letters == kind.letters())
    }

    fn letters(self) -> [u8; 4] {
        match self {
            Self::Snapshot => *b"snap",
            Self::Recording => *b"reco",
        }
    }

    /// The version of the format. Another one has another body.
    fn version(self) -> u32 {
        match self {
            Self::Snapshot | Self::Recording => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Recording => "recording",
        }
    }

    /// How to make one.
    fn option(self) -> &'static str {
        match self {
            Self::Snapshot => "--save-snapshot",
            Self::Recording => "--record",
        }
    }

    /// What to do where one cannot be used.
    fn make_again(self) -> &'static str {
        match self {
            Self::Snapshot => "save it again",
            Self::Recording => "record the run again",
        }
    }

    /// What a file of this kind is for, where another one was wanted.
    fn use_it(self) -> &'static str {
        match self {
            Self::Snapshot => "--from-snapshot goes on from it",
            Self::Recording => "`flatland replay` runs it again",
        }
    }
}

/// Why a file cannot be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// Reading failed.
    Read(io::Error),
    /// Writing failed.
    Write(io::Error),
    /// The file is not of this kind, and perhaps of another one.
    OtherKind {
        /// What was wanted.
        wanted: FileKind,
        /// What it is.
        found: Option<FileKind>,
    },
    /// The file has a version of the format that this program does not have.
    OtherVersion {
        /// The file's version.
        found: u32,
        /// This program's.
        wanted: u32,
    },
    /// The file ends too early.
    Truncated,
    /// A checksum is wrong, or something follows the end.
    Damaged,
    /// The file is intact, but nothing that it could come from has this.
    Impossible(&'static str),
    /// There is more of this than a file can have.
    TooMuch(&'static str),
}

impl FileError {
    /// The error in a sentence that ends with what to do, for a file of this kind.
    pub fn words(&self, kind: FileKind) -> String {
        self.sentence(kind.make_again())
    }

    fn sentence(&self, make_again: &str) -> String {
        match self {
            Self::Read(error) => format!("it cannot be read ({error}): check the path"),
            Self::Write(error) => format!("it cannot be written ({error}): give another place"),
            Self::OtherKind { wanted, found: None } => {
                format!("it is no {}: give a file that {} has written", wanted.name(), wanted.option())
            }
            Self::OtherKind { wanted, found: Some(found) } => {
                format!("it is a {} and no {}: {}", found.name(), wanted.name(), found.use_it())
            }
            Self::OtherVersion { found, wanted } => format!(
                "it has version {found} of the format, and this program reads version {wanted}: use the program that \
                 wrote it, or {make_again}"
            ),
            Self::Truncated => format!("it ends too early: copy it again, or {make_again}"),
            Self::Damaged => format!("it is damaged: copy it again, or {make_again}"),
            Self::Impossible(what) => format!("no machine writes such a file ({what}): {make_again}"),
            Self::TooMuch(what) => {
                format!("the state has {what} than a file can have: save it at another moment, or report it")
            }
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.sentence("make it again"))
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(error) | Self::Write(error) => Some(error),
            _ => None,
        }
    }
}

/// Writes what stands before the blocks.
pub(crate) fn write_head<W: Write>(kind: FileKind, to: &mut Writer<W>) -> Result<(), FileError> {
    to.plain(&[&MAGIC[..], &kind.letters(), &kind.version().to_le_bytes()].concat())
}

/// Reads and checks what stands before the blocks.
pub(crate) fn read_head<R: Read>(wanted: FileKind, from: &mut Reader<R>) -> Result<(), FileError> {
    let (mut head, mut version) = ([0; FileKind::HEAD_SIZE], [0; 4]);
    let other_kind = |found| FileError::OtherKind { wanted, found };
    from.plain(&mut head).map_err(|error| match error {
        FileError::Truncated => other_kind(None),
        error => error,
    })?;
    let found = FileKind::of(&head);
    if found != Some(wanted) {
        return Err(other_kind(found));
    }
    from.plain(&mut version)?;
    let found = u32::from_le_bytes(version);
    let wanted = wanted.version();
    if found == wanted { Ok(()) } else { Err(FileError::OtherVersion { found, wanted }) }
}
