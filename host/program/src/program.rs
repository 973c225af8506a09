//! Programs.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use flatland_contract::memory::MAX_RAM_SIZE;
#[cfg(feature = "elf")]
use flatland_elf::ElfError;
use flatland_x86::{MemoryMap, MemoryMapError, MemorySize, Segment};

#[cfg(feature = "elf")]
use crate::elf::{AddElfError, Contents};
use crate::{Image, ImageError};
#[cfg(feature = "symbols")]
use crate::{Symbols, SymbolsError};

/// A program: a flat image, and the contents of its ELF file if it has one.
///
/// ```
/// use flatland_program::Program;
///
/// let program = Program::from_bytes(vec![0xf4])?; // hlt
/// assert_eq!(program.image().bytes(), [0xf4]);
/// assert_eq!(program.elf(), None);
/// # Ok::<(), flatland_program::ImageError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    image: Image,
    elf: Option<PathBuf>,
    /// The contents of the ELF file, if they could be read.
    #[cfg(feature = "elf")]
    contents: Option<Contents>,
}

/// Why a program cannot be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProgramError {
    /// The image cannot be used.
    Image(ImageError),
    /// No image can be made of the ELF file.
    #[cfg(feature = "elf")]
    Elf(ElfError),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            #[cfg(feature = "elf")]
            Self::Elf(error) => error.fmt(f),
        }
    }
}

impl Error for ProgramError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Displayed as this error, so its source is the next one.
            Self::Image(error) => error.source(),
            #[cfg(feature = "elf")]
            Self::Elf(error) => error.source(),
        }
    }
}

impl From<ImageError> for ProgramError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl From<Image> for Program {
    fn from(image: Image) -> Self {
        Self {
            image,
            elf: None,
            #[cfg(feature = "elf")]
            contents: None,
        }
    }
}

impl Program {
    /// Opens a program's file: a flat image, or (with the feature `elf`) an ELF file that any linker has linked at
    /// fixed addresses, with its entry at 0.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ProgramError> {
        let most = MemorySize::from_bytes(MAX_RAM_SIZE.into()).expect("machines have so much");
        Self::open_for(path, most)
    }

    /// The same for a machine with this much RAM.
    pub fn open_for(path: impl AsRef<Path>, ram: MemorySize) -> Result<Self, ProgramError> {
        let path = path.as_ref();
        // Opens the file only once, because it may be a pipe.
        let file = File::open(path).map_err(ImageError::from)?;
        #[cfg(feature = "elf")]
        if crate::elf::is_elf(&file).map_err(ImageError::from)? {
            let (image, contents) = Contents::open(file, ram)?;
            return Ok(Self { image, elf: Some(path.into()), contents: Some(contents) });
        }
        Ok(Image::read_all(&file, ram)?.into())
    }

    /// A flat image of these bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ImageError> {
        Ok(Image::from_bytes(bytes)?.into())
    }

    /// The flat image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The path of the ELF file with names and lines, if there is one.
    pub fn elf(&self) -> Option<&Path> {
        self.elf.as_deref()
    }

    /// The names and lines in the ELF file, if there is one. Each call reads the whole file, so call it only when
    /// they are needed. Refuses a file that has become another program's.
    #[cfg(feature = "symbols")]
    pub fn symbols(&self) -> Result<Option<Symbols>, SymbolsError> {
        self.elf()
            .map(|path| Symbols::open(path, &|address, bytes| self.image.read(address, bytes)))
            .transpose()
    }

    /// The RAM that the program uses, if known.
    pub fn segments(&self) -> Option<&[Segment]> {
        #[cfg(feature = "elf")]
        return self.contents.as_ref().map(|contents| &*contents.segments);
        #[cfg(not(feature = "elf"))]
        None
    }

    /// The memory map for this program. If its segments are known, code and constants are read-only and there is a
    /// guard below the stack.
    pub fn memory_map(
        &self,
        ram: MemorySize,
        stack: Option<MemorySize>,
    ) -> Result<MemoryMap, MemoryMapError> {
        let map = match stack {
            Some(stack) => MemoryMap::with_stack(ram, stack)?,
            None => ram.into(),
        };
        let Some(segments) = self.segments() else { return Ok(map) };
        // The image may be longer than the file's segments, and must not extend into the guard: an empty segment
        // marks its end.
        let end = self.image.bytes().len() as u32;
        let mut segments = segments.to_vec();
        segments.push(Segment { start: end, end: end.into(), writable: true });
        map.protecting(&segments)
    }
}

/// What an ELF file adds.
#[cfg(feature = "elf")]
impl Program {
    /// Adds the ELF file that this flat image was made of. With an error nothing is added, or only the names.
    pub fn add_elf(&mut self, path: &Path) -> Result<(), AddElfError> {
        let contents = Contents::of_image(path, &self.image);
        let has_names = matches!(contents, Ok(_) | Err(AddElfError::Unusable { .. }));
        self.elf = has_names.then(|| path.into());
        self.contents = None;
        self.contents = Some(contents?);
        Ok(())
    }

    /// The sections that take memory, in the order of the ELF file.
    pub fn sections(&self) -> &[flatland_elf::Section] {
        self.contents.as_ref().map_or(&[], |contents| &contents.sections)
    }

    /// The name of the section that contains an address.
    pub fn section(&self, address: u32) -> Option<&str> {
        let section = self.sections().iter().find(|section| section.contains(address))?;
        Some(&section.name)
    }

    /// The records of the program's tests, in the contract's form (`flatland_contract::test`).
    pub fn tests(&self) -> &[u8] {
        self.contents.as_ref().map_or(&[], |contents| &contents.tests)
    }
}
