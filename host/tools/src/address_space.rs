//! Memory at linear addresses: those of the guest's own instructions. Segments are taken for flat.

use flatland_x86::{SystemRegisters, cr0, paging};

/// The size of a page in bytes.
const PAGE: u32 = 0x1000;

/// How linear addresses become physical ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSpace {
    /// Paging is off: they are the same.
    Flat,
    /// By page tables.
    Paged {
        /// The page directory's register.
        cr3: u32,
        /// It says whether there are pages of 4 MiB.
        cr4: u32,
    },
}

impl AddressSpace {
    /// The address space that these registers choose.
    pub fn of(system: &SystemRegisters) -> Self {
        match system.cr0 & cr0::PG {
            0 => Self::Flat,
            _ => Self::Paged { cr3: system.cr3, cr4: system.cr4 },
        }
    }

    /// The physical address of a linear one, if it has one. `read` reads physical memory, and returns how many bytes
    /// there are.
    pub fn physical(self, linear: u32, read: &impl Fn(u32, &mut [u8]) -> usize) -> Option<u32> {
        match self {
            Self::Flat => Some(linear),
            Self::Paged { cr3, cr4 } => paging::walk(cr3, cr4, linear, |at| entry(at, read)).physical.ok(),
        }
    }

    /// The pieces of physical memory, as addresses and lengths in bytes, of which this linear memory is made: up to the
    /// first page that is not mapped. A piece of a flat space may lie outside RAM.
    pub fn pieces(
        self,
        linear: u32,
        len: usize,
        read: &impl Fn(u32, &mut [u8]) -> usize,
    ) -> impl Iterator<Item = (u32, usize)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = linear.checked_add(u32::try_from(done).ok()?).filter(|_| done < len)?;
            let piece = match self {
                Self::Flat => len,
                Self::Paged { .. } => (len - done).min((PAGE - at % PAGE) as usize),
            };
            done += piece;
            Some((self.physical(at, read)?, piece))
        })
    }

    /// Reads linear memory, and returns how many bytes there are. `read` reads physical memory.
    pub fn read(self, linear: u32, bytes: &mut [u8], read: impl Fn(u32, &mut [u8]) -> usize) -> usize {
        let mut done = 0;
        for (physical, len) in self.pieces(linear, bytes.len(), &read) {
            let there = read(physical, &mut bytes[done..done + len]);
            done += there;
            if there < len {
                break;
            }
        }
        done
    }
}

/// An entry of a page table.
fn entry(address: u32, read: &impl Fn(u32, &mut [u8]) -> usize) -> Option<u32> {
    let mut bytes = [0; 4];
    (read(address, &mut bytes) == 4).then_some(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three pages: a directory at 0, a table at 0x1000 that maps 0x400000 to 0x2000 and 0x401000 to 0x1000.
    fn read(address: u32, bytes: &mut [u8]) -> usize {
        let mut ram = vec![0; 0x3000];
        ram[4..8].copy_from_slice(&0x1001_u32.to_le_bytes());
        ram[0x1000..0x1004].copy_from_slice(&0x2001_u32.to_le_bytes());
        ram[0x1004..0x1008].copy_from_slice(&0x1001_u32.to_le_bytes());
        ram[0x2ffe..].copy_from_slice(b"HA");
        let from = ram.get(address as usize..).unwrap_or_default();
        let len = from.len().min(bytes.len());
        bytes[..len].copy_from_slice(&from[..len]);
        len
    }

    #[test]
    fn memory_goes_on_behind_a_page() {
        let space = AddressSpace::Paged { cr3: 0, cr4: 0 };
        let mut bytes = [0; 4];
        assert_eq!((space.read(0x40_0ffe, &mut bytes, read), &bytes), (4, b"HA\x01\x20"));
        let pieces: Vec<_> = space.pieces(0x40_0ffe, 4, &read).collect();
        assert_eq!(pieces, [(0x2ffe, 2), (0x1000, 2)]);
        // The third page is not mapped, and the end of the space is an end.
        assert_eq!(space.read(0x40_1ffe, &mut bytes, read), 2);
        assert_eq!(space.read(0x1ffe, &mut bytes, read), 0);
        assert_eq!(AddressSpace::Paged { cr3: 0x8000, cr4: 0 }.read(0x40_0000, &mut bytes, read), 0);
        assert_eq!(AddressSpace::Flat.read(0x2ffe, &mut bytes, read), 2);
        assert_eq!(AddressSpace::Flat.read(u32::MAX, &mut bytes, read), 0);
    }
}
