//! Flat images: the bytes that lie at address 0 when the processor starts.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::MemorySize;

/// A flat image, not empty. It may be run any number of times.
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

    /// Reads an image for a machine with this much RAM from a file, or from anything else that has a path,
    /// such as a pipe.
    pub fn open(path: &Path, ram: MemorySize) -> Result<Self, ImageError> {
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImageError::Missing,
            io::ErrorKind::PermissionDenied => ImageError::NoPermission,
            _ => ImageError::Read(error),
        })?;
        let mut bytes = Vec::new();
        // One byte more than fits, and no further: /dev/zero has no end.
        let most = u64::from(ram.bytes()) + 1;
        (&file).take(most).read_to_end(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory => ImageError::Directory,
            _ => ImageError::Read(error),
        })?;
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

    /// Says whether the image fits a machine with this much RAM.
    pub fn check_fits(&self, ram: MemorySize) -> Result<(), ImageError> {
        match self.bytes.len() as u64 {
            size if size > u64::from(ram.bytes()) => Err(ImageError::TooLarge { size, ram }),
            _ => Ok(()),
        }
    }
}

/// Why there is no image to run.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no file of that name.
    #[error("there is no such file: check the path, or build it with `cargo xtask build`")]
    Missing,
    /// The file may not be read.
    #[error("no permission to read it: `chmod +r` it, or run as its owner")]
    NoPermission,
    /// The path names a directory.
    #[error("it is a directory: name the image inside it, such as target/guest/answer.bin")]
    Directory,
    /// There is not one instruction in it.
    #[error("it is empty: put the instruction for address 0 first, or build one with `cargo xtask build`")]
    Empty,
    /// An ELF file, which is a container and not code.
    #[error(
        "it is an ELF file, not a flat image: `cargo xtask build` makes a .bin beside each .elf; give \
         the ELF as --symbols"
    )]
    Elf,
    /// It does not fit RAM.
    #[error("its {size} bytes are more than the machine's {ram} of RAM: give it more with --memory SIZE")]
    TooLarge {
        /// The image's size in bytes; of something that is no regular file, as much as was read.
        size: u64,
        /// The RAM it was meant for.
        ram: MemorySize,
    },
    /// The operating system could not read it.
    #[error("it cannot be read: {0}")]
    Read(#[source] io::Error),
}
