//! Makes ELF files of any contents.

/// An ELF file of a 32-bit x86 program with this code at address 0, and with these other sections, which are not loaded (System V
/// ABI, chapters 4 and 5).
pub fn elf(code: &[u8], sections: &[(&str, &[u8])]) -> Vec<u8> {
    const HEADER: u32 = 52;
    const SEGMENT: u32 = 32;
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>();
    let mut names = vec![0];
    // Of each section: its name, type, flags, and contents. The first one is none, and the last one has the names.
    let mut headers = vec![[0; 10]];
    let mut contents: Vec<u8> = Vec::new();
    // SHT_PROGBITS, SHF_ALLOC and SHF_EXECINSTR; SHT_STRTAB
    let loaded = [(".text", 1, 6, code)];
    let others = sections.iter().map(|(name, bytes)| (*name, 1, 0, *bytes));
    for (name, kind, flags, bytes) in loaded.into_iter().chain(others).chain([(".shstrtab", 3, 0, &[][..])]) {
        let at = HEADER + SEGMENT + contents.len() as u32;
        headers.push([names.len() as u32, kind, flags, 0, at, bytes.len() as u32, 0, 0, 1, 0]);
        names.extend([name.as_bytes(), &[0]].concat());
        contents.extend(bytes);
    }
    let count = headers.len() as u16;
    headers[usize::from(count) - 1][5] = names.len() as u32;
    contents.extend(&names);

    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // ET_EXEC, EM_386
    file.extend(halves(&[2, 3]));
    file.extend(words(&[1, 0, HEADER, HEADER + SEGMENT + contents.len() as u32, 0]));
    file.extend(halves(&[HEADER as u16, SEGMENT as u16, 1, 40, count, count - 1]));
    // PT_LOAD; PF_R, PF_W and PF_X
    let len = code.len() as u32;
    file.extend(words(&[1, HEADER + SEGMENT, 0, 0, len, len, 7, 1]));
    file.extend(contents);
    headers.iter().for_each(|header| file.extend(words(header)));
    file
}
