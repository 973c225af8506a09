//! Snapshots in files: [`Snapshot::write_to`] and [`Snapshot::read_from`].
//!
//! A file is a magic, a version, and a body in compressed blocks with checksums (`blocks`). The body is the fields of
//! the snapshot in order, integers little-endian (`state`, `processor`, `outcome`). It names no path and nothing else of the host.
//!
//! A file is read as hostile input. Its checksums find damage, not intent: each value is also checked before it is
//! used. No length is trusted before as many bytes have arrived.

mod blocks;
mod outcome;
mod processor;
mod state;
mod values;

use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};

use super::Snapshot;
use blocks::{Reader, Writer};

/// The first bytes of a file. As in PNG files: a byte that is not ASCII, and line ends, which a transfer as text
/// changes.
const MAGIC: [u8; 12] = *b"\x89flatland\r\n\n";

/// The version of the format. Another one has another body.
const VERSION: u32 = 1;

/// Why a snapshot cannot be read from a file or written to one.
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotFileError {
    /// Reading failed.
    Read(io::Error),
    /// Writing failed.
    Write(io::Error),
    /// The file is something else.
    NotASnapshot,
    /// The file has a version of the format that this program does not have.
    OtherVersion(u32),
    /// The file ends too early.
    Truncated,
    /// A checksum is wrong, or something follows the end.
    Damaged,
    /// The file is intact, but no machine can have this state.
    Impossible(&'static str),
    /// The state has more of this than a file can have.
    TooMuch(&'static str),
}

impl fmt::Display for SnapshotFileError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "it cannot be read ({error}): check the path"),
            Self::Write(error) => write!(f, "it cannot be written ({error}): give another place"),
            Self::NotASnapshot => f.write_str("it is no snapshot: give a file that was saved as one"),
            Self::OtherVersion(version) => write!(
                f,
                "it has version {version} of the format, and this program reads version {VERSION}: use the program that \
                 saved it, or save it again"
            ),
            Self::Truncated => f.write_str("it ends too early: copy it again, or save it again"),
            Self::Damaged => f.write_str("it is damaged: copy it again, or save it again"),
            Self::Impossible(what) => write!(f, "no machine can be in its state ({what}): save it again"),
            Self::TooMuch(what) => {
                write!(
                    f,
                    "the state has {what} than a file can have: save it at another moment, or report it"
                )
            }
        }
    }
}

impl Error for SnapshotFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(error) | Self::Write(error) => Some(error),
            _ => None,
        }
    }
}

impl Snapshot {
    /// Writes the snapshot, to be read by [`Self::read_from`]. The file holds the program, since that is in RAM. Pages
    /// of zeros take no room.
    ///
    /// ```
    /// use flatland_machine::{EngineChoice, Machine, Outcome, Program, Snapshot, Wants};
    ///
    /// // inc eax; jmp 0
    /// let program = Program::from_bytes(vec![0x40, 0xeb, 0xfd])?;
    /// let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program)?;
    /// machine.resume(&Wants { instructions: Some(1000), ..Wants::default() })?;
    /// let mut file = Vec::new();
    /// machine.snapshot()?.write_to(&mut file)?;
    ///
    /// // In another process, perhaps on another machine:
    /// let snapshot = Snapshot::read_from(&file[..])?;
    /// let mut machine = Machine::builder().engine(EngineChoice::Soft).build_from(&snapshot)?;
    /// assert_eq!(machine.registers()?.eax, 500);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_to(&self, to: impl Write) -> Result<(), SnapshotFileError> {
        let mut writer = Writer::new(to);
        writer.plain(&[&MAGIC[..], &VERSION.to_le_bytes()].concat())?;
        state::write(self, &mut writer)?;
        writer.finish()
    }

    /// Reads a snapshot that [`Self::write_to`] has written. The file may be anything: what is no intact snapshot of a
    /// state that a machine can have is an error.
    ///
    /// Takes at most 1 MiB of memory and 600 bytes for each byte of the file. It also takes at most 32 MiB and four times
    /// the RAM that the file declares, which is at most [`MAX_RAM_SIZE`](flatland_contract::memory::MAX_RAM_SIZE): an
    /// endless input is read no further.
    pub fn read_from(from: impl Read) -> Result<Self, SnapshotFileError> {
        let mut reader = Reader::new(from);
        let mut magic = [0; MAGIC.len()];
        match reader.plain(&mut magic) {
            Err(SnapshotFileError::Truncated) => return Err(SnapshotFileError::NotASnapshot),
            result => result?,
        }
        if magic != MAGIC {
            return Err(SnapshotFileError::NotASnapshot);
        }
        let mut version = [0; 4];
        reader.plain(&mut version)?;
        let version = u32::from_le_bytes(version);
        if version != VERSION {
            return Err(SnapshotFileError::OtherVersion(version));
        }
        let snapshot = state::read(&mut reader)?;
        reader.finish()?;
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests;
