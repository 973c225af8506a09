//! Finishes a `rep outsb` or a `rep insb` in RAM instead of exit by exit.
//!
//! KVM runs each iteration of a `rep outsb` by itself: as an exit, or as an entry of the [ring], which takes 0.3 µs.
//! A `rep insb` is an exit for each 1024 bytes, which KVM then copies a second time. After an exit in the middle of
//! such an instruction its remaining effects are known: it moves bytes between RAM and the same port. So the engine
//! returns RAM itself as the data, and sets the registers to their values afterwards. The registers are in a page
//! that KVM shares with the host (KVM API 5, `kvm_sync_regs`): reading them costs one KVM_RUN that runs no
//! instruction, and setting them costs no call.

use flatland_contract::Direction;
use kvm_bindings::{
    KVM_CAP_SYNC_REGS, KVM_SYNC_X86_REGS, KVM_SYNC_X86_SREGS, kvm_regs, kvm_segment, kvm_sregs, kvm_sync_regs,
};
use kvm_ioctls::SyncReg;

use flatland_x86::{Access, EngineError, cr0, eflags};

use super::ring;
use crate::{Kind, KvmEngine, LastExit};

/// `rep outsb` and `rep insb` in the forms that compilers and people write (SDM volume 2, OUTS and INS).
const REP_OUTSB: [&[u8]; 2] = [&[0xf3, 0x6e], &[0xf2, 0x6e]];
const REP_INSB: [&[u8]; 2] = [&[0xf3, 0x6c], &[0xf2, 0x6c]];
const INSTRUCTION_LEN: u32 = 2;

/// The most bytes that are moved at once. A guest can be stopped between two such pieces.
const MOST: u32 = 64 << 10;

/// The most bytes that KVM moves at one exit for a `rep insb` (emulate.c, pio_in_emulated: the size of
/// `io_read.data`).
const INPUT_PIECE: usize = 1024;

/// Below this count of bytes the check costs more than it saves: about as much as an exit.
const fn least(direction: Direction) -> u32 {
    match direction {
        Direction::Out => 4,
        Direction::In => 2 * INPUT_PIECE as u32,
    }
}

const TRAP: u64 = eflags::TF as u64;
const DOWN: u64 = eflags::DF as u64;
/// Set at an exit in the middle of an instruction.
const RESUME: u64 = eflags::RF as u64;

/// Decides when to finish a `rep ins` or `rep outs` in RAM.
#[derive(Debug)]
pub struct StringIo {
    output: Pattern,
    input: Pattern,
    /// The port of the last exit, which a repeated instruction would use again.
    port: u16,
    /// Whether each transfer must be an exit of its own.
    is_off: bool,
    /// Whether KVM can share registers; `None` before the first check.
    can_share: Option<bool>,
}

impl StringIo {
    pub fn new() -> Self {
        Self { output: Pattern::new(), input: Pattern::new(), port: 0, is_off: false, can_share: None }
    }

    /// Sets whether each transfer must be an exit of its own.
    pub fn turn_off(&mut self, off: bool) {
        self.is_off = off;
    }

    /// Records an exit that transferred `len` single bytes.
    pub fn count_exit(&mut self, direction: Direction, port: u16, len: usize) {
        self.port = port;
        match direction {
            Direction::Out if len == 1 && ring::collects(port) => self.output.exits_in_a_row += 1,
            Direction::In if len == INPUT_PIECE => {
                self.input.exits_in_a_row += 1;
                self.output.exits_in_a_row = 0;
            }
            _ => self.end(),
        }
    }

    /// Records any other exit.
    pub fn end(&mut self) {
        self.output.exits_in_a_row = 0;
        self.input.exits_in_a_row = 0;
    }

    fn should_check(&self, direction: Direction) -> bool {
        let Pattern { exits_in_a_row, enough } = match direction {
            Direction::Out => &self.output,
            Direction::In => &self.input,
        };
        !self.is_off && exits_in_a_row >= enough
    }

    fn checked(&mut self, direction: Direction, found: bool) {
        match direction {
            Direction::Out => self.output.checked(found),
            Direction::In => self.input.checked(found),
        }
    }
}

/// Consecutive exits that may belong to one instruction.
#[derive(Debug)]
struct Pattern {
    /// The number of exits since the last exit of another kind.
    exits_in_a_row: u32,
    /// After how many exits to check whether they belong to one instruction. A check costs about as much as an exit.
    enough: u32,
}

impl Pattern {
    /// After an instruction was found, another one is likely.
    const SHORT: u32 = 1;
    const FIRST: u32 = 2;
    const LONG: u32 = 256;

    fn new() -> Self {
        Self { exits_in_a_row: 0, enough: Self::FIRST }
    }

    /// Records a check. Guests that send byte by byte are checked more and more rarely.
    fn checked(&mut self, found: bool) {
        self.exits_in_a_row = 0;
        self.enough = if found { Self::SHORT } else { (self.enough * 2).min(Self::LONG) };
    }
}

/// The rest of a repeated instruction: transfers between RAM and a port.
#[derive(Clone, Copy, Debug)]
pub struct Repeated {
    pub direction: Direction,
    pub port: u16,
    pub rest: Rest,
    /// The registers before the repeated transfers.
    regs: kvm_regs,
}

impl Repeated {
    /// The registers after the repeated transfers.
    pub fn regs_after(&self) -> kvm_regs {
        self.regs_after_part(self.rest.len)
    }

    /// The registers after the transfers of this many bytes.
    pub fn regs_after_part(&self, len: u32) -> kvm_regs {
        let mut regs = self.regs;
        advance(&mut regs, self.direction, len);
        regs
    }

    /// The registers at the exit: output has been made, input has not.
    pub fn regs(&self) -> kvm_regs {
        match self.direction {
            Direction::Out => self.regs_after(),
            Direction::In => self.regs,
        }
    }
}

/// The result of a check.
#[derive(Debug)]
pub enum Found {
    Repeated(Repeated),
    Nothing,
    /// The last exit had to be finished for the check, and that caused another exit.
    Exit(Kind),
}

impl KvmEngine {
    /// Checks whether the last exit was in the middle of a `rep outsb` or a `rep insb`, and returns the rest of it.
    pub(crate) fn find_repeated(&mut self) -> Result<Found, EngineError> {
        let direction = match self.last {
            LastExit::Out => Direction::Out,
            LastExit::In => Direction::In,
            _ => return Ok(Found::Nothing),
        };
        if !self.strings.should_check(direction) {
            return Ok(Found::Nothing);
        }
        if !self.can_share_registers() {
            self.strings.turn_off(true);
            return Ok(Found::Nothing);
        }
        self.vcpu.set_sync_valid_reg(SyncReg::Register);
        self.vcpu.set_sync_valid_reg(SyncReg::SystemRegister);
        let finished = self.finish_io();
        self.vcpu.clear_sync_valid_reg(SyncReg::Register);
        self.vcpu.clear_sync_valid_reg(SyncReg::SystemRegister);
        if let Some(kind) = finished? {
            return Ok(Found::Exit(kind));
        }
        self.last = LastExit::Before;
        let kvm_sync_regs { regs, sregs, .. } = self.vcpu.sync_regs();
        let access = match direction {
            Direction::Out => Access::Read,
            Direction::In => Access::Write,
        };
        let code = self.code_at(regs.rip as u32);
        let rest = rest(direction, &regs, code.as_slice())
            .map(|Rest { address, len }| {
                // KVM itself runs the part outside the accessible memory, and reports the fault.
                let there = self.map.end_of_run(access, address) - address;
                Rest { address, len: len.min(there) }
            })
            .filter(|rest| rest.len >= least(direction) && is_flat(&sregs))
            // Only at the same port: whether another port accepts the transfer is not known before its first byte.
            .filter(|_| regs.rdx as u16 == self.strings.port);
        self.strings.checked(direction, rest.is_some());
        let port = self.strings.port;
        Ok(rest.map_or(Found::Nothing, |rest| Found::Repeated(Repeated { direction, port, rest, regs })))
    }

    fn can_share_registers(&mut self) -> bool {
        let asked = || {
            let needed = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
            // Returns the supported bits, or fails if there are none.
            self.vm.check_extension_raw(KVM_CAP_SYNC_REGS.into()) as u32 & needed == needed
        };
        *self.strings.can_share.get_or_insert_with(asked)
    }

    /// Sets the registers after the instruction. KVM loads them when it runs the guest next.
    pub(crate) fn complete_repeated(&mut self, repeated: &Repeated) {
        self.vcpu.sync_regs_mut().regs = repeated.regs_after();
        self.vcpu.set_sync_dirty_reg(SyncReg::Register);
        self.last = LastExit::Before;
    }
}

/// The memory of the rest: `len` bytes from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    pub address: u32,
    pub len: u32,
}

/// The rest of the `rep outsb` or `rep insb` at EIP, if there is one. `code` are the bytes there.
pub fn rest(direction: Direction, regs: &kvm_regs, code: &[u8]) -> Option<Rest> {
    let (forms, address) = match direction {
        Direction::Out => (REP_OUTSB, regs.rsi as u32),
        Direction::In => (REP_INSB, regs.rdi as u32),
    };
    let len = regs.rcx as u32;
    let is_one = forms.iter().any(|form| code.starts_with(form)) && regs.rflags & (TRAP | DOWN) == 0;
    (is_one && len >= least(direction)).then_some(Rest { address, len: len.min(MOST) })
}

/// Whether segments are flat, as they were at entry. A guest may have loaded others.
pub fn is_flat(sregs: &kvm_sregs) -> bool {
    let flat = |segment: &kvm_segment| segment.base == 0 && segment.limit == u32::MAX;
    let protected = sregs.cr0 as u32 & (cr0::PE | cr0::PG) == cr0::PE;
    protected && flat(&sregs.cs) && sregs.cs.db == 1 && flat(&sregs.ds) && flat(&sregs.es)
}

/// Advances the registers by `len` bytes. After the last byte EIP is at the next instruction.
pub fn advance(regs: &mut kvm_regs, direction: Direction, len: u32) {
    let index = match direction {
        Direction::Out => &mut regs.rsi,
        Direction::In => &mut regs.rdi,
    };
    *index = (*index as u32).wrapping_add(len).into();
    let left = (regs.rcx as u32).saturating_sub(len);
    regs.rcx = left.into();
    if left == 0 {
        regs.rflags &= !RESUME;
        regs.rip = (regs.rip as u32).wrapping_add(INSTRUCTION_LEN).into();
    }
}

#[cfg(test)]
mod tests {
    use Direction::{In, Out};

    use flatland_x86::{MemorySize, Processor};

    use super::*;

    const REGS: kvm_regs = kvm_regs {
        rsi: 0x1000,
        rcx: 100,
        rip: 0x20,
        rflags: 2,
        rax: 0,
        rbx: 0,
        rdx: 0xe9,
        rdi: 0x2000,
        rsp: 0,
        rbp: 0,
        r8: 0,
        r9: 0,
        r10: 0,
        r11: 0,
        r12: 0,
        r13: 0,
        r14: 0,
        r15: 0,
    };

    #[test]
    fn the_plain_form_is_known_and_nothing_else() {
        let long = kvm_regs { rcx: 1 << 20, ..REGS };
        assert_eq!(rest(Out, &REGS, &[0xf3, 0x6e, 0xf4]), Some(Rest { address: 0x1000, len: 100 }));
        assert_eq!(rest(Out, &long, &[0xf3, 0x6e]), Some(Rest { address: 0x1000, len: 64 << 10 }));
        assert_eq!(rest(In, &long, &[0xf3, 0x6c]), Some(Rest { address: 0x2000, len: 64 << 10 }));
        for (regs, code) in [
            (REGS, &[0x6e, 0x90][..]),
            (REGS, &[0xf3, 0x6f]),
            (REGS, &[0x26, 0xf3, 0x6e]),
            (REGS, &[0xf3]),
            (kvm_regs { rflags: 2 | DOWN, ..REGS }, &[0xf3, 0x6e]),
            (kvm_regs { rflags: 2 | TRAP, ..REGS }, &[0xf3, 0x6e]),
            (kvm_regs { rcx: 3, ..REGS }, &[0xf3, 0x6e]),
        ] {
            assert_eq!(rest(Out, &regs, code), None, "{code:x?}");
        }
        assert_eq!(rest(In, &kvm_regs { rcx: 2047, ..REGS }, &[0xf3, 0x6c]), None);
        assert_eq!(rest(In, &long, &[0xf3, 0x6e]), None);
    }

    #[test]
    fn eip_stays_until_the_last_byte() {
        let mut regs = REGS;
        advance(&mut regs, Out, 60);
        assert_eq!((regs.rsi, regs.rcx, regs.rip), (0x1000 + 60, 40, 0x20));
        advance(&mut regs, Out, 40);
        assert_eq!((regs.rsi, regs.rcx, regs.rip), (0x1000 + 100, 0, 0x22));
        // Registers have 32 bits.
        let mut regs = kvm_regs { rsi: 0xffff_fff0, ..REGS };
        advance(&mut regs, Out, 0x20);
        assert_eq!(regs.rsi, 0x10);
        let mut regs = REGS;
        advance(&mut regs, In, 100);
        assert_eq!((regs.rsi, regs.rdi, regs.rcx, regs.rip), (0x1000, 0x2000 + 100, 0, 0x22));
    }

    #[test]
    fn only_flat_segments_without_paging_are_flat() {
        let entry = Processor::at_entry(MemorySize::default());
        let flat = crate::state::kvm_sregs_of(&entry, &kvm_sregs::default());
        assert!(is_flat(&flat));
        let changes: [fn(&mut kvm_sregs); 7] = [
            |sregs| sregs.es.base = 0x10,
            |sregs| sregs.ds.base = 0x10,
            |sregs| sregs.ds.limit = 0xffff,
            |sregs| sregs.cs.base = 0x10,
            |sregs| sregs.cs.db = 0,
            |sregs| sregs.cr0 |= u64::from(cr0::PG),
            |sregs| sregs.cr0 &= !u64::from(cr0::PE),
        ];
        for change in changes {
            let mut other = flat;
            change(&mut other);
            assert!(!is_flat(&other));
        }
    }

    #[test]
    fn guests_that_send_byte_by_byte_are_rarely_checked() {
        for (direction, len) in [(Out, 1), (In, INPUT_PIECE)] {
            let mut strings = StringIo::new();
            let mut checks = 0;
            for _ in 0..10_000 {
                strings.count_exit(direction, 0xe9, len);
                if strings.should_check(direction) {
                    checks += 1;
                    strings.checked(direction, false);
                }
            }
            assert!((30..60).contains(&checks), "{checks}");
            strings.checked(direction, true);
            assert!(!strings.should_check(direction));
            strings.count_exit(direction, 0xe9, len);
            assert!(strings.should_check(direction));
            strings.turn_off(true);
            assert!(!strings.should_check(direction));
            strings.turn_off(false);
            strings.end();
            assert!(!strings.should_check(direction));
            strings.count_exit(direction, 0xe9, len);
            strings.count_exit(direction, 0xe9, 2);
            assert!(!strings.should_check(direction));
        }
    }
}
