//! Stops: steps, breakpoints, watchpoints, and a limit of instructions.

use alloc::vec::Vec;
use core::fmt;

use crate::Access;

/// Where a run stops. A stop that is not set costs nothing. More fields may be added, so end a literal with
/// `..Stops::default()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    /// After each instruction.
    pub step: bool,
    /// Before the instruction at each of these addresses.
    pub breakpoints: Vec<u32>,
    /// After an instruction that accesses one of these ranges.
    pub watchpoints: Vec<Watchpoint>,
    /// At each transfer at a port, when it is made, so that [`Engine::location`](crate::Engine::location) is that of
    /// its instruction. The transfer cannot be undone.
    pub each_transfer: bool,
    /// After this many instructions since entry.
    pub instructions: Option<u64>,
}

/// A range of memory. Accesses to it stop the run; fetching instructions is no access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchpoint {
    /// The first byte.
    pub address: u32,
    /// The number of bytes.
    pub len: u32,
    /// Which accesses.
    pub kind: WatchKind,
}

/// Which accesses a watchpoint stops at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// Stores.
    Write,
    /// Loads.
    Read,
    /// Both.
    Access,
}

impl Watchpoint {
    /// The first watched byte that an access to `len` bytes from `address` on touches, if it is an access of the
    /// watched kind.
    pub fn touched_by(&self, address: u32, len: u32, access: Access) -> Option<u32> {
        let watched = match self.kind {
            WatchKind::Write => access == Access::Write,
            WatchKind::Read => access == Access::Read,
            WatchKind::Access => access != Access::Execute,
        };
        let first = address.max(self.address);
        let end = |start: u32, len: u32| u64::from(start) + u64::from(len);
        let common = u64::from(first) < end(address, len).min(end(self.address, self.len));
        (watched && common).then_some(first)
    }
}

/// Which of the [`Stops`] has stopped the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DebugStop {
    /// One instruction has been executed.
    Step,
    /// The next instruction is at a breakpoint.
    Breakpoint,
    /// An instruction has accessed a watched range. It is complete.
    Watchpoint {
        /// The first watched byte that it accessed.
        address: u32,
        /// Whether it loaded or stored; [`Access::Write`] if it did both.
        access: Access,
    },
    /// The limit of instructions is reached.
    InstructionLimit,
}

/// Something that an engine cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The engine's name in a sentence.
    pub engine: &'static str,
    /// What it cannot do.
    pub what: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { engine, what, advice } = self;
        write!(f, "{engine} cannot {what}: {advice}")
    }
}

impl core::error::Error for Unsupported {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watched_bytes() {
        let watch = |kind| Watchpoint { address: 0x100, len: 4, kind };
        for (kind, address, len, access, touched) in [
            (WatchKind::Write, 0x100, 4, Access::Write, Some(0x100)),
            (WatchKind::Write, 0x100, 4, Access::Read, None),
            (WatchKind::Read, 0xfe, 4, Access::Read, Some(0x100)),
            (WatchKind::Access, 0x103, 1, Access::Write, Some(0x103)),
            (WatchKind::Access, 0x104, 1, Access::Read, None),
            (WatchKind::Access, 0xfc, 4, Access::Read, None),
            (WatchKind::Access, 0, u32::MAX, Access::Read, Some(0x100)),
            (WatchKind::Access, 0x100, 4, Access::Execute, None),
        ] {
            assert_eq!(watch(kind).touched_by(address, len, access), touched, "{kind:?} {address:#x} {len}");
        }
    }
}
