//! Shows the code that a run executes.

use flatland_x86::{BlockSink, Comparison, Engine};

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

    /// Keeps what the guest compares from here on, or no more. As with [`Self::watch_blocks`], the run moves to the soft
    /// engine.
    ///
    /// ```
    /// use flatland_machine::{EngineChoice, Machine, Program};
    /// use flatland_x86::{Comparison, Operands};
    ///
    /// // in al, 0xe9; 2: cmp al, 42; hlt
    /// let program = Program::from_bytes(vec![0xe4, 0xe9, 0x3c, 42, 0xf4])?;
    /// let mut machine = Machine::builder().engine(EngineChoice::Soft).input(&[7]).build(&program)?;
    /// machine.watch_comparisons(true)?;
    /// machine.run()?;
    /// let operands = Operands::Numbers { width: 1, first: 7, second: 42, is_constant: true };
    /// assert_eq!(machine.take_comparisons(), [Comparison { address: 2, operands }]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch_comparisons(&mut self, on: bool) -> Result<(), MoveError> {
        self.move_to(EngineKind::Soft)?;
        self.moving.stay(&self.engines);
        self.engines.current.watch_comparisons(on).map_err(MoveError::Unsupported)
    }

    /// What has been compared since the last call, in order; of each instruction the first [`Comparison::OF_EACH`] times.
    pub fn take_comparisons(&mut self) -> Vec<Comparison> {
        self.seen_engine().map(|engine| engine.take_comparisons()).unwrap_or_default()
    }

    /// The engine whose blocks are seen, also while the run is on the other one.
    fn seen_engine(&mut self) -> Option<&mut (dyn Engine + Send)> {
        match self.engines.kind() {
            Some(EngineKind::Kvm) => self.engines.parked().ok(),
            _ => Some(&mut *self.engines.current),
        }
    }
}
