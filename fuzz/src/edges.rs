//! The edges between blocks of code that a run takes, and how deep its calls are, for LibAFL.

use std::collections::HashMap;
use std::mem;

use flatland::x86::{BlockCode, BlockSink};
use iced_x86::{Decoder, DecoderOptions, FlowControl};

/// Counts how often each edge between two blocks is taken, and how deep calls are: a recursion takes the same edges however deep
/// it is.
///
/// An edge gets the next number when it is taken first. So the map is as small as the program, which matters because it is
/// looked at after each run, and no two edges share a counter.
#[derive(Debug)]
pub struct Edges {
    blocks: Vec<Block>,
    /// The block that was executed last.
    last: u32,
    /// The number of each edge by the addresses of its two blocks.
    numbers: HashMap<(u32, u32), u32>,
    counts: Vec<u8>,
    /// The edges that were taken since the last [`Self::take`].
    taken: Vec<u32>,
    /// How many more calls than returns there were, and the most.
    depth: i32,
    deepest: i32,
}

#[derive(Debug)]
struct Block {
    address: u32,
    instructions: u32,
    /// Its last instruction calls (1), returns (-1) or does neither.
    deeper: i8,
    /// The last two blocks that led to it, and the numbers of these edges.
    ways: [(u32, u32); 2],
}

/// No block has this number.
const NONE: u32 = u32::MAX;

impl Edges {
    /// The most edges. All that come later share the last number.
    const MOST: usize = (1 << 14) - Self::DEPTHS;

    /// How many depths of calls are told apart. They stand behind the edges.
    const DEPTHS: usize = 128;

    /// The size of a map.
    pub const MAP: usize = Self::MOST + Self::DEPTHS;

    pub fn new() -> Self {
        Self {
            blocks: Vec::new(),
            last: NONE,
            numbers: HashMap::new(),
            counts: vec![0; Self::MOST],
            taken: Vec::new(),
            depth: 0,
            deepest: 0,
        }
    }

    /// How many edges have been taken in any run.
    pub fn known(&self) -> usize {
        self.numbers.len()
    }

    /// Adds what the run has taken to a map that is all 0, and forgets it. Counts that are nearly the same become the same, as
    /// AFL does it: 1, 2, 3, 4 to 7, 8 to 15, 16 to 31, 32 to 127, more.
    pub fn take(&mut self, map: &mut [u8]) {
        for edge in self.taken.drain(..) {
            let count = mem::take(&mut self.counts[edge as usize]);
            map[edge as usize] = match count {
                0..=2 => count,
                3 => 4,
                4..=7 => 8,
                8..=15 => 16,
                16..=31 => 32,
                32..=127 => 64,
                128.. => 128,
            };
        }
        map[Self::MOST + (self.deepest as usize).min(Self::DEPTHS - 1)] = 1;
        self.begin();
    }

    /// Forgets what the run has taken.
    pub fn forget(&mut self) {
        for edge in self.taken.drain(..) {
            self.counts[edge as usize] = 0;
        }
        self.begin();
    }

    /// The next block is the first one of a run.
    fn begin(&mut self) {
        self.last = NONE;
        (self.depth, self.deepest) = (0, 0);
    }

    #[cold]
    fn number(&mut self, from: u32, to: u32) -> u32 {
        // No block begins at the last address: an instruction there would not fit.
        let from = self.blocks.get(from as usize).map_or(NONE, |block| block.address);
        let next = self.numbers.len().min(Self::MOST - 1) as u32;
        *self.numbers.entry((from, self.blocks[to as usize].address)).or_insert(next)
    }
}

impl BlockSink for Edges {
    fn decoded(&mut self, _: u32, code: &BlockCode) {
        let decoder = Decoder::with_ip(32, code.bytes, code.address.into(), DecoderOptions::NONE);
        let deeper = match decoder.into_iter().last().map(|last| last.flow_control()) {
            Some(FlowControl::Call | FlowControl::IndirectCall) => 1,
            Some(FlowControl::Return) => -1,
            _ => 0,
        };
        let (address, instructions) = (code.address, code.instructions);
        self.blocks.push(Block { address, instructions, deeper, ways: [(NONE - 1, 0); 2] });
    }

    fn executed(&mut self, block: u32, instructions: u32) {
        let last = mem::replace(&mut self.last, block);
        let Block { ways: [first, second], deeper, instructions: all, .. } = self.blocks[block as usize];
        if deeper != 0 && instructions == all {
            self.depth += i32::from(deeper);
            self.deepest = self.deepest.max(self.depth);
        }
        let edge = if first.0 == last {
            first.1
        } else if second.0 == last {
            second.1
        } else {
            let edge = self.number(last, block);
            self.blocks[block as usize].ways = [(last, edge), first];
            edge
        };
        let count = &mut self.counts[edge as usize];
        if *count == 0 {
            self.taken.push(edge);
        }
        *count = count.saturating_add(1);
    }

    fn jumped(&mut self) {
        self.last = NONE;
    }

    fn cleared(&mut self) {
        self.blocks.clear();
        self.last = NONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(edges: &mut Edges, addresses: &[u32]) {
        for (number, address) in (0..).zip(addresses) {
            edges.decoded(number, &BlockCode { address: *address, bytes: &[0x90], instructions: 1 });
        }
    }

    fn taken(edges: &mut Edges, path: &[u32]) -> Vec<(usize, u8)> {
        edges.jumped();
        path.iter().for_each(|block| edges.executed(*block, 1));
        let mut map = vec![0; Edges::MAP];
        edges.take(&mut map);
        map.truncate(Edges::MOST);
        map.into_iter().enumerate().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn edges_have_numbers_that_stay_and_counts_in_classes() {
        let mut edges = Edges::new();
        decode(&mut edges, &[10, 20, 30, 40]);
        assert_eq!(taken(&mut edges, &[0, 1, 0, 1, 1]), [(0, 1), (1, 2), (2, 1), (3, 1)]);
        // More ways than are at hand.
        assert_eq!(taken(&mut edges, &[2, 1, 3, 1, 0, 1]), [(1, 1), (2, 1), (4, 1), (5, 1), (6, 1), (7, 1)]);
        // Another order of decoding changes no number.
        edges.cleared();
        decode(&mut edges, &[20, 10]);
        assert_eq!(taken(&mut edges, &[1, 0, 1, 0, 0]), [(0, 1), (1, 2), (2, 1), (3, 1)]);
        assert_eq!(taken(&mut edges, &[0; 100]), [(3, 64), (8, 1)]);
        assert_eq!(edges.known(), 9);
    }

    #[test]
    fn what_comes_too_late_shares_the_last_number() {
        let mut edges = Edges::new();
        let addresses: Vec<u32> = (0..Edges::MOST as u32 + 10).collect();
        decode(&mut edges, &addresses);
        let seen = taken(&mut edges, &addresses);
        assert_eq!((seen.len(), seen.last()), (Edges::MOST, Some(&(Edges::MOST - 1, 16))));
    }

    #[test]
    fn each_depth_of_calls_is_an_element_of_the_map() {
        let mut edges = Edges::new();
        // call +0; ret; nop
        for (number, bytes) in [&[0xe8, 0, 0, 0, 0][..], &[0xc3], &[0x90]].into_iter().enumerate() {
            let code = BlockCode { address: 16 * number as u32, bytes, instructions: 1 };
            edges.decoded(number as u32, &code);
        }
        let mut depth = |path: &[u32]| {
            path.iter().for_each(|block| edges.executed(*block, 1));
            let mut map = vec![0; Edges::MAP];
            edges.take(&mut map);
            map[Edges::MOST..].iter().position(|is_there| *is_there == 1)
        };
        assert_eq!(depth(&[2]), Some(0));
        assert_eq!(depth(&[0, 1, 0, 0, 2, 1, 1, 0]), Some(2));
        // More returns than calls are no depth.
        assert_eq!(depth(&[1, 1, 1, 0]), Some(0));
        assert_eq!(depth(&[0; 1000]), Some(Edges::DEPTHS - 1));
    }
}
