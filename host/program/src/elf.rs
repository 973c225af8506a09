//! What an ELF file says of memory: segments and sections, read without the rest of the file.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use flatland_x86::Segment;
use flatland_x86::instruction::Read;
use object::elf::{self, FileHeader32, ProgramHeader32};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, ReadRef};

use crate::Image;

const LE: LittleEndian = LittleEndian;

/// Why an ELF file says nothing of a guest's memory.
#[derive(Debug)]
#[non_exhaustive]
pub enum SegmentsError {
    /// It cannot be made sense of.
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is something else.
    NoElfFile {
        /// The file.
        path: PathBuf,
    },
    /// Another image was made of it.
    OfAnotherImage {
        /// The file.
        path: PathBuf,
        /// The first byte that is not the image's.
        address: u32,
    },
}

impl fmt::Display for SegmentsError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Unusable { path, why } => {
                write!(f, "memory is not protected, because {} {why}", path.display())?;
            }
            Self::NoElfFile { path } => write!(
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

impl Error for SegmentsError {}

/// What this image takes of RAM, from its ELF file.
pub fn segments(path: &Path, image: &Image) -> Result<Vec<Segment>, SegmentsError> {
    let failed = |why: String| SegmentsError::Unusable { path: path.into(), why };
    let file = match File::open(path) {
        // What is read here must be there again when there is something to report.
        Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_file()) => file,
        Ok(_) => return Err(SegmentsError::NoElfFile { path: path.into() }),
        Err(error) => return Err(failed(format!("cannot be read ({error})"))),
    };
    let data = ReadCache::new(file);
    match data.read_bytes_at(0, elf::ELFMAG.len() as u64) {
        Ok(magic) if magic == elf::ELFMAG => {}
        _ => return Err(SegmentsError::NoElfFile { path: path.into() }),
    }
    let header = header(&data).ok_or_else(|| failed("is not of a 32-bit x86 program".into()))?;
    let broken = |error| failed(format!("is broken ({error})"));
    let headers = header.program_headers(LE, &data).map_err(broken)?;
    let read = |address: u32, to: &mut [u8]| {
        let from = image.bytes().get(address as usize..).unwrap_or_default();
        let len = from.len().min(to.len());
        to[..len].copy_from_slice(&from[..len]);
        len
    };
    if let Some(address) = first_difference(header, &data, &read) {
        return Err(SegmentsError::OfAnotherImage { path: path.into(), address });
    }
    let segments: Vec<_> = headers
        .iter()
        .filter(|header| header.p_type(LE) == elf::PT_LOAD && header.p_memsz(LE) > 0)
        .map(|header| Segment {
            start: header.p_vaddr(LE),
            end: u64::from(header.p_vaddr(LE)) + u64::from(header.p_memsz(LE)),
            writable: header.p_flags(LE).0 & elf::PF_W.0 != 0,
        })
        .collect();
    if segments.is_empty() {
        return Err(failed("has no loadable segments".into()));
    }
    Ok(segments)
}

/// The first address at which the file of a 32-bit x86 program has something else than memory. Only what cannot be
/// written counts: a program may be given other data.
#[cfg(feature = "symbols")]
pub fn differs(path: &Path, read: Read) -> Option<u32> {
    let data = ReadCache::new(File::open(path).ok()?);
    first_difference(header(&data)?, &data, read)
}

fn first_difference<'a>(
    header: &FileHeader32<LittleEndian>,
    data: impl ReadRef<'a>,
    read: Read,
) -> Option<u32> {
    let is_constant = |header: &&ProgramHeader32<LittleEndian>| {
        header.p_type(LE) == elf::PT_LOAD && header.p_flags(LE).0 & elf::PF_W.0 == 0
    };
    header.program_headers(LE, data).ok()?.iter().filter(is_constant).find_map(|header| {
        // What a broken file does not have cannot be compared.
        let bytes = header.data(LE, data).ok()?;
        let mut found = [0; 4096];
        bytes.chunks(found.len()).enumerate().find_map(|(index, expected)| {
            let start = u64::from(header.p_vaddr(LE)) + (index * found.len()) as u64;
            // Behind the image RAM is zeros, and so is what there is no address for.
            let there = u32::try_from(start).map_or(0, |start| read(start, &mut found));
            found[there..].fill(0);
            let differs = expected.iter().zip(&found).position(|(expected, found)| expected != found)?;
            Some(u32::try_from(start + differs as u64).unwrap_or(u32::MAX))
        })
    })
}

/// The name of the section that an address lies in.
#[cfg(feature = "symbols")]
pub fn section(path: &Path, address: u32) -> Option<String> {
    use object::read::elf::SectionHeader;

    let data = ReadCache::new(File::open(path).ok()?);
    let sections = header(&data)?.sections(LE, &data).ok()?;
    let section = sections.iter().find(|section| {
        let (start, size) = (section.sh_addr(LE), section.sh_size(LE));
        section.sh_flags(LE).0 & elf::SHF_ALLOC.0 != 0
            && address.checked_sub(start).is_some_and(|at| at < size)
    })?;
    Some(String::from_utf8_lossy(sections.section_name(LE, section).ok()?).into_owned())
}

/// The file's header, if it is a statically linked 32-bit x86 program's.
fn header<'a>(data: impl ReadRef<'a>) -> Option<&'a FileHeader32<LittleEndian>> {
    let header = FileHeader32::<LittleEndian>::parse(data).ok()?;
    let fits = header.e_ident.data == elf::ELFDATA2LSB
        && header.e_machine.get(LE) == elf::EM_386
        && header.e_type.get(LE) == elf::ET_EXEC;
    fits.then_some(header)
}
