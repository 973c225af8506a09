//! Counts how often each instruction is executed, and which way each conditional jump goes.

use std::collections::HashMap;

use flatland_x86::{BlockCode, BlockSink};
use iced_x86::{Decoder, DecoderOptions, FlowControl};

/// How often each instruction of a run was executed.
///
/// It is a sink for [`Machine::watch_blocks`](flatland_machine::Machine::watch_blocks). The counts of several runs of
/// one program can be merged.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    instructions: HashMap<u32, u64>,
    jumps: HashMap<u32, Jump>,
    /// The blocks of now, by their numbers.
    blocks: Vec<Block>,
    /// The last block, if it was executed to its end.
    last: Option<u32>,
    /// The jump at its end, if its number has no meaning any more.
    unfinished: Option<(u32, (u32, u32))>,
}

/// How often a conditional jump was taken, and how often not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jump {
    /// How often the next instruction was another than the one behind it.
    pub taken: u64,
    /// How often it was the one behind it.
    pub not_taken: u64,
    /// Where it leads to, and the address behind it.
    pub targets: (u32, u32),
}

#[derive(Clone, Debug)]
struct Block {
    address: u32,
    /// How often it was executed to its end.
    count: u64,
    /// The conditional jump at its end.
    jump: Option<(u32, Jump)>,
    /// How often the first instructions of it were executed, and no more: by their number.
    left: Vec<u64>,
    /// The addresses of its instructions.
    addresses: Box<[u32]>,
}

impl BlockSink for Counter {
    fn decoded(&mut self, _: u32, code: &BlockCode) {
        let decoder = Decoder::with_ip(32, code.bytes, code.address.into(), DecoderOptions::NONE);
        let mut addresses = Vec::with_capacity(code.instructions as usize);
        let mut jump = None;
        for instruction in decoder.into_iter().take(code.instructions as usize) {
            addresses.push(instruction.ip32());
            let is_conditional = instruction.flow_control() == FlowControl::ConditionalBranch;
            jump = is_conditional.then(|| {
                let targets = (instruction.near_branch32(), instruction.next_ip32());
                (instruction.ip32(), Jump { targets, ..Jump::default() })
            });
        }
        let addresses = addresses.into_boxed_slice();
        self.blocks.push(Block { address: code.address, count: 0, jump, left: Vec::new(), addresses });
    }

    #[inline]
    fn executed(&mut self, block: u32, instructions: u32) {
        let address = self.blocks[block as usize].address;
        if let Some(last) = self.last
            && let Some((_, jump)) = &mut self.blocks[last as usize].jump
        {
            jump.goes_to(address);
        } else if let Some((at, targets)) = self.unfinished.take() {
            let jump = self.jumps.entry(at).or_default();
            jump.targets = targets;
            jump.goes_to(address);
        }
        let entered = &mut self.blocks[block as usize];
        if instructions as usize == entered.addresses.len() {
            entered.count += 1;
            self.last = Some(block);
        } else {
            entered.leave(instructions as usize);
            self.last = None;
        }
    }

    fn jumped(&mut self) {
        (self.last, self.unfinished) = (None, None);
    }

    fn cleared(&mut self) {
        if let Some(last) = self.last.take() {
            self.unfinished = self.blocks[last as usize].jump.map(|(at, jump)| (at, jump.targets));
        }
        self.fold();
    }
}

impl Block {
    #[cold]
    fn leave(&mut self, instructions: usize) {
        if self.left.len() <= instructions {
            self.left.resize(instructions + 1, 0);
        }
        self.left[instructions] += 1;
    }
}

impl Counter {
    /// Adds what the blocks have counted to the counts by address.
    fn fold(&mut self) {
        for block in self.blocks.drain(..) {
            let mut count = block.count;
            let mut counts = vec![0; block.addresses.len()];
            for at in (0..block.addresses.len()).rev() {
                count += block.left.get(at + 1).copied().unwrap_or(0);
                counts[at] = count;
            }
            for (address, count) in block.addresses.iter().zip(counts) {
                if count > 0 {
                    *self.instructions.entry(*address).or_default() += count;
                }
            }
            if let Some((address, jump)) = block.jump
                && jump.taken + jump.not_taken > 0
            {
                self.jumps.entry(address).or_default().add(&jump);
            }
        }
    }

    /// Ends the counting.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.jumped();
        self.fold();
        self
    }

    /// Adds the counts of another run, which is finished.
    pub fn merge(&mut self, other: &Self) {
        for (address, count) in &other.instructions {
            *self.instructions.entry(*address).or_default() += count;
        }
        for (address, jump) in &other.jumps {
            self.jumps.entry(*address).or_default().add(jump);
        }
    }

    /// How often the instruction at this address was executed.
    pub fn count(&self, address: u32) -> u64 {
        self.instructions.get(&address).copied().unwrap_or(0)
    }

    /// How many instructions were executed.
    pub fn total(&self) -> u64 {
        self.instructions.values().sum()
    }

    /// The conditional jumps that were executed, by their addresses.
    pub fn jumps(&self) -> impl Iterator<Item = (u32, Jump)> {
        self.jumps.iter().map(|(address, jump)| (*address, *jump))
    }
}

impl Jump {
    #[inline]
    fn goes_to(&mut self, address: u32) {
        if address == self.targets.1 { self.not_taken += 1 } else { self.taken += 1 }
    }

    fn add(&mut self, other: &Self) {
        self.taken += other.taken;
        self.not_taken += other.not_taken;
        self.targets = other.targets;
    }
}
