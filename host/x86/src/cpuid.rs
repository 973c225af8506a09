//! The answers of `cpuid`: those of an i686 with x87, MMX, SSE, SSE2 and `popcnt` (SDM volume 2, CPUID). They are the same on each engine,
//! so that a run that moves or is replayed sees one processor.

/// EAX, EBX, ECX and EDX.
pub type Answer = [u32; 4];

/// The highest basic leaf.
const HIGHEST: u32 = 1;
/// The first extended leaf, which says that there are no others.
const EXTENDED: u32 = 0x8000_0000;

/// The leaves that are not answered as the highest basic one is.
pub const LEAVES: [u32; 3] = [0, HIGHEST, EXTENDED];

/// The answer for a leaf, the value of EAX.
pub fn answer(leaf: u32) -> Answer {
    const VENDOR: &[u8; 12] = b"FlatlandSoft";
    /// Family 6, model 1: a Pentium Pro.
    const SIGNATURE: u32 = 0x610;
    const FPU: u32 = 1 << 0;
    /// Pages of 4 MiB.
    const PSE: u32 = 1 << 3;
    const TSC: u32 = 1 << 4;
    /// `rdmsr` and `wrmsr`.
    const MSR: u32 = 1 << 5;
    const CX8: u32 = 1 << 8;
    /// `sysenter` and `sysexit`.
    const SEP: u32 = 1 << 11;
    /// Pages that a load of CR3 does not forget.
    const PGE: u32 = 1 << 13;
    const CMOV: u32 = 1 << 15;
    const MMX: u32 = 1 << 23;
    const FXSR: u32 = 1 << 24;
    const SSE: u32 = 1 << 25;
    const SSE2: u32 = 1 << 26;
    /// In ECX.
    const POPCNT: u32 = 1 << 23;
    let word = |index: usize| {
        let (words, _) = VENDOR.as_chunks();
        u32::from_le_bytes(words[index])
    };
    match leaf {
        0 => [HIGHEST, word(0), word(2), word(1)],
        EXTENDED => [0; 4],
        // What is above the highest leaf of either kind.
        _ => [SIGNATURE, 0, POPCNT, FPU | PSE | TSC | MSR | CX8 | SEP | PGE | CMOV | MMX | FXSR | SSE | SSE2],
    }
}
