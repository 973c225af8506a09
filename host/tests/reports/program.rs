//! ELF files of hand-assembled images, with a symbol for each function.

use super::Case;
use super::elf::{Section, elf_with_functions};

/// The address of the constants, on a page of their own. The variables are on the next page.
pub const CONSTANTS: u32 = 0x1000;
pub const VARIABLES: u32 = 0x2000;

pub fn of(case: &Case) -> Vec<u8> {
    let mut code = case.code.to_vec();
    if case.is_of_another_image {
        code[1] ^= 1;
    }
    let functions = case.functions.iter().enumerate().map(|(index, (name, start))| {
        let end = case.functions.get(index + 1).map_or(code.len() as u32, |(_, next)| *next);
        (*name, *start, end - start)
    });
    let sections = [
        Section::code(&code),
        Section::zeroed(".rodata", CONSTANTS, 0x10, false),
        Section::zeroed(".bss", VARIABLES, 0x10, true),
    ];
    elf_with_functions(&sections, &functions.collect::<Vec<_>>())
}
