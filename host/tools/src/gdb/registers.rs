//! The registers in the protocol's form: gdb's features `org.gnu.gdb.i386.core` and `org.gnu.gdb.i386.sse`.

use std::num::NonZeroUsize;

use flatland_x86::{Fpu, Registers, SystemRegisters};
use gdbstub::arch::{Arch, RegId};

/// The architecture for gdbstub.
#[derive(Debug)]
pub enum I386 {}

impl Arch for I386 {
    type Usize = u32;
    type Registers = Core;
    type BreakpointKind = usize;
    type RegId = Id;

    fn target_description_xml() -> Option<&'static str> {
        Some(DESCRIPTION)
    }
}

/// Names and order are gdb's (gdb/features/i386/32bit-core.xml and 32bit-sse.xml).
const DESCRIPTION: &str = include_str!("target.xml");

/// The number of general registers, EIP, EFLAGS and segment registers, of 4 bytes each.
const WORDS: usize = 16;

/// The number of all registers.
const COUNT: usize = 41;

/// A register's number in the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(usize);

impl Id {
    fn all() -> impl Iterator<Item = Self> {
        (0..COUNT).map(Self)
    }

    /// What kind of register it is.
    fn kind(self) -> Kind {
        match self.0 {
            id @ 0..16 => Kind::Word(id),
            id @ 16..24 => Kind::St(id - 16),
            id @ 24..32 => Kind::X87(id - 24),
            id @ 32..40 => Kind::Xmm(id - 32),
            _ => Kind::Mxcsr,
        }
    }

    /// In bytes.
    fn size(self) -> usize {
        match self.kind() {
            Kind::Word(_) | Kind::X87(_) | Kind::Mxcsr => 4,
            Kind::St(_) => 10,
            Kind::Xmm(_) => 16,
        }
    }
}

/// A register of the description, with its number among those of its kind.
enum Kind {
    /// One of `Core::words`.
    Word(usize),
    /// ST0 to ST7.
    St(usize),
    /// The x87's others: `fctrl` to `fop`.
    X87(usize),
    /// XMM0 to XMM7.
    Xmm(usize),
    Mxcsr,
}

impl RegId for Id {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let id = Self(id);
        (id.0 < COUNT).then(|| (id, NonZeroUsize::new(id.size())))
    }
}

/// The values of the registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// Those of the core, in the order of the description.
    words: [u32; WORDS],
    /// Those of x87 and SSE.
    fpu: Fpu,
}

impl Core {
    /// From the engine's registers.
    pub fn new(general: &Registers, system: &SystemRegisters, fpu: Fpu) -> Self {
        let Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags } = *general;
        let SystemRegisters { cs, ds, es, fs, gs, ss, .. } = *system;
        let [cs, ss, ds, es, fs, gs] = [cs, ss, ds, es, fs, gs].map(u32::from);
        Self { words: [eax, ecx, edx, ebx, esp, ebp, esi, edi, eip, eflags, cs, ss, ds, es, fs, gs], fpu }
    }

    /// The general registers.
    pub fn general(&self) -> Registers {
        let [eax, ecx, edx, ebx, esp, ebp, esi, edi, eip, eflags, ..] = self.words;
        Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags }
    }

    /// The registers of x87 and SSE.
    pub fn fpu(&self) -> &Fpu {
        &self.fpu
    }

    /// Whether both have the same segment registers. They cannot be changed through gdb.
    pub fn has_segments_of(&self, other: &Self) -> bool {
        self.words[10..] == other.words[10..]
    }

    /// A register's bytes.
    pub fn get(&self, id: Id) -> Vec<u8> {
        match id.kind() {
            Kind::Word(index) => self.words[index].to_le_bytes().into(),
            Kind::St(index) => self.fpu.st[index][..10].into(),
            Kind::X87(index) => x87(&self.fpu)[index].to_le_bytes().into(),
            Kind::Xmm(index) => self.fpu.xmm[index].into(),
            Kind::Mxcsr => self.fpu.mxcsr.to_le_bytes().into(),
        }
    }

    /// Changes a register. `None` if the processor cannot have this value.
    pub fn set(&mut self, id: Id, bytes: &[u8]) -> Option<()> {
        let word = bytes.try_into().map(u32::from_le_bytes);
        match id.kind() {
            Kind::Word(index) => self.words[index] = word.ok()?,
            Kind::St(index) => self.fpu.st[index][..10].copy_from_slice(bytes.get(..10)?),
            Kind::X87(index) => set_x87(&mut self.fpu, index, word.ok()?)?,
            Kind::Xmm(index) => self.fpu.xmm[index] = bytes.try_into().ok()?,
            Kind::Mxcsr => self.fpu.mxcsr = word.ok().filter(|word| word & !MXCSR == 0)?,
        }
        Some(())
    }
}

/// The bits of MXCSR that are not reserved (SDM volume 1, figure 10-3).
const MXCSR: u32 = 0xffff;

/// `fctrl`, `fstat`, `ftag`, `fiseg`, `fioff`, `foseg`, `fooff` and `fop`.
fn x87(fpu: &Fpu) -> [u32; 8] {
    [
        fpu.control.into(),
        fpu.status.into(),
        tags(fpu).into(),
        (fpu.instruction >> 32) as u16 as u32,
        fpu.instruction as u32,
        (fpu.data >> 32) as u16 as u32,
        fpu.data as u32,
        fpu.opcode.into(),
    ]
}

fn set_x87(fpu: &mut Fpu, index: usize, value: u32) -> Option<()> {
    let with_segment = |old: u64| old & 0xffff_ffff | u64::from(value) << 32;
    let with_offset = |old: u64| old & !0xffff_ffff | u64::from(value);
    // `fioff` and `fooff` have 32 bits, and the others 16.
    if !matches!(index, 4 | 6) && value > 0xffff {
        return None;
    }
    match index {
        0 => fpu.control = value as u16,
        1 => fpu.status = value as u16,
        // What is not empty is what its number says.
        2 => {
            fpu.tags = (0..8).filter(|register| value >> (2 * register) & 3 != EMPTY).map(|it| 1 << it).sum()
        }
        3 => fpu.instruction = with_segment(fpu.instruction),
        4 => fpu.instruction = with_offset(fpu.instruction),
        5 => fpu.data = with_segment(fpu.data),
        6 => fpu.data = with_offset(fpu.data),
        _ => fpu.opcode = value as u16 & 0x7ff,
    }
    Some(())
}

/// The tag of a register that is empty (SDM volume 1, figure 8-7).
const EMPTY: u32 = 3;

/// The x87's tag word, of the abridged one and of the numbers (SDM volume 1, section 8.1.7).
fn tags(fpu: &Fpu) -> u16 {
    let top = fpu.status >> 11 & 7;
    let tag = |register: u16| {
        if fpu.tags >> register & 1 == 0 {
            return EMPTY as u16;
        }
        let st = &fpu.st[usize::from(register.wrapping_sub(top) & 7)];
        let significand = u64::from_le_bytes(st[..8].try_into().expect("there are 8"));
        match (u16::from_le_bytes([st[8], st[9]]) & 0x7fff, significand) {
            (0, 0) => 1,
            (1..0x7fff, _) if significand >> 63 != 0 => 0,
            _ => 2,
        }
    };
    (0..8).map(|register| tag(register) << (2 * register)).sum()
}

impl gdbstub::arch::Registers for Core {
    type ProgramCounter = u32;

    fn pc(&self) -> u32 {
        self.words[8]
    }

    fn gdb_serialize(&self, write_byte: impl FnMut(Option<u8>)) {
        Id::all().flat_map(|id| self.get(id)).map(Some).for_each(write_byte);
    }

    fn gdb_deserialize(&mut self, mut bytes: &[u8]) -> Result<(), ()> {
        for id in Id::all() {
            let (register, rest) = bytes.split_at_checked(id.size()).ok_or(())?;
            self.set(id, register).ok_or(())?;
            bytes = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gdbstub::arch::Registers as _;

    use super::*;

    fn id(number: usize) -> Id {
        Id::from_raw_id(number).expect("there is one").0
    }

    #[test]
    fn registers_survive_a_round_trip() {
        let general =
            Registers { eax: 1, ebx: 2, ecx: 3, edx: 4, esi: 5, edi: 6, ebp: 7, esp: 8, eip: 9, eflags: 10 };
        let system = SystemRegisters { cs: 8, ds: 16, es: 24, fs: 32, gs: 40, ss: 48, ..Default::default() };
        let mut fpu = Fpu { tags: 0x81, status: 7 << 11, opcode: 0x123, ..Fpu::default() };
        (fpu.instruction, fpu.data) = (0x8_0000_1234, 0x10_0000_5678);
        for (index, register) in fpu.st.iter_mut().enumerate() {
            register[..10].fill(index as u8 + 1);
        }
        for (index, register) in fpu.xmm.iter_mut().enumerate() {
            register.fill(index as u8 + 101);
        }
        let core = Core::new(&general, &system, fpu);
        assert_eq!(core.general(), general);
        let mut bytes = Vec::new();
        core.gdb_serialize(|byte| bytes.extend(byte));
        // The size of the description's registers: 16 words, 8 of 80 bits, 8 words, 8 of 128 bits, and a word.
        assert_eq!(bytes.len(), 16 * 4 + 8 * 10 + 8 * 4 + 8 * 16 + 4);
        let mut back = Core::default();
        assert_eq!(back.gdb_deserialize(&bytes[..bytes.len() - 1]), Err(()));
        assert_eq!(back.gdb_deserialize(&bytes), Ok(()));
        assert_eq!(back, core);
    }

    #[test]
    fn tags_are_those_of_the_numbers() {
        let mut fpu = Fpu { tags: 0b1110_0000, status: 5 << 11, ..Fpu::default() };
        // ST0 is 1, ST1 is 0, ST2 is infinite.
        fpu.st[0][..10].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
        fpu.st[2][..10].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x7f]);
        assert_eq!(tags(&fpu), 0b10_01_00_11_11_11_11_11);
        let mut core = Core { fpu, ..Core::default() };
        assert_eq!(core.set(id(26), &0xfff3_u32.to_le_bytes()), Some(()));
        assert_eq!(core.fpu.tags, 0b10);
    }

    #[test]
    fn values_that_no_processor_has_are_refused() {
        let mut core = Core::default();
        for (number, value) in [(24, 0x1_037f), (27, 0x1_0000), (40, 0x1_1f80)] {
            assert_eq!(core.set(id(number), &u32::to_le_bytes(value)), None, "{number}");
        }
        assert_eq!(
            (core.set(id(0), &[0; 3]), core.set(id(16), &[0; 9]), core.set(id(32), &[0; 10])),
            (None, None, None)
        );
        assert_eq!(core, Core::default());
    }

    #[test]
    fn numbers_are_those_of_the_description() {
        let registers: Vec<_> = DESCRIPTION.split("<reg name=\"").skip(1).collect();
        assert_eq!(registers.len(), COUNT);
        for (number, name) in [
            (8, "eip"),
            (10, "cs"),
            (15, "gs"),
            (16, "st0"),
            (24, "fctrl"),
            (31, "fop"),
            (32, "xmm0"),
            (40, "mxcsr"),
        ] {
            assert!(registers[number].starts_with(&format!("{name}\"")), "{number}");
        }
        for (number, register) in registers.iter().enumerate() {
            let bits = format!(" bitsize=\"{}\"", 8 * id(number).size());
            assert!(register.contains(&bits), "{number}: {register}");
        }
        assert!(Id::from_raw_id(41).is_none());
    }
}
