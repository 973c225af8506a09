//! Shows the code that a run executes.

use flatland_x86::{BlockSink, Engine};

use super::Machine;
use crate::{EngineKind, MoveError};

impl Machine {
    /// Lets a sink see each block of code that the guest executes from here on. The run moves to the soft engine, and
    /// leaves it only for an instruction that it does not have: what is executed elsewhere is not seen.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use flatland_machine::{EngineChoice, Machine, Program};
    /// use flatland_x86::{BlockCode, BlockSink};
    ///
    /// /// Counts how often each block is entered.
    /// #[derive(Debug, Default)]
    /// struct Counter {
    ///     addresses: Vec<u32>,
    ///     counts: BTreeMap<u32, u64>,
    /// }
    ///
    /// impl BlockSink for Counter {
    ///     fn decoded(&mut self, _block: u32, code: &BlockCode) {
    ///         self.addresses.push(code.address);
    ///     }
    ///     fn executed(&mut self, block: u32, _instructions: u32) {
    ///         *self.counts.entry(self.addresses[block as usize]).or_default() += 1;
    ///     }
    ///     fn cleared(&mut self) {
    ///         self.addresses.clear();
    ///     }
    /// }
    ///
    /// // 0: mov ecx, 10; 5: dec ecx; 6: jnz 5; 8: hlt
    /// let program = Program::from_bytes(vec![0xb9, 10, 0, 0, 0, 0x49, 0x75, 0xfd, 0xf4])?;
    /// let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program)?;
    /// machine.watch_blocks(Counter::default())?;
    /// machine.run()?;
    /// let counter: Counter = machine.unwatch_blocks().expect("it is this one");
    /// assert_eq!(counter.counts, BTreeMap::from([(0, 1), (5, 9), (8, 1)]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch_blocks(&mut self, sink: impl BlockSink) -> Result<(), MoveError> {
        self.move_to(EngineKind::Soft)?;
        self.moving.stay(&self.engines);
        let before = self.engines.current.set_block_sink(Some(Box::new(sink)));
        before.map(drop).map_err(MoveError::Unsupported)
    }

    /// The sink that sees the blocks, if it is of this type.
    pub fn block_sink<T: BlockSink>(&mut self) -> Option<&mut T> {
        self.seen_engine()?.block_sink()?.downcast_mut()
    }

    /// Ends that, and returns the sink if it is of this type.
    pub fn unwatch_blocks<T: BlockSink>(&mut self) -> Option<T> {
        self.seen_engine()?.set_block_sink(None).ok()??.downcast()
    }

    /// The engine whose blocks are seen, also while the run is on the other one.
    fn seen_engine(&mut self) -> Option<&mut (dyn Engine + Send)> {
        match self.engines.kind() {
            Some(EngineKind::Kvm) => self.engines.parked().ok(),
            _ => Some(&mut *self.engines.current),
        }
    }
}
