//! What the page tables say about the address of a page fault (SDM volume 3, section 5.7).

use std::fmt;

use flatland_x86::instruction::{Read, word};
use flatland_x86::paging::{self, Entry, Missing, error_code};
use flatland_x86::{FaultKind, SystemRegisters};

/// A page fault: the access, and the page tables' entries for its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageFault {
    /// The linear address.
    pub linear: u32,
    /// The physical address, if the tables map one.
    pub physical: Option<u32>,
    /// Whether it was a write.
    pub is_write: bool,
    /// Whether it was made at privilege level 3.
    pub is_user: bool,
    /// The page directory's entry.
    pub directory: Option<Entry>,
    /// The page table's entry, if the directory's leads to one.
    pub table: Option<Entry>,
    /// Why the access was refused.
    pub refusal: Refusal,
}

/// Why the page tables refuse an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The last entry is not present.
    NotPresent,
    /// A reserved bit of the last entry is set.
    Reserved,
    /// A write to a page that is read-only.
    ReadOnly,
    /// An access at privilege level 3 to a page of the others.
    Supervisor,
    /// The entry at this physical address lies outside memory.
    Unreadable(u32),
    /// They do not: an older translation was in use.
    Outdated,
}

impl PageFault {
    /// For a fault with these registers, if it is a page fault. `read` reads physical memory.
    pub fn of(kind: &FaultKind, system: &SystemRegisters, read: Read) -> Option<Self> {
        let FaultKind::Exception { vector: 14, error_code: Some(code) } = *kind else { return None };
        let (linear, is_write, is_user) =
            (system.cr2, code & error_code::WRITE != 0, code & error_code::USER != 0);
        let walk = paging::walk(system.cr3, system.cr4, linear, |address| word(read, address));
        let refusal = match walk.physical {
            Err(Missing::NotPresent) => Refusal::NotPresent,
            Err(Missing::Reserved) => Refusal::Reserved,
            Err(Missing::Unreadable(address)) => Refusal::Unreadable(address),
            Ok(_) if is_user && !walk.all_have(paging::USER) => Refusal::Supervisor,
            Ok(_) if is_write && !walk.all_have(paging::WRITABLE) => Refusal::ReadOnly,
            Ok(_) => Refusal::Outdated,
        };
        let paging::Walk { directory, table, physical } = walk;
        Some(Self { linear, physical: physical.ok(), is_write, is_user, directory, table, refusal })
    }

    /// What was tried.
    pub fn access(&self) -> &'static str {
        if self.is_write { "write" } else { "read" }
    }
}

impl Refusal {
    /// A name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotPresent => "not-present",
            Self::Reserved => "reserved-bit",
            Self::ReadOnly => "read-only",
            Self::Supervisor => "supervisor",
            Self::Unreadable(_) => "outside-ram",
            Self::Outdated => "outdated",
        }
    }
}

/// `write to 0x00403000 in ring 3, physical 0x00004000: the page is read-only`.
impl fmt::Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let to = if self.is_write { "to" } else { "at" };
        write!(f, "{} {to} {:#010x}", self.access(), self.linear)?;
        if self.is_user {
            write!(f, " in ring 3")?;
        }
        if let Some(physical) = self.physical {
            write!(f, ", physical {physical:#010x}")?;
        }
        write!(f, ": {}", self.refusal)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NotPresent => write!(f, "the last entry is not present"),
            Self::Reserved => write!(f, "a reserved bit of the last entry is set"),
            Self::ReadOnly => write!(f, "the page is read-only"),
            Self::Supervisor => write!(f, "the page is not for ring 3"),
            Self::Unreadable(address) => write!(f, "the entry at {address:#010x} is outside RAM"),
            Self::Outdated => {
                write!(f, "the tables allow it now, so an older entry was in use: `invlpg` is missing")
            }
        }
    }
}

/// An entry's flags in words.
pub(super) fn flags(value: u32) -> String {
    if value & paging::PRESENT == 0 {
        return "not present".into();
    }
    let flags = [
        (paging::PRESENT, "present"),
        (paging::WRITABLE, "writable"),
        (paging::USER, "user"),
        (paging::ACCESSED, "accessed"),
        (paging::DIRTY, "dirty"),
        (paging::LARGE, "large"),
    ];
    let set: Vec<_> = flags.into_iter().filter(|(flag, _)| value & flag != 0).map(|(_, name)| name).collect();
    set.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory at 0x1000 and a table at 0x2000.
    fn read(address: u32, bytes: &mut [u8]) -> usize {
        let word: u32 = match address {
            0x1000 => 0x2007,
            0x1004 => 0x0040_2083,
            0x1008 => 0x9000_0003,
            0x2000 => 0x5003,
            0x2004 => 0x6005,
            0x9000_0000.. => return 0,
            _ => 0,
        };
        bytes.copy_from_slice(&word.to_le_bytes());
        4
    }

    #[test]
    fn each_refusal_in_words() {
        for (cr2, code, words) in [
            (0x2345, 0, "read at 0x00002345: the last entry is not present"),
            (0xffff_ffff, 2, "write to 0xffffffff: the last entry is not present"),
            (0x40_0000, 9, "read at 0x00400000: a reserved bit of the last entry is set"),
            (0x1004, 3, "write to 0x00001004, physical 0x00006004: the page is read-only"),
            (0x10, 5, "read at 0x00000010 in ring 3, physical 0x00005010: the page is not for ring 3"),
            (0x80_0000, 0, "read at 0x00800000: the entry at 0x90000000 is outside RAM"),
            (
                0x10,
                0,
                "read at 0x00000010, physical 0x00005010: the tables allow it now, so an older entry was in use: `invlpg` is \
                 missing",
            ),
        ] {
            let system =
                SystemRegisters { cr2, cr3: 0x1000, cr4: flatland_x86::cr4::PSE, ..Default::default() };
            let kind = FaultKind::Exception { vector: 14, error_code: Some(code) };
            let fault = PageFault::of(&kind, &system, &read).expect("it is one");
            assert_eq!(fault.to_string(), words);
        }
        let kind = FaultKind::Exception { vector: 13, error_code: Some(0) };
        assert_eq!(PageFault::of(&kind, &SystemRegisters::default(), &read), None);
        assert_eq!((&*flags(0x67), &*flags(0x66)), ("present writable user accessed dirty", "not present"));
    }
}
