//! Which function really begins at address 0.

use crate::Elf;

/// The address that the linker gives to discarded functions: `dead-reloc-in-nonalloc` in i686-bare.json.
pub const NOWHERE: u32 = 0xf000_0000;

/// The symbol table's information about address 0, and about the code that may begin there.
#[derive(Default)]
pub struct AtZero {
    /// The length of the function at 0: several if it has several names, none if it is unknown.
    pub functions: Vec<u32>,
    /// The ends of functions and of code sections, in order.
    pub ends: Vec<u32>,
    /// The start of the first function of known size.
    pub first: Option<u32>,
}

impl AtZero {
    pub fn of<'data, R: object::ReadRef<'data>>(elf: &Elf<'data, R>) -> Self {
        let symbols = elf.symbols().unwrap_or_default();
        let functions = symbols.iter().filter(|symbol| symbol.is_code && symbol.size > 0);
        let sections = elf.sections().unwrap_or_default();
        let code = sections.iter().filter(|section| section.is_code);
        let mut ends: Vec<_> = code.map(|section| section.start.saturating_add(section.size)).collect();
        ends.extend(functions.clone().map(|symbol| symbol.start.saturating_add(symbol.size)));
        ends.sort_unstable();
        let first = functions.clone().next().map(|symbol| symbol.start);
        let at_zero = functions.take_while(|symbol| symbol.start == 0);
        Self { functions: at_zero.map(|symbol| symbol.size).collect(), ends, first }
    }

    pub fn is_function(&self, len: u32) -> bool {
        self.functions.contains(&len)
    }

    /// Whether code of this length ends where a function of known size ends, as the code of an object file does.
    pub fn is_end(&self, len: u32) -> bool {
        self.ends.binary_search(&len).is_ok()
    }

    /// Whether code of this length may be assembly, which often has no symbol sizes: it ends before the first sized symbol.
    pub fn may_be_assembly(&self, len: u32) -> bool {
        self.functions.is_empty() && self.first.is_none_or(|first| len <= first)
    }

    /// Which of the items that begin at 0, with their lengths, were discarded: all but the one that meets the first
    /// criterion that any item meets. If several meet it, all were discarded.
    pub fn dropped<T>(&self, things: Vec<(u32, T)>, criteria: &[fn(&Self, u32) -> bool]) -> Vec<T> {
        let meeting = |is_met: &fn(&Self, u32) -> bool| -> Vec<usize> {
            things
                .iter()
                .enumerate()
                .filter(|(_, (len, _))| is_met(self, *len))
                .map(|(index, _)| index)
                .collect()
        };
        let first = criteria.iter().map(meeting).find(|met| !met.is_empty());
        let kept = first.filter(|met| met.len() == 1).map(|met| met[0]);
        let all = things.into_iter().enumerate();
        all.filter(|(index, _)| Some(*index) != kept).map(|(_, (_, thing))| thing).collect()
    }
}
