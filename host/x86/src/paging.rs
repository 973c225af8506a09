//! Page tables: two levels of 32-bit entries, with pages of 4 KiB and 4 MiB (SDM volume 3, section 5.3).

use crate::cr4;

/// An entry maps a page or a table.
pub const PRESENT: u32 = 1 << 0;
/// The page, or all pages of the table, can be written.
pub const WRITABLE: u32 = 1 << 1;
/// They can be accessed at privilege level 3.
pub const USER: u32 = 1 << 2;
/// The entry was used.
pub const ACCESSED: u32 = 1 << 5;
/// The page was written.
pub const DIRTY: u32 = 1 << 6;
/// The directory's entry maps a page of 4 MiB.
pub const LARGE: u32 = 1 << 7;

/// The error code of a page fault (SDM volume 3, section 5.7).
pub mod error_code {
    /// The page is mapped, but the access is not allowed.
    pub const PROTECTION: u32 = 1 << 0;
    /// The access was a write.
    pub const WRITE: u32 = 1 << 1;
    /// The access was made at privilege level 3.
    pub const USER: u32 = 1 << 2;
    /// A reserved bit of an entry is set.
    pub const RESERVED: u32 = 1 << 3;
}

/// The addresses of a page.
const OFFSET: u32 = 0xfff;
/// The addresses of a page of 4 MiB.
const LARGE_OFFSET: u32 = 0x3f_ffff;
/// Bits of a directory's entry for 4 MiB that are reserved: there are no physical addresses above 4 GiB.
const LARGE_RESERVED: u32 = 0x3f_e000;

/// An entry of a page directory or a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its physical address.
    pub address: u32,
    /// Its value.
    pub value: u32,
}

/// Why a linear address has no physical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The last entry is not present.
    NotPresent,
    /// A reserved bit of the last entry is set.
    Reserved,
    /// The entry at this physical address cannot be read.
    Unreadable(u32),
}

/// What the tables say about a linear address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The page directory's entry, if it could be read.
    pub directory: Option<Entry>,
    /// The page table's entry, if the directory leads to one that could be read.
    pub table: Option<Entry>,
    /// The physical address.
    pub physical: Result<u32, Missing>,
}

impl Walk {
    /// Whether all entries have this flag.
    pub fn all_have(&self, flag: u32) -> bool {
        [self.directory, self.table].into_iter().flatten().all(|entry| entry.value & flag != 0)
    }
}

/// Looks up a linear address, and changes nothing. `read` reads physical memory.
pub fn walk(cr3: u32, cr4: u32, linear: u32, read: impl Fn(u32) -> Option<u32>) -> Walk {
    let mut walk = Walk { directory: None, table: None, physical: Err(Missing::NotPresent) };
    let entry = |table: u32, index: u32| {
        let address = table & !OFFSET | index << 2;
        read(address).map(|value| Entry { address, value }).ok_or(Missing::Unreadable(address))
    };
    walk.physical = entry(cr3, linear >> 22).and_then(|directory| {
        walk.directory = Some(directory);
        if directory.value & PRESENT == 0 {
            return Err(Missing::NotPresent);
        }
        if directory.value & LARGE != 0 && cr4 & cr4::PSE != 0 {
            let physical = directory.value & !LARGE_OFFSET | linear & LARGE_OFFSET;
            return if directory.value & LARGE_RESERVED == 0 { Ok(physical) } else { Err(Missing::Reserved) };
        }
        let table = entry(directory.value, linear >> 12 & 0x3ff)?;
        walk.table = Some(table);
        if table.value & PRESENT == 0 {
            return Err(Missing::NotPresent);
        }
        Ok(table.value & !OFFSET | linear & OFFSET)
    });
    walk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sizes_of_pages() {
        let read = |address| {
            Some(match address {
                0x1000 => 0x0040_0083, // 4 MiB at 4 MiB
                0x1004 => 0x2007,      // a table at 0x2000
                0x1008 => 0x0040_2083, // a reserved bit
                0x100c => 0x5007,      // a table that cannot be read
                0x2008 => 0x8005,
                0x5004 => return None,
                _ => 0,
            })
        };
        let look_up = |cr4, linear| walk(0x1018, cr4, linear, read);
        assert_eq!(look_up(cr4::PSE, 0x0012_3456).physical, Ok(0x0052_3456));
        // Without PSE it is a table at 0x400000.
        assert_eq!(look_up(0, 0x0012_3456).physical, Err(Missing::NotPresent));
        let small = look_up(cr4::PSE, 0x0040_2fff);
        assert_eq!(
            (small.physical, small.all_have(USER), small.all_have(WRITABLE)),
            (Ok(0x8fff), true, false)
        );
        assert_eq!(small.table, Some(Entry { address: 0x2008, value: 0x8005 }));
        assert_eq!(look_up(cr4::PSE, 0x0080_0000).physical, Err(Missing::Reserved));
        assert_eq!(look_up(cr4::PSE, 0x00c0_1000).physical, Err(Missing::Unreadable(0x5004)));
    }
}
