//! The segments, sections and tests of an ELF file, read without the rest of the file.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use flatland_contract::test;
use flatland_elf::{Elf, ElfError, Section};
use flatland_x86::{MemorySize, Segment};
use object::ReadRef;
use object::elf::ELFMAG;
use object::read::ReadCache;

use crate::{Image, ImageError, ProgramError};

/// The parts of an ELF file that a program keeps.
#[derive(Clone, Debug)]
pub struct Contents {
    pub segments: Vec<Segment>,
    pub sections: Vec<Section>,
    /// The records of its tests.
    pub tests: Vec<u8>,
}

/// Why an ELF file cannot be added to a flat image.
#[derive(Debug)]
#[non_exhaustive]
pub enum AddElfError {
    /// The file cannot be used.
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        why: String,
    },
    /// The file is not an ELF file.
    NotElf {
        /// The file.
        path: PathBuf,
    },
    /// The file belongs to another image.
    OfAnotherImage {
        /// The file.
        path: PathBuf,
        /// The first address where the image and the file differ.
        address: u32,
    },
}

impl fmt::Display for AddElfError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Unusable { path, why } => {
                write!(f, "memory is not protected, because {} {why}", path.display())?;
            }
            Self::NotElf { path } => write!(
                f,
                "memory is not protected and names are left out, because {} is no ELF file",
                path.display()
            )?,
            Self::OfAnotherImage { path, address } => write!(
                f,
                "memory is not protected and names are left out, because {} is the ELF file of another image (they \
                 differ at {address:#010x})",
                path.display()
            )?,
        }
        f.write_str(": give the ELF file that the image was made of")
    }
}

impl Error for AddElfError {}

/// Whether the file begins as ELF files do. It must be a regular file, because it is read again for names.
pub fn is_elf(mut file: &File) -> io::Result<bool> {
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut magic = Vec::new();
    file.take(ELFMAG.len() as u64).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(magic == ELFMAG)
}

impl Contents {
    /// The flat image and the contents of an ELF file, for a machine with this much RAM.
    pub fn open(file: File, ram: MemorySize) -> Result<(Image, Self), ProgramError> {
        let failed = |error| match error {
            ElfError::TooLarge { size, .. } => ImageError::TooLarge { size, ram }.into(),
            error => ProgramError::Elf(error),
        };
        let data = ReadCache::new(file);
        let elf = Elf::parse(&data).map_err(failed)?;
        let image = Image::from_bytes(elf.image(ram.bytes()).map_err(failed)?)?;
        Ok((image, Self::of(&elf).map_err(failed)?))
    }

    fn of<'data, R: ReadRef<'data>>(elf: &Elf<'data, R>) -> Result<Self, ElfError> {
        let segment = |segment: &flatland_elf::Segment| Segment {
            start: segment.start,
            end: segment.end(),
            writable: segment.writable,
        };
        Ok(Self {
            segments: elf.segments().iter().map(segment).collect(),
            sections: elf.sections()?,
            tests: elf.section(test::SECTION)?.unwrap_or_default().to_vec(),
        })
    }

    /// The contents of the ELF file of this image.
    pub fn of_image(path: &Path, image: &Image) -> Result<Self, AddElfError> {
        let unusable = |why| AddElfError::Unusable { path: path.into(), why };
        let broken = |error| match error {
            ElfError::NotElf | ElfError::NotStatic => unusable("is not of a 32-bit x86 program".into()),
            ElfError::Broken(how) => unusable(format!("is broken ({how})")),
            error => unusable(format!("cannot be used ({error})")),
        };
        let unreadable = |error| unusable(format!("cannot be read ({error})"));
        let file = File::open(path).map_err(unreadable)?;
        if !is_elf(&file).map_err(unreadable)? {
            return Err(AddElfError::NotElf { path: path.into() });
        }
        let data = ReadCache::new(file);
        let elf = Elf::parse(&data).map_err(broken)?;
        let difference = elf.first_difference(&|address, bytes| image.read(address, bytes));
        if let Some(address) = difference.map_err(broken)? {
            return Err(AddElfError::OfAnotherImage { path: path.into(), address });
        }
        if elf.segments().is_empty() {
            return Err(unusable("has no loadable segments".into()));
        }
        Self::of(&elf).map_err(broken)
    }
}
