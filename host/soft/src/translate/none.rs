//! No translator: blocks are executed by their operations.

use super::cpu::Cpu;
use super::event::Break;
use super::operation::{Op, execute_block};

/// Nothing is known of a block.
#[derive(Debug, Default)]
pub struct Translation;

/// Translates nothing.
#[derive(Debug, Default)]
pub struct Translator;

impl Translator {
    /// Executes a block by its operations.
    ///
    /// # Safety
    ///
    /// None is needed here, but that of the translator.
    #[inline(always)]
    pub unsafe fn execute<'a>(
        &mut self,
        _: &mut Translation,
        cpu: &mut Cpu,
        (_, ops): (u32, &'a [Op]),
        _: u64,
    ) -> (&'a Op, Break) {
        execute_block(cpu, ops)
    }

    /// There is no code to forget.
    pub fn clear(&mut self) {}

    /// There is always room for no code.
    pub fn is_full(&self) -> bool {
        false
    }
}
