//! Makes ELF files of 32-bit x86 programs, of any contents (System V ABI, chapters 4 and 5).

// Each test program uses only a part of this.
#![allow(dead_code)]

pub const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
pub const SHT_NOBITS: u32 = 8;

pub const SHF_WRITE: u32 = 1;
pub const SHF_ALLOC: u32 = 2;
pub const SHF_EXECINSTR: u32 = 4;

const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;

/// A section. Where it is in memory (SHF_ALLOC), it is also a segment.
#[derive(Clone, Copy, Default)]
pub struct Section<'a> {
    pub name: &'a str,
    /// SHT_*
    pub kind: u32,
    /// SHF_*
    pub flags: u32,
    pub address: u32,
    /// Its size in memory, in bytes. That of what is not in memory is the number of `bytes`.
    pub size: u32,
    /// What is in the file.
    pub bytes: &'a [u8],
}

impl<'a> Section<'a> {
    /// Code at address 0.
    pub fn code(bytes: &'a [u8]) -> Self {
        let (flags, size) = (SHF_ALLOC | SHF_EXECINSTR, bytes.len() as u32);
        Self { name: ".text", kind: SHT_PROGBITS, flags, address: 0, size, bytes }
    }

    /// Something for the host alone, which is not loaded.
    pub fn not_loaded(name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, kind: SHT_PROGBITS, bytes, ..Self::default() }
    }

    /// Memory of which nothing is in the file.
    pub const fn zeroed(name: &'a str, address: u32, size: u32, is_writable: bool) -> Self {
        let flags = if is_writable { SHF_ALLOC | SHF_WRITE } else { SHF_ALLOC };
        Self { name, kind: SHT_NOBITS, flags, address, size, bytes: &[] }
    }

    fn is_loaded(&self) -> bool {
        self.flags & SHF_ALLOC != 0
    }

    fn segment_flags(&self) -> u32 {
        let flag = |section, segment| if self.flags & section != 0 { segment } else { 0 };
        PF_R | flag(SHF_WRITE, PF_W) | flag(SHF_EXECINSTR, PF_X)
    }
}

/// The file with these sections.
pub fn elf(sections: &[Section]) -> Vec<u8> {
    elf_with_functions(sections, &[])
}

/// The same with symbols of functions: the name, first address and size in bytes of each. They are in the first section.
pub fn elf_with_functions(sections: &[Section], functions: &[(&str, u32, u32)]) -> Vec<u8> {
    const HEADER: u32 = 52;
    const SEGMENT_HEADER: u32 = 32;
    const SECTION_HEADER: u32 = 40;
    const SYMBOL: u32 = 16;
    // The bytes behind this many segment headers lie there.
    let loaded = sections.iter().filter(|section| section.is_loaded());
    let contents_at = HEADER + loaded.count() as u32 * SEGMENT_HEADER;
    let (mut contents, mut segments, mut names) = (Vec::new(), Vec::new(), Strings::default());
    // The first section is none.
    let mut headers = vec![[0; 10]];
    let mut add = |name, kind, flags, address, size, bytes: &[u8], [link, info, align, entry]: [u32; 4]| {
        let at = contents_at + contents.len() as u32;
        headers.push([names.add(name), kind, flags, address, at, size, link, info, align, entry]);
        contents.extend_from_slice(bytes);
        at
    };
    for section in sections {
        let Section { name, kind, flags, address, size, bytes } = *section;
        let size_in_file = bytes.len() as u32;
        let size = if section.is_loaded() { size } else { size_in_file };
        let at = add(name, kind, flags, address, size, bytes, [0, 0, 1, 0]);
        if section.is_loaded() {
            // PT_LOAD
            segments.push([1, at, address, address, size_in_file, size, section.segment_flags(), 1]);
        }
    }
    if !functions.is_empty() {
        let mut function_names = Strings::default();
        let mut symbols = words(&[0; 4]);
        for (name, start, size) in functions {
            symbols.extend(words(&[function_names.add(name), *start, *size]));
            // STB_GLOBAL, STT_FUNC
            symbols.extend([0x12, 0]);
            symbols.extend(halves(&[1]));
        }
        let names_are_in = sections.len() as u32 + 2;
        let of_symbols = [names_are_in, 1, 4, SYMBOL];
        add(".symtab", SHT_SYMTAB, 0, 0, symbols.len() as u32, &symbols, of_symbols);
        let bytes = function_names.bytes();
        add(".strtab", SHT_STRTAB, 0, 0, bytes.len() as u32, bytes, [0, 0, 1, 0]);
    }
    // Its own name is among those that it has.
    let name = names.add(".shstrtab");
    let bytes = names.bytes();
    let at = contents_at + contents.len() as u32;
    headers.push([name, SHT_STRTAB, 0, 0, at, bytes.len() as u32, 0, 0, 1, 0]);
    contents.extend_from_slice(bytes);

    let (segment_count, section_count) = (segments.len() as u16, headers.len() as u16);
    let sections_at = contents_at + contents.len() as u32;
    let sizes = [HEADER, SEGMENT_HEADER, segment_count.into(), SECTION_HEADER].map(|size| size as u16);
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // ET_EXEC, EM_386
    file.extend(halves(&[2, 3]));
    file.extend(words(&[1, 0, HEADER, sections_at, 0]));
    file.extend(halves(&sizes));
    file.extend(halves(&[section_count, section_count - 1]));
    segments.iter().for_each(|header| file.extend(words(header)));
    file.extend(contents);
    headers.iter().for_each(|header| file.extend(words(header)));
    file
}

/// A table of strings, which begins with an empty one.
#[derive(Default)]
struct Strings(Vec<u8>);

impl Strings {
    /// Returns where the string begins.
    fn add(&mut self, text: &str) -> u32 {
        self.bytes();
        let at = self.0.len() as u32;
        self.0.extend(text.bytes().chain([0]));
        at
    }

    fn bytes(&mut self) -> &[u8] {
        if self.0.is_empty() {
            self.0.push(0);
        }
        &self.0
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn halves(halves: &[u16]) -> Vec<u8> {
    halves.iter().flat_map(|half| half.to_le_bytes()).collect()
}
