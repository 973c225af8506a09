//! The registers that every engine can show.

/// General registers, instruction pointer and flags (SDM volume 1, section 3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the registers' own names")]
pub struct Registers {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
    pub esi: u32,
    pub edi: u32,
    pub ebp: u32,
    pub esp: u32,
    pub eip: u32,
    pub eflags: u32,
}

/// The flags that can be set from outside (SDM volume 1, figure 3-8): the status flags, TF, IF, DF, IOPL, NT, AC, VIF, VIP
/// and ID. Not VM, which needs other segments, nor RF, which is clear again after an instruction.
const SETTABLE_FLAGS: u32 = 0x003c_7fd5;
/// The flag that is always set.
const ALWAYS_SET: u32 = 1 << 1;

impl Registers {
    /// What a processor makes of these: the flags that there are not are clear.
    pub fn as_held(self) -> Self {
        Self { eflags: self.eflags & SETTABLE_FLAGS | ALWAYS_SET, ..self }
    }
}

/// Segment selectors, and the control register that says which mode the processor is in (SDM volume 3, section 2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the registers' own names")]
pub struct SystemRegisters {
    pub cs: u16,
    pub ds: u16,
    pub es: u16,
    pub fs: u16,
    pub gs: u16,
    pub ss: u16,
    pub cr0: u32,
}
