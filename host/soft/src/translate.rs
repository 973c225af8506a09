//! A translator: hot blocks become code of the host, an x86-64.
//!
//! A translated block does what `execute_block` does and returns the same, so all else is the interpreter's: counts,
//! faults, limits, requests. An instruction without a template is a call of the interpreter's handler. The guest's
//! registers are in the host's; the status flags are in [`Cpu`], in its form, wherever somebody could see them.
//!
//! A block that jumps to itself stays in its code until a limit comes near.

mod arena;
mod assembler;
mod calls;
mod template;

use alloc::boxed::Box;
use core::ptr::NonNull;

use super::cpu::Cpu;
use super::event::Break;
use super::flags::{self, Flags};
use super::operation::{Op, execute_block};
use arena::Arena;

/// How many instructions may be executed before the interrupt of another thread is looked at.
const QUANTUM: u64 = 100_000;

/// All reasons to leave a block, by their numbers.
const REASONS: [Break; 6] =
    [Break::Branch, Break::BranchAnew, Break::CodeChanged, Break::Again, Break::Request, Break::Problem];

/// Translated code of a block. It is executed with the operations that it was made of only.
#[derive(Clone, Copy, Debug)]
struct Code(NonNull<u8>);

// SAFETY: it is the address of code that does not depend on the thread.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

/// What is known of a block: how often its operations were executed, and its code.
#[derive(Debug, Default)]
pub struct Translation {
    executions: u32,
    code: Option<Code>,
}

/// What translates.
#[derive(Debug)]
pub struct Translator {
    /// Made when the first block is translated.
    host: Option<Host>,
    /// Whether the memory for code was not enough.
    is_full: bool,
    /// A block that was executed so often is translated. None is, without a number.
    pub after: Option<u32>,
}

/// What translated code needs.
#[derive(Debug)]
struct Host {
    arena: Arena,
    /// The flags of [`Cpu`] by SF, ZF, AF, PF and CF as `lahf` has them, and OF as bit 0.
    flags: Box<[Flags]>,
}

impl Host {
    fn new() -> Option<Self> {
        let flags = (0..512).map(|index: u32| {
            let overflow = if index & 1 != 0 { flags::OF } else { 0 };
            Flags::from_eflags(index >> 1 & 0xff | overflow)
        });
        Some(Self { arena: Arena::new()?, flags: flags.collect() })
    }
}

impl Default for Translator {
    fn default() -> Self {
        Self { host: None, is_full: false, after: Some(50) }
    }
}

impl Translator {
    /// Translates a block that begins at this address, if that is worth it.
    #[cold]
    fn translate(&mut self, cpu: &Cpu, start: u32, ops: &[Op]) -> Option<Code> {
        let code = template::translate(cpu, start, ops)?;
        if self.host.is_none() {
            self.host = Host::new();
        }
        let Some(host) = &mut self.host else {
            // The system allows no code: the interpreter executes all.
            self.after = None;
            return None;
        };
        let added = host.arena.add(&code);
        self.is_full |= added.is_none();
        added.map(Code)
    }

    /// Whether there was no room for a block's code. Then all blocks are to be removed.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Forgets all code.
    pub fn clear(&mut self) {
        self.is_full = false;
        if let Some(host) = &mut self.host {
            host.arena.clear();
        }
    }

    /// Executes a block: its operations, or its code. `block` is its address and its operations.
    ///
    /// # Safety
    ///
    /// The translation must have been used with this translator, these operations and this processor only, and not before the last
    /// [`Self::clear`].
    #[inline(always)]
    pub unsafe fn execute<'a>(
        &mut self,
        translation: &mut Translation,
        cpu: &mut Cpu,
        (start, ops): (u32, &'a [Op]),
        limit: u64,
    ) -> (&'a Op, Break) {
        if let Some(code) = translation.code {
            // SAFETY: it was translated below.
            return unsafe { self.execute_code(cpu, code, ops, limit) };
        }
        translation.executions = translation.executions.saturating_add(1);
        if Some(translation.executions) == self.after {
            translation.code = self.translate(cpu, start, ops);
        }
        execute_block(cpu, ops)
    }

    /// Executes a block up to the first operation that leaves it. Instructions of complete passes through a block that
    /// jumps to itself are counted.
    ///
    /// # Safety
    ///
    /// `code` must be what [`Self::translate`] of this translator and this `cpu` returned for these operations, with no
    /// [`Self::clear`] since.
    #[inline]
    unsafe fn execute_code<'a>(
        &self,
        cpu: &mut Cpu,
        code: Code,
        ops: &'a [Op],
        limit: u64,
    ) -> (&'a Op, Break) {
        type Entry = unsafe extern "sysv64" fn(*mut Cpu, *mut u8, *const Flags, u64, *const u8) -> u64;
        let limit = limit.min(cpu.instructions.saturating_add(QUANTUM));
        // SAFETY: the code is a function of this type.
        let entry = unsafe { core::mem::transmute::<NonNull<u8>, Entry>(code.0) };
        let flags = self.host.as_ref().expect("it has the code").flags.as_ptr();
        let (ram, lines) = cpu.memory.parts();
        // SAFETY: RAM and marks are this processor's, and the code compares with its ends. All of it is borrowed here.
        let left = unsafe { entry(cpu, ram, flags, limit, lines) };
        (&ops[(left & 0xffff) as usize], REASONS[(left >> 16) as usize])
    }
}

// Code moves them as one number of 64 bits.
const _: () = assert!(size_of::<Flags>() == 8);

const _: () = {
    let mut number = 0;
    while number < REASONS.len() {
        assert!(REASONS[number] as usize == number);
        number += 1;
    }
};
