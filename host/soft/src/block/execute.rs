//! How blocks are executed: by code of the host, too, where there is a translator.

#[cfg(not(all(feature = "translate", unix, target_arch = "x86_64")))]
mod host {
    use crate::cpu::Cpu;
    use crate::event::Break;
    use crate::operation::{Op, execute_block};

    /// Nothing is translated.
    #[derive(Debug, Default)]
    pub struct Translation;

    /// Nothing is translated.
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

        pub fn clear(&mut self) {}

        pub fn is_full(&self) -> bool {
            false
        }
    }
}

#[cfg(all(feature = "translate", unix, target_arch = "x86_64"))]
use crate::translate as host;

pub use host::{Translation, Translator};
