//! The registers that every engine has.

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

impl Registers {
    /// The registers as a processor can hold them: flags that cannot be set from outside are clear. VM would need
    /// other segments, and RF is cleared by each instruction.
    pub fn as_held(self) -> Self {
        use eflags::*;
        const SETTABLE: u32 = CF | PF | AF | ZF | SF | TF | IF | DF | OF | IOPL | NT | AC | VIF | VIP | ID;
        Self { eflags: self.eflags & SETTABLE | RESERVED_1, ..self }
    }
}

/// Segment selectors, and the control registers (SDM volume 3, section 2.5).
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
    pub cr2: u32,
    pub cr3: u32,
    pub cr4: u32,
}

/// The bits of EFLAGS (SDM volume 1, figure 3-8).
pub mod eflags {
    /// Carry flag.
    pub const CF: u32 = 1 << 0;
    /// Always set.
    pub const RESERVED_1: u32 = 1 << 1;
    /// Parity flag: the low byte of the result has an even number of ones.
    pub const PF: u32 = 1 << 2;
    /// Auxiliary carry flag: the carry out of bit 3.
    pub const AF: u32 = 1 << 4;
    /// Zero flag.
    pub const ZF: u32 = 1 << 6;
    /// Sign flag.
    pub const SF: u32 = 1 << 7;
    /// Trap flag: a debug exception after each instruction.
    pub const TF: u32 = 1 << 8;
    /// Interrupt enable flag. There are no interrupts here; the guest sees what it stored.
    pub const IF: u32 = 1 << 9;
    /// Direction flag: string instructions go downwards.
    pub const DF: u32 = 1 << 10;
    /// Overflow flag.
    pub const OF: u32 = 1 << 11;
    /// I/O privilege level, two bits.
    pub const IOPL: u32 = 0b11 << 12;
    /// Nested task.
    pub const NT: u32 = 1 << 14;
    /// Resume flag: no instruction breakpoint for one instruction.
    pub const RF: u32 = 1 << 16;
    /// Virtual-8086 mode.
    pub const VM: u32 = 1 << 17;
    /// Alignment check; without effect at privilege level 0.
    pub const AC: u32 = 1 << 18;
    /// Virtual interrupt flag.
    pub const VIF: u32 = 1 << 19;
    /// Virtual interrupt pending.
    pub const VIP: u32 = 1 << 20;
    /// Identification: if a program can change it, there is `cpuid`.
    pub const ID: u32 = 1 << 21;
}

/// The bits of CR0 (SDM volume 3, section 2.5).
pub mod cr0 {
    /// Protection enable.
    pub const PE: u32 = 1 << 0;
    /// Monitor coprocessor: `wait` looks at TS.
    pub const MP: u32 = 1 << 1;
    /// Emulation: there is no x87.
    pub const EM: u32 = 1 << 2;
    /// Task switched.
    pub const TS: u32 = 1 << 3;
    /// Extension type: always set since the Pentium.
    pub const ET: u32 = 1 << 4;
    /// Write protect: read-only pages are read-only for privilege levels 0 to 2, too.
    pub const WP: u32 = 1 << 16;
    /// Alignment mask: EFLAGS.AC has its effect.
    pub const AM: u32 = 1 << 18;
    /// Not write-through.
    pub const NW: u32 = 1 << 29;
    /// Cache disable.
    pub const CD: u32 = 1 << 30;
    /// Paging.
    pub const PG: u32 = 1 << 31;
}

/// The bits of CR4 (SDM volume 3, section 2.5).
pub mod cr4 {
    /// Virtual-8086 mode extensions.
    pub const VME: u32 = 1 << 0;
    /// Protected-mode virtual interrupts.
    pub const PVI: u32 = 1 << 1;
    /// Time stamp disable: `rdtsc` needs privilege level 0.
    pub const TSD: u32 = 1 << 2;
    /// Debugging extensions: breakpoints on ports, and no DR4 and DR5.
    pub const DE: u32 = 1 << 3;
    /// Page size extensions: pages of 4 MiB.
    pub const PSE: u32 = 1 << 4;
    /// Page global enable.
    pub const PGE: u32 = 1 << 7;
    /// The guest saves SSE's registers: SSE is switched on.
    pub const OSFXSR: u32 = 1 << 9;
    /// The guest handles #XM.
    pub const OSXMMEXCPT: u32 = 1 << 10;
}
