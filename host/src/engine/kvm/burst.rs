//! The rest of a `rep outsb` or a `rep insb`, done here.
//!
//! Of a `rep outsb` KVM runs each iteration by itself: an exit each, or a place in the [ring](super::ring), which is a third
//! of a microsecond. A `rep insb` is an exit for each 1024 bytes, which KVM then copies a second time. After an exit in the
//! middle of one, all that it would still do is known: it moves the bytes between RAM and the same port. So RAM itself is
//! handed out, and the registers are set to what they are afterwards. They come and go in the page that KVM shares with us
//! (KVM API 5, `kvm_sync_regs`): looking costs one KVM_RUN that runs nothing, and setting them no call at all.

use flatland_contract::Direction;
use kvm_bindings::{
    KVM_CAP_SYNC_REGS, KVM_SYNC_X86_REGS, KVM_SYNC_X86_SREGS, kvm_regs, kvm_segment, kvm_sregs, kvm_sync_regs,
};
use kvm_ioctls::SyncReg;

use super::entry_state::CR0_PE;
use super::{EngineError, Kind, KvmEngine, LastExit, ring};
use crate::fault::Access;

/// `rep outsb` and `rep insb` in the forms that compilers and people write (SDM volume 2, OUTS and INS).
const REP_OUTSB: [&[u8]; 2] = [&[0xf3, 0x6e], &[0xf2, 0x6e]];
const REP_INSB: [&[u8]; 2] = [&[0xf3, 0x6c], &[0xf2, 0x6c]];
const INSTRUCTION_LEN: u32 = 2;

/// The most that is moved at once: a guest can be stopped between two pieces.
const MOST: u32 = 64 << 10;

/// The most that KVM moves at one exit for a `rep insb` (emulate.c, pio_in_emulated: the size of `io_read.data`).
const INPUT_PIECE: usize = 1024;

/// Fewer are not worth the look, which costs about as much as an exit.
const fn least(direction: Direction) -> u32 {
    match direction {
        Direction::Out => 4,
        Direction::In => 2 * INPUT_PIECE as u32,
    }
}

/// EFLAGS.TF and EFLAGS.DF (SDM volume 1, figure 3-8).
const TRAP: u64 = 1 << 8;
const DOWN: u64 = 1 << 10;
/// EFLAGS.RF, which is set in the middle of an instruction (SDM volume 3, section 20.3.1.1).
const RESUME: u64 = 1 << 16;

/// CR0.PG (SDM volume 3, section 2.5).
const CR0_PG: u64 = 1 << 31;

/// Knows when to look for bursts.
#[derive(Debug)]
pub struct Bursts {
    output: Pattern,
    input: Pattern,
    /// Where the last exit was: a burst goes on there.
    port: u16,
    /// Whether each transfer is to be an exit of its own.
    are_off: bool,
    /// Whether KVM can share registers, once it was asked.
    can_share: Option<bool>,
}

impl Bursts {
    pub fn new() -> Self {
        Self { output: Pattern::new(), input: Pattern::new(), port: 0, are_off: false, can_share: None }
    }

    /// From now on each transfer is an exit of its own, or not.
    pub fn turn_off(&mut self, off: bool) {
        self.are_off = off;
    }

    /// There was an exit for so many transfers of a byte.
    pub fn count_exit(&mut self, direction: Direction, port: u16, len: usize) {
        self.port = port;
        match direction {
            Direction::Out if len == 1 && ring::takes(port) => self.output.exits_in_a_row += 1,
            Direction::In if len == INPUT_PIECE => {
                self.input.exits_in_a_row += 1;
                self.output.exits_in_a_row = 0;
            }
            _ => self.end(),
        }
    }

    /// There was an exit for something else.
    pub fn end(&mut self) {
        self.output.exits_in_a_row = 0;
        self.input.exits_in_a_row = 0;
    }

    fn are_to_be_looked_for(&self, direction: Direction) -> bool {
        let Pattern { exits_in_a_row, enough } = match direction {
            Direction::Out => &self.output,
            Direction::In => &self.input,
        };
        !self.are_off && exits_in_a_row >= enough
    }

    fn looked(&mut self, direction: Direction, found: bool) {
        match direction {
            Direction::Out => self.output.looked(found),
            Direction::In => self.input.looked(found),
        }
    }
}

/// Exits that may be of one instruction.
#[derive(Debug)]
struct Pattern {
    /// How many there were since the guest last did anything else.
    exits_in_a_row: u32,
    /// After how many it is looked whether they are of one instruction: that costs about as much as an exit.
    enough: u32,
}

impl Pattern {
    /// Once one was found, another one is expected.
    const SHORT: u32 = 1;
    const FIRST: u32 = 2;
    const LONG: u32 = 256;

    fn new() -> Self {
        Self { exits_in_a_row: 0, enough: Self::FIRST }
    }

    /// It was looked. Who sends byte by byte is left alone for longer and longer.
    fn looked(&mut self, found: bool) {
        self.exits_in_a_row = 0;
        self.enough = if found { Self::SHORT } else { (self.enough * 2).min(Self::LONG) };
    }
}

/// Transfers between RAM and a port.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    pub direction: Direction,
    pub port: u16,
    pub rest: Rest,
    /// The registers before it.
    regs: kvm_regs,
}

impl Burst {
    /// The registers when it is through.
    pub fn regs_after(&self) -> kvm_regs {
        let mut regs = self.regs;
        advance(&mut regs, self.direction, self.rest.len);
        regs
    }

    /// The registers that somebody sees who looks now: what was sent is through, and input not yet.
    pub fn regs(&self) -> kvm_regs {
        match self.direction {
            Direction::Out => self.regs_after(),
            Direction::In => self.regs,
        }
    }
}

/// What came of looking for one.
#[derive(Debug)]
pub enum Found {
    Burst(Burst),
    Nothing,
    /// To look, the last exit had to be finished, and another one came of that.
    Exit(Kind),
}

impl KvmEngine {
    /// If the last exit was in the middle of a `rep outsb` or a `rep insb`, what is left of it. Nothing of it is done.
    pub(super) fn find_burst(&mut self) -> Result<Found, EngineError> {
        let direction = match self.last {
            LastExit::Out => Direction::Out,
            LastExit::In => Direction::In,
            _ => return Ok(Found::Nothing),
        };
        if !self.bursts.are_to_be_looked_for(direction) {
            return Ok(Found::Nothing);
        }
        if !self.can_share_registers() {
            self.bursts.turn_off(true);
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
                // What memory refuses is KVM's to stumble over.
                let there = self.map.end_of_run(access, address) - address;
                Rest { address, len: len.min(there) }
            })
            .filter(|rest| rest.len >= least(direction) && is_flat(&sregs))
            // Whether another port takes it at all must show at its first byte.
            .filter(|_| regs.rdx as u16 == self.bursts.port);
        self.bursts.looked(direction, rest.is_some());
        let port = self.bursts.port;
        Ok(rest.map_or(Found::Nothing, |rest| Found::Burst(Burst { direction, port, rest, regs })))
    }

    fn can_share_registers(&mut self) -> bool {
        let asked = || {
            let needed = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
            // What it returns are the bits; KVM_CHECK_EXTENSION fails where there is no such thing.
            self.vm.check_extension_raw(KVM_CAP_SYNC_REGS.into()) as u32 & needed == needed
        };
        *self.bursts.can_share.get_or_insert_with(asked)
    }

    /// Has KVM take the registers that are those after a burst, when it runs the guest next.
    pub(super) fn complete_burst(&mut self, burst: &Burst) {
        self.vcpu.sync_regs_mut().regs = burst.regs_after();
        self.vcpu.set_sync_dirty_reg(SyncReg::Register);
        self.last = LastExit::Before;
    }
}

/// What is left of an instruction: so many bytes from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    pub address: u32,
    pub len: u32,
}

/// What is left of the `rep outsb` or `rep insb` that stands at EIP, if it is one. `code` is what stands there.
pub fn rest(direction: Direction, regs: &kvm_regs, code: &[u8]) -> Option<Rest> {
    let (forms, address) = match direction {
        Direction::Out => (REP_OUTSB, regs.rsi as u32),
        Direction::In => (REP_INSB, regs.rdi as u32),
    };
    let len = regs.rcx as u32;
    let is_one = forms.iter().any(|form| code.starts_with(form)) && regs.rflags & (TRAP | DOWN) == 0;
    (is_one && len >= least(direction)).then_some(Rest { address, len: len.min(MOST) })
}

/// Whether addresses are what they were at entry: a guest may have loaded a descriptor table of its own.
pub fn is_flat(sregs: &kvm_sregs) -> bool {
    let flat = |segment: &kvm_segment| segment.base == 0 && segment.limit == u32::MAX;
    let protected = sregs.cr0 & (CR0_PE | CR0_PG) == CR0_PE;
    protected && flat(&sregs.cs) && sregs.cs.db == 1 && flat(&sregs.ds) && flat(&sregs.es)
}

/// The registers after so many bytes more. Behind the last one the next instruction follows.
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
        // The registers are of 32 bits.
        let mut regs = kvm_regs { rsi: 0xffff_fff0, ..REGS };
        advance(&mut regs, Out, 0x20);
        assert_eq!(regs.rsi, 0x10);
        let mut regs = REGS;
        advance(&mut regs, In, 100);
        assert_eq!((regs.rsi, regs.rdi, regs.rcx, regs.rip), (0x1000, 0x2000 + 100, 0, 0x22));
    }

    #[test]
    fn only_flat_segments_without_paging_are_flat() {
        let mut flat = kvm_sregs::default();
        super::super::entry_state::set_segments(&mut flat);
        assert!(is_flat(&flat));
        let changes: [fn(&mut kvm_sregs); 7] = [
            |sregs| sregs.es.base = 0x10,
            |sregs| sregs.ds.base = 0x10,
            |sregs| sregs.ds.limit = 0xffff,
            |sregs| sregs.cs.base = 0x10,
            |sregs| sregs.cs.db = 0,
            |sregs| sregs.cr0 |= CR0_PG,
            |sregs| sregs.cr0 &= !CR0_PE,
        ];
        for change in changes {
            let mut other = flat;
            change(&mut other);
            assert!(!is_flat(&other));
        }
    }

    #[test]
    fn who_sends_byte_by_byte_is_left_alone() {
        for (direction, len) in [(Out, 1), (In, INPUT_PIECE)] {
            let mut bursts = Bursts::new();
            let mut looks = 0;
            for _ in 0..10_000 {
                bursts.count_exit(direction, 0xe9, len);
                if bursts.are_to_be_looked_for(direction) {
                    looks += 1;
                    bursts.looked(direction, false);
                }
            }
            assert!((30..60).contains(&looks), "{looks}");
            bursts.looked(direction, true);
            assert!(!bursts.are_to_be_looked_for(direction));
            bursts.count_exit(direction, 0xe9, len);
            assert!(bursts.are_to_be_looked_for(direction));
            bursts.turn_off(true);
            assert!(!bursts.are_to_be_looked_for(direction));
            bursts.turn_off(false);
            bursts.end();
            assert!(!bursts.are_to_be_looked_for(direction));
            bursts.count_exit(direction, 0xe9, len);
            bursts.count_exit(direction, 0xe9, 2);
            assert!(!bursts.are_to_be_looked_for(direction));
        }
    }
}
