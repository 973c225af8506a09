//! Reads numbers, texts and forms of DWARF one after another.

/// A position in a section.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl Cursor<'_> {
    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    pub fn number<const SIZE: usize>(&mut self) -> Option<u32> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(SIZE)?)?;
        self.at += SIZE;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// An unsigned LEB128; a signed one has the same length.
    pub fn leb128(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.number::<1>()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub fn text(&mut self) -> Option<()> {
        while self.number::<1>()? != 0 {}
        Some(())
    }

    /// Advances past a value of this form (DWARF 5, section 7.5.6).
    pub fn skip_form(&mut self, form: u64) -> Option<()> {
        match form {
            // flag_present, implicit_const
            0x19 | 0x21 => Some(()),
            // data1, ref1, flag, strx1, addrx1
            0x0b | 0x11 | 0x0c | 0x25 | 0x29 => self.skip(1),
            // data2, ref2, strx2, addrx2
            0x05 | 0x12 | 0x26 | 0x2a => self.skip(2),
            // strx3, addrx3
            0x27 | 0x2b => self.skip(3),
            // addr, data4, strp, ref_addr, ref4, sec_offset, ref_sup4, strp_sup, line_strp, strx4, addrx4
            0x01 | 0x06 | 0x0e | 0x10 | 0x13 | 0x17 | 0x1c | 0x1d | 0x1f | 0x28 | 0x2c => self.skip(4),
            // data8, ref8, ref_sig8, ref_sup8
            0x07 | 0x14 | 0x20 | 0x24 => self.skip(8),
            // data16
            0x1e => self.skip(16),
            0x08 => self.text(),
            // sdata, udata, ref_udata, strx, addrx, loclistx, rnglistx
            0x0d | 0x0f | 0x15 | 0x1a | 0x1b | 0x22 | 0x23 => self.leb128().map(drop),
            // block1, block2, block4, block and exprloc
            0x0a => self.number::<1>().and_then(|len| self.skip(len as usize)),
            0x03 => self.number::<2>().and_then(|len| self.skip(len as usize)),
            0x04 => self.number::<4>().and_then(|len| self.skip(len as usize)),
            0x09 | 0x18 => self.leb128().and_then(|len| self.skip(usize::try_from(len).ok()?)),
            _ => None,
        }
    }

    /// A constant or an address, whose form has a fixed size.
    pub fn fixed(&mut self, form: u64) -> Option<u32> {
        match form {
            0x0b => self.number::<1>(),
            0x05 => self.number::<2>(),
            0x01 | 0x06 | 0x17 => self.number::<4>(),
            _ => None,
        }
    }
}

/// For each unit of a section, the offset after its length field and the offset of its end.
pub fn units(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut units = Vec::new();
    let mut cursor = Cursor { bytes, at: 0 };
    while let Some(len) = cursor.number::<4>() {
        let start = cursor.at;
        if cursor.skip(len as usize).is_none() {
            break;
        }
        units.push((start, cursor.at));
    }
    units
}
