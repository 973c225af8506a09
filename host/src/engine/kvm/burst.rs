//! The rest of a `rep outsb`, done here.
//!
//! KVM runs each iteration by itself: an exit each, or a place in the [ring](super::ring), which is a third of a
//! microsecond. After an exit in the middle of one, all that it would still do is known: it moves the bytes at ESI to
//! the same port. So they are taken from RAM at once, and the registers are set to what they are afterwards.

use std::mem;

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};

use super::entry_state::CR0_PE;
use super::{EngineError, KvmEngine, LastExit, ring};
use crate::engine::Engine;
use crate::fault::Access;

/// `rep outsb`, in the one form that compilers and people write (SDM volume 2, OUTS).
const REP_OUTSB: [&[u8]; 2] = [&[0xf3, 0x6e], &[0xf2, 0x6e]];

/// The most that is taken at once: a guest can be stopped between two pieces.
const MOST: u32 = 64 << 10;

/// Fewer are not worth the calls of KVM that it takes, about as much as two exits.
const LEAST: u32 = 4;

/// EFLAGS.TF and EFLAGS.DF (SDM volume 1, figure 3-8).
const TRAP: u64 = 1 << 8;
const DOWN: u64 = 1 << 10;
/// EFLAGS.RF, which is set in the middle of an instruction (SDM volume 3, section 20.3.1.1).
const RESUME: u64 = 1 << 16;

/// CR0.PG (SDM volume 3, section 2.5).
const CR0_PG: u64 = 1 << 31;

/// Finds bursts of output, and holds what was taken of one.
#[derive(Debug)]
pub struct Burst {
    /// Exits for output since the guest last did anything else.
    in_a_row: u32,
    /// After how many it is looked whether they are of one instruction: that costs about as much as two exits.
    enough: u32,
    /// Whether each transfer is to be an exit of its own.
    is_off: bool,
    bytes: Vec<u8>,
}

impl Burst {
    /// Once one was found, another one is expected.
    const SHORT: u32 = 1;
    const FIRST: u32 = 2;
    const LONG: u32 = 256;

    pub fn new() -> Self {
        Self { in_a_row: 0, enough: Self::FIRST, is_off: false, bytes: Vec::new() }
    }

    /// From now on each transfer is an exit of its own, or not.
    pub fn turn_off(&mut self, off: bool) {
        self.is_off = off;
    }

    /// There was an exit for output of a byte at a port that takes bursts.
    pub fn count_exit(&mut self) {
        self.in_a_row += 1;
    }

    /// The guest did something else.
    pub fn ends(&mut self) {
        self.in_a_row = 0;
    }

    fn is_to_be_looked_for(&self) -> bool {
        !self.is_off && self.in_a_row >= self.enough
    }

    /// It was looked. Who sends byte by byte is left alone for longer and longer.
    fn looked(&mut self, found: bool) {
        self.in_a_row = 0;
        self.enough = if found { Self::SHORT } else { (self.enough * 2).min(Self::LONG) };
    }

    /// What was taken last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl KvmEngine {
    /// If the last exit was in the middle of a `rep outsb`, takes what is left of it, and returns the port it goes to.
    pub(super) fn take_burst(&mut self) -> Result<Option<u16>, EngineError> {
        if !matches!(self.last, LastExit::Out) || !self.burst.is_to_be_looked_for() {
            return Ok(None);
        }
        self.finish_io()?;
        let mut regs = self.kvm_regs()?;
        let port = regs.rdx as u16;
        let rest = rest(&regs, self.code_at(regs.rip as u32).as_slice())
            .map(|Rest { address, len }| {
                // What cannot be read is KVM's to stumble over.
                let readable = self.map.end_of_run(Access::Read, address) - address;
                Rest { address, len: len.min(readable) }
            })
            .filter(|rest| rest.len >= LEAST && ring::takes(port));
        let found = match rest {
            Some(rest) => is_flat(&self.vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?).then_some(rest),
            None => None,
        };
        self.burst.looked(found.is_some());
        let Some(Rest { address, len }) = found else { return Ok(None) };
        let mut bytes = mem::take(&mut self.burst.bytes);
        bytes.resize(len as usize, 0);
        self.read_ram(address, &mut bytes);
        self.burst.bytes = bytes;
        advance(&mut regs, len);
        self.vcpu.set_regs(&regs).map_err(failed("KVM_SET_REGS"))?;
        self.last = LastExit::Before;
        Ok(Some(port))
    }
}

fn failed(call: &'static str) -> impl Fn(kvm_ioctls::Error) -> EngineError {
    move |errno| EngineError::Call { call, cause: errno.into() }
}

/// What is left of an instruction: so many bytes from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    pub address: u32,
    pub len: u32,
}

/// What is left of the `rep outsb` that stands at EIP, if it is one. `code` is what stands there.
pub fn rest(regs: &kvm_regs, code: &[u8]) -> Option<Rest> {
    let (address, len) = (regs.rsi as u32, regs.rcx as u32);
    let is_one = REP_OUTSB.iter().any(|form| code.starts_with(form)) && regs.rflags & (TRAP | DOWN) == 0;
    (is_one && len >= LEAST).then_some(Rest { address, len: len.min(MOST) })
}

/// Whether addresses are what they were at entry: a guest may have loaded a descriptor table of its own.
pub fn is_flat(sregs: &kvm_sregs) -> bool {
    let flat = |segment: &kvm_segment| segment.base == 0 && segment.limit == u32::MAX;
    let protected = sregs.cr0 & (CR0_PE | CR0_PG) == CR0_PE;
    protected && flat(&sregs.cs) && sregs.cs.db == 1 && flat(&sregs.ds)
}

/// The registers after so many bytes more. Behind the last one the next instruction follows.
pub fn advance(regs: &mut kvm_regs, len: u32) {
    regs.rsi = (regs.rsi as u32).wrapping_add(len).into();
    let left = (regs.rcx as u32).saturating_sub(len);
    regs.rcx = left.into();
    if left == 0 {
        regs.rflags &= !RESUME;
        regs.rip = (regs.rip as u32).wrapping_add(REP_OUTSB[0].len() as u32).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGS: kvm_regs = kvm_regs {
        rsi: 0x1000,
        rcx: 100,
        rip: 0x20,
        rflags: 2,
        rax: 0,
        rbx: 0,
        rdx: 0xe9,
        rdi: 0,
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
        assert_eq!(rest(&REGS, &[0xf3, 0x6e, 0xf4]), Some(Rest { address: 0x1000, len: 100 }));
        assert_eq!(rest(&kvm_regs { rcx: 1 << 20, ..REGS }, &[0xf3, 0x6e]).unwrap().len, 64 << 10);
        for (regs, code) in [
            (REGS, &[0x6e, 0x90][..]),
            (REGS, &[0xf3, 0x6f]),
            (REGS, &[0x26, 0xf3, 0x6e]),
            (REGS, &[0xf3]),
            (kvm_regs { rflags: 2 | DOWN, ..REGS }, &[0xf3, 0x6e]),
            (kvm_regs { rflags: 2 | TRAP, ..REGS }, &[0xf3, 0x6e]),
            (kvm_regs { rcx: 3, ..REGS }, &[0xf3, 0x6e]),
        ] {
            assert_eq!(rest(&regs, code), None, "{code:x?}");
        }
    }

    #[test]
    fn eip_stays_until_the_last_byte() {
        let mut regs = REGS;
        advance(&mut regs, 60);
        assert_eq!((regs.rsi, regs.rcx, regs.rip), (0x1000 + 60, 40, 0x20));
        advance(&mut regs, 40);
        assert_eq!((regs.rsi, regs.rcx, regs.rip), (0x1000 + 100, 0, 0x22));
        // The registers are of 32 bits.
        let mut regs = kvm_regs { rsi: 0xffff_fff0, ..REGS };
        advance(&mut regs, 0x20);
        assert_eq!(regs.rsi, 0x10);
    }

    #[test]
    fn only_flat_segments_without_paging_are_flat() {
        let mut flat = kvm_sregs::default();
        super::super::entry_state::set_segments(&mut flat);
        assert!(is_flat(&flat));
        let changes: [fn(&mut kvm_sregs); 6] = [
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
        let mut burst = Burst::new();
        let mut looks = 0;
        for _ in 0..10_000 {
            burst.count_exit();
            if burst.is_to_be_looked_for() {
                looks += 1;
                burst.looked(false);
            }
        }
        assert!((30..60).contains(&looks), "{looks}");
        burst.looked(true);
        assert!(!burst.is_to_be_looked_for());
        burst.count_exit();
        assert!(burst.is_to_be_looked_for());
        burst.turn_off(true);
        assert!(!burst.is_to_be_looked_for());
        burst.turn_off(false);
        burst.ends();
        assert!(!burst.is_to_be_looked_for());
    }
}
