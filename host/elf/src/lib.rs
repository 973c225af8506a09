#![doc = include_str!("../README.md")]

mod built_by;
mod dropped;
mod error;

use std::ops::Range;

use flatland_contract::memory::{ENTRY, LOAD_ADDRESS, MAX_RAM_SIZE};
use object::elf::{self, FileHeader32};
use object::read::SectionIndex;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use object::{LittleEndian, ReadRef};

pub use built_by::{command_of, note_command};
pub use dropped::{NOWHERE, remove_dropped};
pub use error::ElfError;

const LE: LittleEndian = LittleEndian;

/// An ELF file of a program. Its memory use is bounded by the file's length.
pub struct Elf<'data, R: ReadRef<'data>> {
    data: R,
    header: &'data FileHeader32<LittleEndian>,
    segments: Vec<Segment>,
}

/// A loadable segment that takes memory. Segments with only the file's headers and notes are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The address of the first byte.
    pub start: u32,
    /// Bytes in memory. Bytes beyond the file's are zero.
    pub size: u32,
    /// Whether the program may write to it.
    pub writable: bool,
    load_address: u32,
    offset: u32,
    file_size: u32,
}

/// A section that takes memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name, such as `.text`.
    pub name: String,
    /// The address of the first byte.
    pub start: u32,
    /// Bytes in memory.
    pub size: u32,
    /// Whether it begins as zeros, and has no bytes in the file.
    pub is_zeros: bool,
    /// Whether it holds instructions.
    pub is_code: bool,
}

/// A function or a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The name in the symbol table.
    pub name: String,
    /// The address of the first byte.
    pub start: u32,
    /// The size in bytes; 0 if it is unknown.
    pub size: u32,
    /// Whether it is a function.
    pub is_code: bool,
}

impl Segment {
    /// The address after the last byte.
    pub fn end(&self) -> u64 {
        u64::from(self.start) + u64::from(self.size)
    }

    /// Whether its bytes in the file are all in these ranges, which are sorted.
    fn lies_in(&self, ranges: &[Range<u64>]) -> bool {
        let mut at = u64::from(self.offset);
        let end = at + u64::from(self.file_size);
        for range in ranges {
            if range.start <= at {
                at = at.max(range.end);
            }
        }
        self.file_size == self.size && at >= end
    }
}

impl Section {
    /// Whether this address is in it.
    pub fn contains(&self, address: u32) -> bool {
        address.checked_sub(self.start).is_some_and(|offset| offset < self.size)
    }
}

fn broken(error: object::Error) -> ElfError {
    ElfError::Broken(error.to_string())
}

impl<'data, R: ReadRef<'data>> Elf<'data, R> {
    /// The most zero bytes that a flat image may have between the bytes of its segments: 256 MiB.
    pub const MOST_GAPS: u64 = 256 << 20;

    /// Reads the headers of an ELF file.
    pub fn parse(data: R) -> Result<Self, ElfError> {
        let header = data.read_at::<FileHeader32<LittleEndian>>(0).map_err(|()| ElfError::NotElf)?;
        if header.e_ident.magic != elf::ELFMAG
            || header.e_ident.class != elf::ELFCLASS32
            || header.e_ident.data != elf::ELFDATA2LSB
            || header.e_machine.get(LE) != elf::EM_386
        {
            return Err(ElfError::NotElf);
        }
        let len = data.len().unwrap_or(0);
        if len > ElfError::MOST_BYTES {
            return Err(ElfError::FileTooLarge);
        }
        let headers = header.program_headers(LE, data).map_err(broken)?;
        let is_dynamic =
            |header: &_| matches!(ProgramHeader::p_type(header, LE), elf::PT_DYNAMIC | elf::PT_INTERP);
        if header.e_type.get(LE) != elf::ET_EXEC || headers.iter().any(is_dynamic) {
            return Err(ElfError::NotStatic);
        }

        // Linkers load these at an unused address, such as 0x8048000, or over the segment at 0.
        let table = u64::from(header.e_phoff.get(LE));
        let mut not_program = vec![0..size_of_val(header) as u64, table..table + size_of_val(headers) as u64];
        let notes = headers.iter().filter(|header| header.p_type(LE) == elf::PT_NOTE).map(|header| {
            let start = u64::from(header.p_offset(LE));
            start..start + u64::from(header.p_filesz(LE))
        });
        not_program.extend(notes);
        not_program.sort_by_key(|range| range.start);

        let mut bytes = 0;
        let mut segments = Vec::new();
        for header in headers.iter().filter(|header| header.p_type(LE) == elf::PT_LOAD) {
            let segment = Segment {
                start: header.p_vaddr(LE),
                size: header.p_memsz(LE),
                writable: header.p_flags(LE).0 & elf::PF_W.0 != 0,
                load_address: header.p_paddr(LE),
                offset: header.p_offset(LE),
                file_size: header.p_filesz(LE),
            };
            bytes += u64::from(segment.file_size);
            if u64::from(segment.offset) + u64::from(segment.file_size) > len || bytes > len {
                return Err(ElfError::Broken(format!(
                    "the bytes of the segment at {:#x} are not in the file",
                    segment.start
                )));
            }
            if segment.size == 0 {
                continue;
            }
            if segment.file_size > segment.size {
                return Err(ElfError::Broken(format!(
                    "the segment at {:#x} has more bytes in the file than in memory",
                    segment.start
                )));
            }
            if !segment.lies_in(&not_program) {
                segments.push(segment);
            }
        }
        segments.sort_by_key(|segment| segment.start);
        Ok(Self { data, header, segments })
    }

    /// The segments, sorted by address.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The address after the RAM that the program uses, with the parts that begin as zeros.
    pub fn end(&self) -> u64 {
        self.segments.iter().map(Segment::end).max().unwrap_or(0)
    }

    /// The flat image, of at most this many bytes: one byte for each address from 0 to the last one that has a byte
    /// in the file. RAM is zeroed, so the image does not contain trailing zeros (`.bss`).
    pub fn image(&self, most: u32) -> Result<Vec<u8>, ElfError> {
        for segment in &self.segments {
            if segment.load_address != segment.start {
                return Err(ElfError::Moved { segment: segment.start, to: segment.load_address });
            }
            if segment.end() > u64::from(MAX_RAM_SIZE) {
                return Err(ElfError::OutsideRam { start: segment.start, end: segment.end() });
            }
        }
        if let Some(pair) = self.segments.windows(2).find(|pair| pair[0].end() > u64::from(pair[1].start)) {
            return Err(ElfError::Overlap(pair[0].start, pair[1].start));
        }
        let entry = self.header.e_entry.get(LE);
        if entry != ENTRY {
            return Err(ElfError::Entry(entry));
        }
        let with_bytes = || self.segments.iter().filter(|segment| segment.file_size > 0);
        match self.segments.first() {
            Some(first) if first.start == LOAD_ADDRESS && first.file_size > 0 => {}
            _ => return Err(ElfError::NothingAtEntry),
        }
        let (mut size, mut gaps) = (0, 0);
        for segment in with_bytes() {
            gaps += u64::from(segment.start) - size;
            if gaps > Self::MOST_GAPS {
                return Err(ElfError::Sparse { segment: segment.start, gaps });
            }
            size = u64::from(segment.start) + u64::from(segment.file_size);
        }
        if size > most.into() {
            return Err(ElfError::TooLarge { size, most });
        }
        let mut image = Vec::with_capacity(size as usize);
        for segment in with_bytes() {
            image.resize((segment.start - LOAD_ADDRESS) as usize, 0);
            image.extend_from_slice(self.bytes(segment)?);
        }
        Ok(image)
    }

    /// The bytes of a segment in the file.
    fn bytes(&self, segment: &Segment) -> Result<&'data [u8], ElfError> {
        let bytes = self.data.read_bytes_at(segment.offset.into(), segment.file_size.into());
        bytes.map_err(|()| ElfError::Broken(format!("the segment at {:#x} cannot be read", segment.start)))
    }

    /// The first address at which memory differs from the file. `read` copies memory from an address, and returns how
    /// many bytes it could copy. Only read-only segments are compared: a program may be given other data.
    pub fn first_difference(&self, read: &dyn Fn(u32, &mut [u8]) -> usize) -> Result<Option<u32>, ElfError> {
        let mut found = [0; 4096];
        for segment in self.segments.iter().filter(|segment| !segment.writable) {
            let mut start = segment.start;
            for expected in self.bytes(segment)?.chunks(found.len()) {
                let there = read(start, &mut found);
                // RAM after the image is zero.
                found[there..].fill(0);
                if let Some(at) = expected.iter().zip(&found).position(|(expected, found)| expected != found)
                {
                    return Ok(start.checked_add(at as u32));
                }
                // No byte follows the last address.
                let Some(next) = start.checked_add(found.len() as u32) else { break };
                start = next;
            }
        }
        Ok(None)
    }

    fn section_table(&self) -> Result<SectionTable<'data, FileHeader32<LittleEndian>, R>, ElfError> {
        self.header.sections(LE, self.data).map_err(broken)
    }

    /// Copies names. The total length is limited to the file's length, since many names may share the same bytes.
    fn names(&self) -> impl FnMut(&[u8]) -> String {
        let mut room = self.data.len().unwrap_or(0);
        move |name| match room.checked_sub(name.len() as u64) {
            Some(rest) => {
                room = rest;
                String::from_utf8_lossy(name).into_owned()
            }
            None => "?".into(),
        }
    }

    /// The sections that take memory, in file order.
    pub fn sections(&self) -> Result<Vec<Section>, ElfError> {
        let mut name = self.names();
        let table = self.section_table()?;
        let in_memory = table
            .iter()
            .filter(|section| section.sh_flags(LE).0 & elf::SHF_ALLOC.0 != 0 && section.sh_size(LE) > 0);
        let sections = in_memory.map(|section| {
            Ok(Section {
                name: name(table.section_name(LE, section).map_err(broken)?),
                start: section.sh_addr(LE),
                size: section.sh_size(LE),
                is_zeros: section.sh_type(LE) == elf::SHT_NOBITS,
                is_code: section.sh_flags(LE).0 & elf::SHF_EXECINSTR.0 != 0,
            })
        });
        sections.collect()
    }

    /// The bytes of the section with this name, as in the file. None if it does not exist.
    pub fn section(&self, name: &str) -> Result<Option<&'data [u8]>, ElfError> {
        let table = self.section_table()?;
        let Some((_, section)) = table.section_by_name(LE, name.as_bytes()) else { return Ok(None) };
        if section.sh_flags(LE).0 & elf::SHF_COMPRESSED.0 != 0 {
            return Err(ElfError::Compressed(name.into()));
        }
        section.data(LE, self.data).map(Some).map_err(broken)
    }

    /// Functions and variables, sorted by address.
    pub fn symbols(&self) -> Result<Vec<Symbol>, ElfError> {
        let mut name = self.names();
        let table = self.section_table()?;
        let symbols = table.symbols(LE, self.data, elf::SHT_SYMTAB).map_err(broken)?;
        let is_in_code = |index| {
            table
                .section(SectionIndex(index))
                .is_ok_and(|section| section.sh_flags(LE).0 & elf::SHF_EXECINSTR.0 != 0)
        };
        let mut all: Vec<_> = symbols
            .iter()
            .filter(|symbol| symbol.is_definition(LE, symbols.strings()))
            .map(|symbol| Symbol {
                name: name(symbol.name(LE, symbols.strings()).unwrap_or(b"?")),
                start: symbol.st_value(LE),
                size: symbol.st_size(LE),
                is_code: symbol.st_type() != elf::STT_OBJECT && is_in_code(symbol.st_shndx(LE).0.into()),
            })
            .collect();
        all.sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::elf::{Ident, ProgramHeader32};
    use object::{U16, U32, pod};

    /// A program header, with its bytes.
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

    fn flatten(file: &[u8]) -> Result<Vec<u8>, ElfError> {
        Elf::parse(file)?.image(MAX_RAM_SIZE)
    }

    fn bytes(file: &[u8]) -> Vec<u8> {
        flatten(file).expect("it makes an image")
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
        assert_eq!(Elf::parse(&*file).unwrap().end(), 0x10_1000);
        assert_eq!(bytes(&file), b"code");
    }

    #[test]
    fn bss_between_segments_is_zero() {
        let partly = Load { size: 8, ..load(0, b"code") };
        assert_eq!(bytes(&elf_file(0, &[partly, load(8, b"data")])), b"code\0\0\0\0data");
    }

    #[test]
    fn parts_that_are_not_loaded_are_left_out() {
        let note = Load { p_type: elf::PT_NOTE, ..load(0x5000, b"note") };
        let empty = load(0xffff_0000, b"");
        assert_eq!(bytes(&elf_file(0, &[load(0, b"code"), note, empty])), b"code");
    }

    #[test]
    fn the_entry_is_at_0() {
        assert_eq!(flatten(&elf_file(4, &[load(0, b"codecode")])), Err(ElfError::Entry(4)));
        assert_eq!(flatten(&elf_file(0, &[load(4, b"code")])), Err(ElfError::NothingAtEntry));
        assert_eq!(flatten(&elf_file(0, &[bss(0, 4), load(4, b"code")])), Err(ElfError::NothingAtEntry));
        assert_eq!(flatten(&elf_file(0, &[])), Err(ElfError::NothingAtEntry));
    }

    #[test]
    fn segments_above_ram_are_refused() {
        let top = MAX_RAM_SIZE;
        let outside = |start, end| Err(ElfError::OutsideRam { start, end });
        assert_eq!(flatten(&elf_file(0, &[load(0, b"code"), load(top, b"x")])), outside(top, 0xf000_0001));
        assert_eq!(
            flatten(&elf_file(0, &[load(0, b"code"), bss(top - 1, 2)])),
            outside(top - 1, 0xf000_0001)
        );
        // An end beyond 4 GiB is not truncated.
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
            Err(ElfError::Overlap(0, 7))
        );
        // Also with a segment's zeros, which are only in memory.
        let partly = Load { size: 16, ..load(0, b"code") };
        assert_eq!(flatten(&elf_file(0, &[partly, load(8, b"data")])), Err(ElfError::Overlap(0, 8)));
    }

    #[test]
    fn segments_to_be_moved_are_refused() {
        let moved = Load { load_address: 0x100, ..load(8, b"data") };
        assert_eq!(
            flatten(&elf_file(0, &[load(0, b"code"), moved])),
            Err(ElfError::Moved { segment: 8, to: 0x100 })
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
        assert_eq!(flatten(b""), Err(ElfError::NotElf));
        assert_eq!(flatten(&good[..20]), Err(ElfError::NotElf));
        assert_eq!(flatten(&[0xf4; 100]), Err(ElfError::NotElf));
        assert_eq!(patched(4, elf::ELFCLASS64.0), Err(ElfError::NotElf));
        assert_eq!(patched(5, elf::ELFDATA2MSB.0), Err(ElfError::NotElf));
        assert_eq!(patched(18, elf::EM_68K.0 as u8), Err(ElfError::NotElf));
        // Position-independent executables are ET_DYN.
        assert_eq!(patched(16, elf::ET_DYN.0 as u8), Err(ElfError::NotStatic));
        let interpreter = Load { p_type: elf::PT_INTERP, ..load(0, b"/lib/ld.so") };
        assert_eq!(flatten(&elf_file(0, &[load(0, b"code"), interpreter])), Err(ElfError::NotStatic));
    }

    #[test]
    fn truncated_files_are_refused() {
        let good = elf_file(0, &[load(0, b"code"), load(8, b"data")]);
        for len in HEADER_SIZE..good.len() {
            let result = flatten(&good[..len]);
            assert!(matches!(result, Err(ElfError::Broken(_))), "{len} bytes: {result:?}");
        }
        let more = Load { size: 2, ..load(8, b"data") };
        assert!(matches!(flatten(&elf_file(0, &[load(0, b"code"), more])), Err(ElfError::Broken(_))));
    }

    #[test]
    fn headers_and_notes_are_no_program() {
        let note = Load { p_type: elf::PT_NOTE, ..load(0x8048_0000, b"note") };
        let mut file = elf_file(0, &[load(0, b"code"), load(0x8048_0000, b"----"), load(0, b"----"), note]);
        let offset = |number: usize| HEADER_SIZE + number * PROGRAM_HEADER_SIZE + 4;
        // The second segment is the note, the third one the headers.
        file.copy_within(offset(3)..offset(3) + 4, offset(1));
        let headers_size = (HEADER_SIZE + 4 * PROGRAM_HEADER_SIZE) as u32;
        for (at, value) in [(0, 0), (12, headers_size), (16, headers_size)] {
            file[offset(2) + at..offset(2) + at + 4].copy_from_slice(&value.to_le_bytes());
        }
        assert_eq!(bytes(&file), b"code");
        // Together with other bytes they are.
        for at in [12, 16] {
            file[offset(2) + at] += 1;
        }
        assert_eq!(flatten(&file), Err(ElfError::Overlap(0, 0)));
    }

    #[test]
    fn gaps_are_bounded() {
        let most = Elf::<&[u8]>::MOST_GAPS as u32;
        let far = |address| elf_file(0, &[load(0, b"code"), load(address, b"data")]);
        assert_eq!(
            flatten(&far(most + 5)),
            Err(ElfError::Sparse { segment: most + 5, gaps: u64::from(most) + 1 })
        );
        assert_eq!(
            flatten(&far(MAX_RAM_SIZE - 4)),
            Err(ElfError::Sparse { segment: MAX_RAM_SIZE - 4, gaps: u64::from(MAX_RAM_SIZE) - 8 })
        );
        let image = |most| Elf::parse(&*far(8)).unwrap().image(most);
        assert_eq!(image(12).unwrap().len(), 12);
        assert_eq!(image(11), Err(ElfError::TooLarge { size: 12, most: 11 }));
    }

    #[test]
    fn segments_have_no_more_bytes_than_the_file() {
        let mut file = elf_file(0, &[load(0, b"code"), load(0x1000, b"data")]);
        let len = file.len() as u32;
        for number in 0..2 {
            let header = HEADER_SIZE + number * PROGRAM_HEADER_SIZE;
            // p_offset, p_filesz and p_memsz
            for (at, value) in [(4, 0), (16, len), (20, len)] {
                file[header + at..header + at + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        assert!(matches!(flatten(&file), Err(ElfError::Broken(_))));
    }

    #[test]
    fn constants_are_compared_up_to_the_last_address() {
        static ZEROS: [u8; 0x3000] = [0; 0x3000];
        let difference = |loads: &[Load], memory: &[u8]| {
            let read = |address: u32, bytes: &mut [u8]| {
                let there = memory.get(address as usize..).unwrap_or_default();
                let len = there.len().min(bytes.len());
                bytes[..len].copy_from_slice(&there[..len]);
                len
            };
            Elf::parse(&*elf_file(0, loads)).unwrap().first_difference(&read).unwrap()
        };
        assert_eq!(difference(&[load(4, b"code")], b"....code"), None);
        assert_eq!(difference(&[load(4, b"code")], b"....coda"), Some(7));
        // RAM after the image is zero.
        assert_eq!(difference(&[load(4, b"code")], b"....co"), Some(6));
        assert_eq!(difference(&[load(4, b"co\0\0")], b"....co"), None);
        assert_eq!(difference(&[load(0, &ZEROS)], &[&ZEROS[..0x2001], &[1]].concat()), Some(0x2001));
        for start in [0xffff_f000, 0xffff_f001, 0xffff_e000, 0xffff_ffff] {
            assert_eq!(difference(&[load(start, &ZEROS)], b""), None);
        }
        assert_eq!(difference(&[load(0xffff_ffff, b"x")], b""), Some(0xffff_ffff));
    }
}
