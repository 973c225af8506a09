//! ELF files of hand-assembled images: segments, and a symbol for each function (System V ABI, chapter 4).

use super::Case;

const HEADER: u32 = 52;
/// The address of the constants, on a page of their own. The variables are on the next page.
pub const CONSTANTS: u32 = 0x1000;
pub const VARIABLES: u32 = 0x2000;

pub fn of(case: &Case) -> Vec<u8> {
    let mut code = case.code.to_vec();
    if case.is_of_another_image {
        code[1] ^= 1;
    }
    let names = |names: &[&str]| -> Vec<u8> {
        [0].into_iter().chain(names.iter().flat_map(|name| [name.as_bytes(), &[0]].concat())).collect()
    };
    let offset = |names: &[&str], of: usize| -> u32 {
        1 + names[..of].iter().map(|name| name.len() as u32 + 1).sum::<u32>()
    };
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>();

    let sections = [".text", ".rodata", ".bss", ".symtab", ".strtab"];
    let functions: Vec<_> = case.functions.iter().map(|(name, _)| *name).collect();
    let code_size = code.len() as u32;
    let mut symbols = words(&[0; 4]);
    for (index, (_, start)) in case.functions.iter().enumerate() {
        let end = case.functions.get(index + 1).map_or(code_size, |(_, next)| *next);
        symbols.extend(words(&[offset(&functions, index), *start, end - start]));
        // STB_GLOBAL, STT_FUNC; in the first section.
        symbols.extend([0x12, 0]);
        symbols.extend(halves(&[1]));
    }
    let section_names = names(&sections);
    let function_names = names(&functions);

    let code_at = HEADER + 3 * 32;
    let symbols_at = code_at + code_size;
    let functions_at = symbols_at + symbols.len() as u32;
    let names_at = functions_at + function_names.len() as u32;
    let sections_at = names_at + section_names.len() as u32;

    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // ET_EXEC, EM_386; 3 segments, and 7 sections, of which the last one names the others.
    file.extend(halves(&[2, 3]));
    file.extend(words(&[1, 0, HEADER, sections_at, 0]));
    file.extend(halves(&[HEADER as u16, 32, 3, 40, 7, 6]));
    // PT_LOAD: code, constants and variables; PF_R, and PF_W.
    file.extend(words(&[1, code_at, 0, 0, code_size, code_size, 5, 1]));
    file.extend(words(&[1, 0, CONSTANTS, CONSTANTS, 0, 0x10, 4, 1]));
    file.extend(words(&[1, 0, VARIABLES, VARIABLES, 0, 0x10, 6, 1]));
    file.extend(&code);
    file.extend(&symbols);
    file.extend(&function_names);
    file.extend(&section_names);
    file.extend([0; 40]);
    let name = |index| offset(&sections, index);
    // SHT_PROGBITS, SHT_NOBITS, SHT_SYMTAB and SHT_STRTAB; SHF_ALLOC, with SHF_EXECINSTR or SHF_WRITE.
    file.extend(words(&[name(0), 1, 6, 0, code_at, code_size, 0, 0, 1, 0]));
    file.extend(words(&[name(1), 8, 2, CONSTANTS, 0, 0x10, 0, 0, 1, 0]));
    file.extend(words(&[name(2), 8, 3, VARIABLES, 0, 0x10, 0, 0, 1, 0]));
    file.extend(words(&[name(3), 2, 0, 0, symbols_at, symbols.len() as u32, 5, 1, 4, 16]));
    file.extend(words(&[name(4), 3, 0, 0, functions_at, function_names.len() as u32, 0, 0, 1, 0]));
    file.extend(words(&[0, 3, 0, 0, names_at, section_names.len() as u32, 0, 0, 1, 0]));
    file
}
