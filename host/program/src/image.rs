//! Flat images: the bytes at address 0 when the processor starts.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flatland_x86::MemorySize;

/// A flat image. It is not empty, and may be run any number of times.
#[derive(Clone, Debug)]
pub struct Image {
    bytes: Vec<u8>,
}

impl Image {
    /// An image of these bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ImageError> {
        match bytes.as_slice() {
            [] => Err(ImageError::Empty),
            [0x7f, b'E', b'L', b'F', ..] => Err(ImageError::Elf),
            _ => Ok(Self { bytes }),
        }
    }

    /// Reads an image for a machine with this much RAM, from a file or a pipe.
    pub fn open(path: &Path, ram: MemorySize) -> Result<Self, ImageError> {
        Self::read_all(&File::open(path)?, ram)
    }

    pub(crate) fn read_all(file: &File, ram: MemorySize) -> Result<Self, ImageError> {
        let mut bytes = Vec::new();
        // Reads at most one byte more than fits, because /dev/zero has no end.
        let most = u64::from(ram.bytes()) + 1;
        file.take(most).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == most {
            let size = file.metadata().map_or(most, |metadata| metadata.len().max(most));
            return Err(ImageError::TooLarge { size, ram });
        }
        Self::from_bytes(bytes)
    }

    /// The image's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Copies image bytes from an address. Returns how many it could copy.
    pub fn read(&self, address: u32, bytes: &mut [u8]) -> usize {
        let there = self.bytes.get(address as usize..).unwrap_or_default();
        let len = there.len().min(bytes.len());
        bytes[..len].copy_from_slice(&there[..len]);
        len
    }

    /// Checks that the image fits a machine with this much RAM.
    pub fn check_fits(&self, ram: MemorySize) -> Result<(), ImageError> {
        match self.bytes.len() as u64 {
            size if size > u64::from(ram.bytes()) => Err(ImageError::TooLarge { size, ram }),
            _ => Ok(()),
        }
    }
}

/// Why an image cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImageError {
    /// The file does not exist.
    Missing,
    /// The file may not be read.
    NoPermission,
    /// The path names a directory.
    Directory,
    /// The image is empty.
    Empty,
    /// The file is an ELF file, not a flat image.
    Elf,
    /// The image does not fit RAM.
    TooLarge {
        /// The image's size in bytes. If it is not a regular file, the number of bytes that were read.
        size: u64,
        /// The size of RAM.
        ram: MemorySize,
    },
    /// Reading failed.
    Read(io::Error),
}

impl From<io::Error> for ImageError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::NoPermission,
            io::ErrorKind::IsADirectory => Self::Directory,
            _ => Self::Read(error),
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such file: check the path, or build it first"),
            Self::NoPermission => f.write_str("no permission to read it: `chmod +r` it, or run as its owner"),
            Self::Directory => {
                f.write_str("it is a directory: name the image inside it, such as target/guest/answer.bin")
            }
            Self::Empty => f.write_str("it is empty: put the instruction for address 0 first"),
            Self::Elf => {
                f.write_str("it is an ELF file, not a flat image: open it as a program, by its path")
            }
            Self::TooLarge { size, ram } => {
                write!(f, "its {size} bytes are more than the machine's {ram} of RAM: give it more")
            }
            Self::Read(error) => write!(f, "it cannot be read: {error}"),
        }
    }
}

impl Error for ImageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            _ => None,
        }
    }
}
