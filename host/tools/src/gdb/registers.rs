//! The registers in the protocol's form: gdb's feature `org.gnu.gdb.i386.core`.
//!
//! The crate gdbstub_arch has an i386 with SSE, whose registers no engine provides. This one has the machine's
//! registers. gdb requires the x87 registers, which are reported as not available.

use std::num::NonZeroUsize;

use flatland_x86::{Registers, SystemRegisters};
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

/// The number of general registers, EIP, EFLAGS and segment registers, of 4 bytes each.
const WORDS: usize = 16;

/// The size of ST0 to ST7, of 10 bytes each, and of the x87's eight control registers, of 4 bytes each.
const X87_BYTES: usize = 8 * 10 + 8 * 4;

/// Names and order are gdb's (gdb/features/i386/32bit-core.xml).
const DESCRIPTION: &str = r#"<?xml version="1.0"?>
<!DOCTYPE target SYSTEM "gdb-target.dtd">
<target version="1.0">
<architecture>i386</architecture>
<feature name="org.gnu.gdb.i386.core">
<flags id="i386_eflags" size="4">
<field name="CF" start="0" end="0"/>
<field name="" start="1" end="1"/>
<field name="PF" start="2" end="2"/>
<field name="AF" start="4" end="4"/>
<field name="ZF" start="6" end="6"/>
<field name="SF" start="7" end="7"/>
<field name="TF" start="8" end="8"/>
<field name="IF" start="9" end="9"/>
<field name="DF" start="10" end="10"/>
<field name="OF" start="11" end="11"/>
<field name="NT" start="14" end="14"/>
<field name="RF" start="16" end="16"/>
<field name="VM" start="17" end="17"/>
<field name="AC" start="18" end="18"/>
<field name="VIF" start="19" end="19"/>
<field name="VIP" start="20" end="20"/>
<field name="ID" start="21" end="21"/>
</flags>
<reg name="eax" bitsize="32" type="int32"/>
<reg name="ecx" bitsize="32" type="int32"/>
<reg name="edx" bitsize="32" type="int32"/>
<reg name="ebx" bitsize="32" type="int32"/>
<reg name="esp" bitsize="32" type="data_ptr"/>
<reg name="ebp" bitsize="32" type="data_ptr"/>
<reg name="esi" bitsize="32" type="int32"/>
<reg name="edi" bitsize="32" type="int32"/>
<reg name="eip" bitsize="32" type="code_ptr"/>
<reg name="eflags" bitsize="32" type="i386_eflags"/>
<reg name="cs" bitsize="32" type="int32"/>
<reg name="ss" bitsize="32" type="int32"/>
<reg name="ds" bitsize="32" type="int32"/>
<reg name="es" bitsize="32" type="int32"/>
<reg name="fs" bitsize="32" type="int32"/>
<reg name="gs" bitsize="32" type="int32"/>
<reg name="st0" bitsize="80" type="i387_ext"/>
<reg name="st1" bitsize="80" type="i387_ext"/>
<reg name="st2" bitsize="80" type="i387_ext"/>
<reg name="st3" bitsize="80" type="i387_ext"/>
<reg name="st4" bitsize="80" type="i387_ext"/>
<reg name="st5" bitsize="80" type="i387_ext"/>
<reg name="st6" bitsize="80" type="i387_ext"/>
<reg name="st7" bitsize="80" type="i387_ext"/>
<reg name="fctrl" bitsize="32" type="int" group="float"/>
<reg name="fstat" bitsize="32" type="int" group="float"/>
<reg name="ftag" bitsize="32" type="int" group="float"/>
<reg name="fiseg" bitsize="32" type="int" group="float"/>
<reg name="fioff" bitsize="32" type="int" group="float"/>
<reg name="foseg" bitsize="32" type="int" group="float"/>
<reg name="fooff" bitsize="32" type="int" group="float"/>
<reg name="fop" bitsize="32" type="int" group="float"/>
</feature>
</target>"#;

/// A register's number in the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(usize);

impl RegId for Id {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let size = match id {
            0..16 | 24..32 => 4,
            16..24 => 10,
            _ => return None,
        };
        Some((Self(id), NonZeroUsize::new(size)))
    }
}

/// The values of the available registers, in the order of the description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Core {
    words: [u32; WORDS],
}

impl Core {
    /// From the engine's registers.
    pub fn new(general: &Registers, system: &SystemRegisters) -> Self {
        let Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags } = *general;
        let SystemRegisters { cs, ds, es, fs, gs, ss, .. } = *system;
        let [cs, ss, ds, es, fs, gs] = [cs, ss, ds, es, fs, gs].map(u32::from);
        Self { words: [eax, ecx, edx, ebx, esp, ebp, esi, edi, eip, eflags, cs, ss, ds, es, fs, gs] }
    }

    /// The general registers. The others cannot be changed through gdb.
    pub fn general(&self) -> Registers {
        let [eax, ecx, edx, ebx, esp, ebp, esi, edi, eip, eflags, ..] = self.words;
        Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags }
    }

    /// Whether both have the same segment registers.
    pub fn has_segments_of(&self, other: &Self) -> bool {
        self.words[10..] == other.words[10..]
    }

    /// A register's value. None for the x87's registers.
    pub fn get(&self, id: Id) -> Option<u32> {
        self.words.get(id.0).copied()
    }

    /// Changes a register. None if it is not available.
    pub fn set(&mut self, id: Id, value: u32) -> Option<()> {
        *self.words.get_mut(id.0)? = value;
        Some(())
    }
}

impl gdbstub::arch::Registers for Core {
    type ProgramCounter = u32;

    fn pc(&self) -> u32 {
        self.words[8]
    }

    fn gdb_serialize(&self, write_byte: impl FnMut(Option<u8>)) {
        let words = self.words.iter().flat_map(|word| word.to_le_bytes()).map(Some);
        words.chain([None; X87_BYTES]).for_each(write_byte);
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let (words, _) = bytes.as_chunks();
        let words = words.get(..WORDS).ok_or(())?;
        for (word, bytes) in self.words.iter_mut().zip(words) {
            *word = u32::from_le_bytes(*bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gdbstub::arch::Registers as _;

    use super::*;

    #[test]
    fn registers_survive_a_round_trip() {
        let general =
            Registers { eax: 1, ebx: 2, ecx: 3, edx: 4, esi: 5, edi: 6, ebp: 7, esp: 8, eip: 9, eflags: 10 };
        let system = SystemRegisters { cs: 8, ds: 16, es: 24, fs: 32, gs: 40, ss: 48, cr0: 1 };
        let core = Core::new(&general, &system);
        assert_eq!(core.general(), general);
        let mut bytes = Vec::new();
        core.gdb_serialize(|byte| bytes.push(byte));
        // The size of the description's registers: 16 words, 8 of 80 bits, 8 words.
        assert_eq!(bytes.len(), 16 * 4 + 8 * 10 + 8 * 4);
        assert!(bytes[64..].iter().all(Option::is_none));
        let bytes: Vec<_> = bytes.into_iter().flatten().collect();
        let mut back = Core::default();
        assert_eq!(back.gdb_deserialize(&bytes[..63]), Err(()));
        assert_eq!(back.gdb_deserialize(&bytes), Ok(()));
        assert_eq!(back, core);
    }

    #[test]
    fn numbers_are_those_of_the_description() {
        let names: Vec<_> =
            DESCRIPTION.split("<reg name=\"").skip(1).map(|rest| rest.split('"').next()).collect();
        assert_eq!(names.len(), 32);
        assert_eq!(
            (names[8], names[10], names[15], names[16]),
            (Some("eip"), Some("cs"), Some("gs"), Some("st0"))
        );
        assert!(Id::from_raw_id(31).is_some() && Id::from_raw_id(32).is_none());
        assert_eq!((Core::default().get(Id(15)), Core::default().get(Id(16))), (Some(0), None));
    }
}
