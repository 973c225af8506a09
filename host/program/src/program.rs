//! A program, opened once.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use flatland_contract::memory::MAX_RAM_SIZE;
use flatland_x86::{MemoryMap, MemoryMapError, MemorySize, Segment};

use crate::{Image, ImageError, SegmentsError, segments};

/// A program: a flat image, and its ELF file where there is one.
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
    /// What the program takes of RAM, if that is known.
    segments: Option<Vec<Segment>>,
}

/// Why a program cannot be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProgramError {
    /// There is no image.
    Image(ImageError),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
        }
    }
}

impl Error for ProgramError {}

impl From<Image> for Program {
    fn from(image: Image) -> Self {
        Self { image, elf: None, segments: None }
    }
}

impl Program {
    /// Opens a program's file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ProgramError> {
        let most = MemorySize::from_bytes(MAX_RAM_SIZE.into()).expect("machines have so much");
        Self::open_for(path, most)
    }

    /// The same for a machine with this much RAM.
    pub fn open_for(path: impl AsRef<Path>, ram: MemorySize) -> Result<Self, ProgramError> {
        Ok(Image::open(path.as_ref(), ram).map_err(ProgramError::Image)?.into())
    }

    /// A flat image of these bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ImageError> {
        Ok(Image::from_bytes(bytes)?.into())
    }

    /// Takes what is known of a flat image from the ELF file that it was made of. With an error nothing is, or only
    /// names are.
    pub fn add_elf(&mut self, path: &Path) -> Result<(), SegmentsError> {
        match segments(path, &self.image) {
            Ok(segments) => {
                self.elf = Some(path.into());
                self.segments = Some(segments);
                Ok(())
            }
            Err(error) => {
                if let SegmentsError::Unusable { .. } = error {
                    self.elf = Some(path.into());
                }
                Err(error)
            }
        }
    }

    /// The flat image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The ELF file with its names and lines, if there is one.
    pub fn elf(&self) -> Option<&Path> {
        self.elf.as_deref()
    }

    /// What lies where in RAM: where segments are known, code and constants are read-only and there is a hole below the
    /// stack.
    pub fn memory_map(
        &self,
        ram: MemorySize,
        stack: Option<MemorySize>,
    ) -> Result<MemoryMap, MemoryMapError> {
        let map = match stack {
            Some(stack) => MemoryMap::with_stack(ram, stack)?,
            None => ram.into(),
        };
        let Some(segments) = &self.segments else { return Ok(map) };
        // What can be written may be longer in the image than the file says, and must not lie in the hole all the
        // same: nothing, where it ends.
        let end = self.image.bytes().len() as u32;
        let mut segments = segments.clone();
        segments.push(Segment { start: end, end: end.into(), writable: true });
        map.protecting(&segments)
    }
}
