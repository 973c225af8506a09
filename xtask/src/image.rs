//! Flat images from ELF files: the loadable segments, each at its place, from address 0 on.

use std::path::Path;
use std::{fmt, fs};

use flatland_contract::memory::{ENTRY, LOAD_ADDRESS, MAX_RAM_SIZE};
use flatland_contract::test::SECTION;
use object::elf::{self, FileHeader32};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, pod};

/// A flat image.
#[derive(Debug, PartialEq, Eq)]
pub struct Flat {
    /// What lies in RAM from address 0 on.
    pub bytes: Vec<u8>,
    /// Where what the program takes of RAM ends, with what begins as zeros.
    pub end: u64,
}

/// Whether a program that was built for its tests has any.
pub fn has_tests(path: &Path) -> bool {
    let file = fs::read(path).unwrap_or_default();
    let section = |header: &FileHeader32<LittleEndian>| {
        let sections = header.sections(LittleEndian, &*file).ok()?;
        sections.section_by_name(LittleEndian, SECTION.as_bytes()).map(|_| ())
    };
    pod::from_bytes(&file).ok().and_then(|(header, _)| section(header)).is_some()
}

/// The flat image of a statically linked i686 program: a byte for each address from 0 up to the last one
/// that the file has a byte for. RAM is zeroed, so what comes behind that (`.bss`) needs none.
pub fn flatten(file: &[u8]) -> Result<Flat, ImageError> {
    let broken = |error: object::Error| ImageError::Broken(error.to_string());
    let (header, _) = pod::from_bytes::<FileHeader32<LittleEndian>>(file).map_err(|()| ImageError::NotElf)?;
    if header.e_ident.magic != elf::ELFMAG
        || header.e_ident.class != elf::ELFCLASS32
        || header.e_ident.data != elf::ELFDATA2LSB
        || header.e_machine.get(LittleEndian) != elf::EM_386
    {
        return Err(ImageError::NotElf);
    }
    let headers = header.program_headers(LittleEndian, file).map_err(broken)?;
    let dynamic = |header: &&_| {
        matches!(ProgramHeader::p_type(*header, LittleEndian), elf::PT_DYNAMIC | elf::PT_INTERP)
    };
    if header.e_type.get(LittleEndian) != elf::ET_EXEC || headers.iter().find(dynamic).is_some() {
        return Err(ImageError::NotStatic);
    }

    let mut segments = Vec::new();
    for header in headers.iter().filter(|header| header.p_type(LittleEndian) == elf::PT_LOAD) {
        let segment = Segment {
            start: header.p_vaddr(LittleEndian),
            size: header.p_memsz(LittleEndian),
            bytes: header.data(LittleEndian, file).map_err(|()| {
                ImageError::Broken(format!(
                    "the bytes of the segment at {:#x} are not in the file",
                    header.p_vaddr(LittleEndian)
                ))
            })?,
        };
        if segment.size == 0 {
            continue;
        }
        if header.p_paddr(LittleEndian) != segment.start {
            return Err(ImageError::Moved { segment: segment.start, to: header.p_paddr(LittleEndian) });
        }
        if segment.bytes.len() > segment.size as usize {
            return Err(ImageError::Broken(format!(
                "the segment at {:#x} has more bytes in the file than in memory",
                segment.start
            )));
        }
        if segment.end() > u64::from(MAX_RAM_SIZE) {
            return Err(ImageError::OutsideRam { start: segment.start, end: segment.end() });
        }
        segments.push(segment);
    }
    segments.sort_by_key(|segment| segment.start);
    if let Some(pair) = segments.windows(2).find(|pair| pair[0].end() > u64::from(pair[1].start)) {
        return Err(ImageError::Overlap(pair[0].start, pair[1].start));
    }

    let entry = header.e_entry.get(LittleEndian);
    if entry != ENTRY {
        return Err(ImageError::Entry(entry));
    }
    let mut image = Vec::new();
    for segment in segments.iter().filter(|segment| !segment.bytes.is_empty()) {
        image.resize((segment.start - LOAD_ADDRESS) as usize, 0);
        image.extend_from_slice(segment.bytes);
    }
    match segments.first() {
        Some(first) if first.start == LOAD_ADDRESS && !first.bytes.is_empty() => {
            let end = segments.iter().map(Segment::end).max().unwrap_or(0);
            Ok(Flat { bytes: image, end })
        }
        _ => Err(ImageError::NothingAtEntry),
    }
}

/// A loadable segment.
struct Segment<'a> {
    start: u32,
    /// Bytes in memory; what the file does not have is zero.
    size: u32,
    bytes: &'a [u8],
}

impl Segment<'_> {
    fn end(&self) -> u64 {
        u64::from(self.start) + u64::from(self.size)
    }
}

/// Why an ELF file makes no flat image.
#[derive(Debug, PartialEq, Eq)]
pub enum ImageError {
    NotElf,
    NotStatic,
    Broken(String),
    Entry(u32),
    NothingAtEntry,
    Overlap(u32, u32),
    OutsideRam { start: u32, end: u64 },
    Moved { segment: u32, to: u32 },
}

impl fmt::Display for ImageError {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::elf::{Ident, ProgramHeader32};
    use object::{U16, U32};

    /// One program header, with its bytes.
    #[derive(Clone)]
    struct Load {
        p_type: elf::ProgramType,
        address: u32,
        load_address: u32,
        size: u32,
        bytes: &'static [u8],
    }

    fn load(address: u32, bytes: &'static [u8]) -> Load {
        let size = bytes.len() as u32;
        Load { p_type: elf::PT_LOAD, address, load_address: address, size, bytes }
    }

    fn bss(address: u32, size: u32) -> Load {
        Load { size, ..load(address, b"") }
    }

    const LE: LittleEndian = LittleEndian;
    const HEADER_SIZE: usize = size_of::<FileHeader32<LittleEndian>>();
    const PROGRAM_HEADER_SIZE: usize = size_of::<ProgramHeader32<LittleEndian>>();

    /// A well-formed i686 executable with these segments and this entry.
    fn elf_file(entry: u32, loads: &[Load]) -> Vec<u8> {
        let mut headers = Vec::new();
        let mut bytes = Vec::new();
        let data_start = HEADER_SIZE + loads.len() * PROGRAM_HEADER_SIZE;
        for load in loads {
            let header = ProgramHeader32 {
                p_type: U32::new(LE, load.p_type),
                p_offset: U32::new(LE, (data_start + bytes.len()) as u32),
                p_vaddr: U32::new(LE, load.address),
                p_paddr: U32::new(LE, load.load_address),
                p_filesz: U32::new(LE, load.bytes.len() as u32),
                p_memsz: U32::new(LE, load.size),
                p_flags: U32::new(LE, elf::PF_R),
                p_align: U32::new(LE, 1),
            };
            headers.extend_from_slice(pod::bytes_of(&header));
            bytes.extend_from_slice(load.bytes);
        }
        let header = FileHeader32 {
            e_ident: Ident {
                magic: elf::ELFMAG,
                class: elf::ELFCLASS32,
                data: elf::ELFDATA2LSB,
                version: elf::EV_CURRENT,
                os_abi: elf::ELFOSABI_NONE,
                abi_version: 0,
                padding: [0; 7],
            },
            e_type: U16::new(LE, elf::ET_EXEC),
            e_machine: U16::new(LE, elf::EM_386),
            e_version: U32::new(LE, elf::EV_CURRENT.0.into()),
            e_entry: U32::new(LE, entry),
            e_phoff: U32::new(LE, HEADER_SIZE as u32),
            e_shoff: U32::new(LE, 0),
            e_flags: U32::new(LE, elf::FileFlags(0)),
            e_ehsize: U16::new(LE, HEADER_SIZE as u16),
            e_phentsize: U16::new(LE, PROGRAM_HEADER_SIZE as u16),
            e_phnum: U16::new(LE, loads.len() as u16),
            e_shentsize: U16::new(LE, 0),
            e_shnum: U16::new(LE, 0),
            e_shstrndx: U16::new(LE, elf::SHN_UNDEF),
        };
        [pod::bytes_of(&header), &headers, &bytes].concat()
    }

    fn bytes(file: &[u8]) -> Vec<u8> {
        flatten(file).expect("it makes an image").bytes
    }

    #[test]
    fn segments_lie_at_their_addresses_and_gaps_are_zero() {
        let file = elf_file(0, &[load(0, b"code"), load(8, b"data")]);
        assert_eq!(bytes(&file), b"code\0\0\0\0data");
    }

    #[test]
    fn the_order_of_the_headers_does_not_matter() {
        let file = elf_file(0, &[load(8, b"data"), load(0, b"code")]);
        assert_eq!(bytes(&file), b"code\0\0\0\0data");
    }

    #[test]
    fn bss_behind_everything_takes_no_bytes() {
        let partly = Load { size: 0x1000, ..load(4, b"data") };
        assert_eq!(bytes(&elf_file(0, &[load(0, b"code"), partly])), b"codedata");
        let file = elf_file(0, &[load(0, b"code"), bss(0x1000, 0x10_0000)]);
        assert_eq!(flatten(&file).unwrap().end, 0x10_1000);
        assert_eq!(bytes(&file), b"code");
    }

    #[test]
    fn bss_between_segments_is_zero() {
        let partly = Load { size: 8, ..load(0, b"code") };
        assert_eq!(bytes(&elf_file(0, &[partly, load(8, b"data")])), b"code\0\0\0\0data");
    }

    #[test]
    fn what_is_not_loaded_is_left_out() {
        let note = Load { p_type: elf::PT_NOTE, ..load(0x5000, b"note") };
        let empty = load(0xffff_0000, b"");
        assert_eq!(bytes(&elf_file(0, &[load(0, b"code"), note, empty])), b"code");
    }

    #[test]
    fn the_entry_is_at_0() {
        assert_eq!(flatten(&elf_file(4, &[load(0, b"codecode")])), Err(ImageError::Entry(4)));
        assert_eq!(flatten(&elf_file(0, &[load(4, b"code")])), Err(ImageError::NothingAtEntry));
        assert_eq!(flatten(&elf_file(0, &[bss(0, 4), load(4, b"code")])), Err(ImageError::NothingAtEntry));
        assert_eq!(flatten(&elf_file(0, &[])), Err(ImageError::NothingAtEntry));
    }

    #[test]
    fn segments_above_ram_are_refused() {
        let top = MAX_RAM_SIZE;
        let outside = |start, end| Err(ImageError::OutsideRam { start, end });
        assert_eq!(flatten(&elf_file(0, &[load(0, b"code"), load(top, b"x")])), outside(top, 0xf000_0001));
        assert_eq!(
            flatten(&elf_file(0, &[load(0, b"code"), bss(top - 1, 2)])),
            outside(top - 1, 0xf000_0001)
        );
        // An end beyond 4 GiB is no small one.
        assert_eq!(
            flatten(&elf_file(0, &[load(0, b"code"), bss(0xffff_fff0, 0x20)])),
            outside(0xffff_fff0, 0x1_0000_0010)
        );
        assert!(flatten(&elf_file(0, &[load(0, b"code"), bss(top - 1, 1)])).is_ok());
    }

    #[test]
    fn overlaps_are_refused() {
        assert_eq!(
            flatten(&elf_file(0, &[load(0, b"codecode"), load(7, b"data")])),
            Err(ImageError::Overlap(0, 7))
        );
        // With what is only in memory, too.
        let partly = Load { size: 16, ..load(0, b"code") };
        assert_eq!(flatten(&elf_file(0, &[partly, load(8, b"data")])), Err(ImageError::Overlap(0, 8)));
    }

    #[test]
    fn segments_to_be_moved_are_refused() {
        let moved = Load { load_address: 0x100, ..load(8, b"data") };
        assert_eq!(
            flatten(&elf_file(0, &[load(0, b"code"), moved])),
            Err(ImageError::Moved { segment: 8, to: 0x100 })
        );
    }

    #[test]
    fn other_files_are_refused() {
        let good = elf_file(0, &[load(0, b"code")]);
        let patched = |offset: usize, byte: u8| {
            let mut file = good.clone();
            file[offset] = byte;
            flatten(&file)
        };
        assert_eq!(flatten(b""), Err(ImageError::NotElf));
        assert_eq!(flatten(&good[..20]), Err(ImageError::NotElf));
        assert_eq!(flatten(&[0xf4; 100]), Err(ImageError::NotElf));
        assert_eq!(patched(4, elf::ELFCLASS64.0), Err(ImageError::NotElf));
        assert_eq!(patched(5, elf::ELFDATA2MSB.0), Err(ImageError::NotElf));
        assert_eq!(patched(18, elf::EM_68K.0 as u8), Err(ImageError::NotElf));
        // Position-independent executables are ET_DYN.
        assert_eq!(patched(16, elf::ET_DYN.0 as u8), Err(ImageError::NotStatic));
        let interpreter = Load { p_type: elf::PT_INTERP, ..load(0, b"/lib/ld.so") };
        assert_eq!(flatten(&elf_file(0, &[load(0, b"code"), interpreter])), Err(ImageError::NotStatic));
    }

    #[test]
    fn truncated_files_are_refused() {
        let good = elf_file(0, &[load(0, b"code"), load(8, b"data")]);
        for len in HEADER_SIZE..good.len() {
            let result = flatten(&good[..len]);
            assert!(matches!(result, Err(ImageError::Broken(_))), "{len} bytes: {result:?}");
        }
        let more = Load { size: 2, ..load(8, b"data") };
        assert!(matches!(flatten(&elf_file(0, &[load(0, b"code"), more])), Err(ImageError::Broken(_))));
    }
}
