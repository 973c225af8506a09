//! Segments: descriptors, and the parts of them that the processor caches (SDM volume 3, section 3.4 and chapter 6).

use flatland_x86::{Access, SegmentRegister};

pub use flatland_x86::segment as number;
pub use flatland_x86::segment::COUNT;

/// The part of a selector that chooses the table: 1 is the LDT.
pub const TABLE_INDICATOR: u16 = 1 << 2;

/// A selector without its requested privilege level, as in an error code.
pub fn error_code(selector: u16) -> u32 {
    u32::from(selector & !0b11)
}

/// Whether a selector is one of the four null selectors.
pub fn is_null(selector: u16) -> bool {
    selector & !0b11 == 0
}

/// An entry of the GDT, LDT or IDT (SDM volume 3, sections 3.4.5 and 7.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(pub u64);

impl Descriptor {
    /// The type field, four bits.
    pub fn type_(self) -> u8 {
        (self.0 >> 40) as u8 & 0xf
    }

    /// Whether it describes code or data: its S flag.
    pub fn is_code_or_data(self) -> bool {
        self.0 & (1 << 44) != 0
    }

    /// Whether it describes code.
    pub fn is_code(self) -> bool {
        self.is_code_or_data() && self.type_() & 0b1000 != 0
    }

    /// Whether it describes conforming code.
    pub fn is_conforming(self) -> bool {
        self.is_code() && self.type_() & 0b0100 != 0
    }

    /// Whether it describes code that may be read, or data.
    pub fn is_readable(self) -> bool {
        self.is_code_or_data() && (self.type_() & 0b1000 == 0 || self.type_() & 0b0010 != 0)
    }

    /// Whether it describes data that may be written.
    pub fn is_writable(self) -> bool {
        self.is_code_or_data() && self.type_() & 0b1010 == 0b0010
    }

    /// The descriptor's privilege level.
    pub fn privilege_level(self) -> u8 {
        (self.0 >> 45) as u8 & 0b11
    }

    /// Whether the segment is present.
    pub fn is_present(self) -> bool {
        self.0 & (1 << 47) != 0
    }

    /// The second doubleword, for `lar`.
    pub fn high(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The segment's base address.
    pub fn base(self) -> u32 {
        SegmentRegister::of(0, self.0).base
    }

    /// The segment's limit in bytes.
    pub fn limit(self) -> u32 {
        SegmentRegister::of(0, self.0).limit
    }

    /// The D/B flag: 32-bit code, or a 32-bit stack.
    pub fn is_32_bit(self) -> bool {
        self.0 & (1 << 54) != 0
    }

    /// The same descriptor with its accessed flag set (SDM volume 3, section 3.4.5.1).
    pub fn accessed(self) -> Self {
        Self(self.0 | 1 << 40)
    }
}

/// A segment register: the selector, and the descriptor that was loaded by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The selector, which the guest can read.
    pub selector: u16,
    /// The base address.
    pub base: u32,
    /// The limit in bytes.
    pub limit: u32,
    /// The descriptor's other fields; `None` after a null selector was loaded.
    pub descriptor: Option<Descriptor>,
}

impl Segment {
    /// The segment that a descriptor describes.
    pub fn new(selector: u16, descriptor: Descriptor) -> Self {
        Self {
            selector,
            base: descriptor.base(),
            limit: descriptor.limit(),
            descriptor: Some(descriptor.accessed()),
        }
    }

    /// A register that a null selector was loaded into.
    pub fn null(selector: u16) -> Self {
        Self { selector, base: 0, limit: 0, descriptor: None }
    }

    /// The D/B flag.
    pub fn is_32_bit(&self) -> bool {
        self.descriptor.is_some_and(Descriptor::is_32_bit)
    }

    /// Whether all addresses can be accessed in this way, and an offset is a linear address.
    pub fn is_flat_for(&self, access: Access) -> bool {
        self.base == 0 && self.limit == u32::MAX && !self.expands_down() && self.allows(access)
    }

    /// Whether the segment's type allows an access (SDM volume 3, section 6.4).
    fn allows(&self, access: Access) -> bool {
        self.descriptor.is_some_and(|descriptor| match access {
            Access::Read => descriptor.is_readable(),
            Access::Write => descriptor.is_writable(),
            Access::Execute => descriptor.is_code(),
        })
    }

    fn expands_down(&self) -> bool {
        self.descriptor.is_some_and(|descriptor| !descriptor.is_code() && descriptor.type_() & 0b0100 != 0)
    }

    /// The linear address of an offset, if the segment allows the access to `len` bytes there: its type and limit
    /// (SDM volume 3, section 6.3).
    pub fn linear(&self, offset: u32, len: u32, access: Access) -> Option<u32> {
        (self.allows(access) && self.room(offset) >= u64::from(len)).then(|| self.base.wrapping_add(offset))
    }

    /// How many bytes from `offset` on lie inside the limit. In a segment of 4 GiB all do.
    pub fn room(&self, offset: u32) -> u64 {
        let (first, last) = if self.expands_down() {
            let last = if self.is_32_bit() { u32::MAX } else { 0xffff };
            (u64::from(self.limit) + 1, last)
        } else {
            (0, self.limit)
        };
        if u64::from(offset) < first || offset > last {
            0
        } else if last == u32::MAX {
            u64::MAX
        } else {
            u64::from(last - offset) + 1
        }
    }
}

impl From<Segment> for SegmentRegister {
    fn from(segment: Segment) -> Self {
        let Segment { selector, base, limit, descriptor } = segment;
        let rights = descriptor.map_or(0, |descriptor| Self::of(0, descriptor.0).rights);
        Self { selector, base, limit, rights }
    }
}

impl From<SegmentRegister> for Segment {
    fn from(register: SegmentRegister) -> Self {
        let SegmentRegister { selector, base, limit, rights } = register;
        let descriptor = (rights != 0).then(|| Descriptor(register.descriptor()));
        Self { selector, base, limit, descriptor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_descriptor() {
        // Base 0x12345678, limit 0xabcde pages, 32-bit, present, privilege level 0, code, execute/read.
        let code = Descriptor(0x12ca_9a34_5678_bcde);
        assert_eq!((code.base(), code.limit()), (0x1234_5678, 0xabcd_efff));
        assert!(code.is_code() && code.is_readable() && !code.is_writable() && code.is_32_bit());
        assert!(!code.is_conforming() && code.is_present());
        assert_eq!(code.privilege_level(), 0);
        assert_eq!(code.accessed().type_(), 0b1011);
    }

    #[test]
    fn limits() {
        let up = Segment::new(8, Descriptor(0x0040_9210_0000_0fff));
        assert_eq!(up.linear(0xffc, 4, Access::Write), Some(0x10_0ffc));
        assert_eq!(up.linear(0xffd, 4, Access::Write), None);
        assert_eq!(up.linear(0, 4, Access::Execute), None);
        // The same, but expanding down: everything above the limit.
        let down = Segment::new(8, Descriptor(0x0040_9610_0000_0fff));
        assert_eq!(down.linear(0xfff, 1, Access::Read), None);
        assert_eq!(down.linear(0x1000, 4, Access::Read), Some(0x10_1000));
        let down_16 = Segment::new(8, Descriptor(0x0000_9610_0000_0fff));
        assert_eq!(down_16.linear(0xfffe, 2, Access::Read), Some(0x10_fffe));
        assert_eq!(down_16.linear(0xffff, 2, Access::Read), None);
        assert_eq!(Segment::null(0).linear(0, 1, Access::Read), None);
    }
}
