//! The edges between blocks of code that a run takes, and how deep it recurses, for LibAFL.

use std::collections::HashMap;
use std::mem;

use flatland::x86::{BlockCode, BlockSink};
use iced_x86::{Decoder, DecoderOptions, FlowControl};

/// Counts how often each edge between two blocks is taken. Each depth that a function calls itself to counts as an edge, too:
/// a recursion takes the same edges however deep it is.
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
    /// How many of the numbers are of depths.
    depths: usize,
    /// The blocks that calls led to which have not returned.
    calls: Vec<u32>,
    /// The last block ended in a call.
    is_call: bool,
}

#[derive(Debug)]
struct Block {
    address: u32,
    instructions: u32,
    /// Its last instruction calls (1), returns (-1) or does neither.
    deeper: i8,
    /// How many calls to it have not returned.
    active: u32,
    /// The last two blocks that led to it, and the numbers of these edges.
    ways: [(u32, u32); 2],
}

/// No block has this number.
const NONE: u32 = u32::MAX;

impl Edges {
    /// Deeper ones are not told apart.
    const DEEPEST: u32 = 64;

    /// No block begins here: an instruction would not fit. Further down are the depths.
    const NOWHERE: u32 = u32::MAX;

    /// Has room for this many edges. All that come later share the last number.
    pub fn new(most: usize) -> Self {
        Self {
            blocks: Vec::new(),
            last: NONE,
            numbers: HashMap::new(),
            counts: vec![0; most],
            taken: Vec::new(),
            depths: 0,
            calls: Vec::new(),
            is_call: false,
        }
    }

    /// How many edges have been taken in any run.
    pub fn known(&self) -> usize {
        self.numbers.len() - self.depths
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
        self.is_call = false;
        for block in self.calls.drain(..) {
            self.blocks[block as usize].active = 0;
        }
    }

    #[cold]
    fn number(&mut self, from: u32, to: u32) -> u32 {
        let from = self.blocks.get(from as usize).map_or(Self::NOWHERE, |block| block.address);
        let next = self.numbers.len().min(self.counts.len() - 1) as u32;
        *self.numbers.entry((from, self.blocks[to as usize].address)).or_insert(next)
    }

    /// A call has led to this block.
    fn enter(&mut self, block: u32) {
        self.calls.push(block);
        let Block { address, active, .. } = &mut self.blocks[block as usize];
        *active += 1;
        if *active > 1 {
            let depth = (*active).min(Self::DEEPEST);
            let next = self.numbers.len().min(self.counts.len() - 1) as u32;
            let number = *self.numbers.entry((Self::NOWHERE - depth, *address)).or_insert_with(|| {
                self.depths += 1;
                next
            });
            self.count(number, 1);
        }
    }

    /// A call has returned.
    fn leave(&mut self) {
        if let Some(block) = self.calls.pop() {
            self.blocks[block as usize].active -= 1;
        }
    }

    fn count(&mut self, edge: u32, most: u8) {
        let count = &mut self.counts[edge as usize];
        if *count == 0 {
            self.taken.push(edge);
        }
        *count = count.saturating_add(1).min(most);
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
        let ways = [(NONE - 1, 0); 2];
        self.blocks.push(Block { address, instructions, deeper, active: 0, ways });
    }

    fn executed(&mut self, block: u32, instructions: u32) {
        let last = mem::replace(&mut self.last, block);
        let Block { ways: [first, second], deeper, instructions: all, .. } = self.blocks[block as usize];
        let edge = if first.0 == last {
            first.1
        } else if second.0 == last {
            second.1
        } else {
            let edge = self.number(last, block);
            self.blocks[block as usize].ways = [(last, edge), first];
            edge
        };
        self.count(edge, u8::MAX);
        if mem::take(&mut self.is_call) {
            self.enter(block);
        }
        if instructions == all {
            match deeper {
                1 => self.is_call = true,
                -1 => self.leave(),
                _ => {}
            }
        }
    }

    fn jumped(&mut self) {
        self.begin();
    }

    fn cleared(&mut self) {
        self.begin();
        self.blocks.clear();
        self.last = NONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1024;

    fn decode(edges: &mut Edges, addresses: &[u32]) {
        for (number, address) in (0..).zip(addresses) {
            edges.decoded(number, &BlockCode { address: *address, bytes: &[0x90], instructions: 1 });
        }
    }

    fn taken(edges: &mut Edges, path: &[u32]) -> Vec<(usize, u8)> {
        edges.jumped();
        path.iter().for_each(|block| edges.executed(*block, 1));
        let mut map = vec![0; MOST];
        edges.take(&mut map);
        map.truncate(MOST);
        map.into_iter().enumerate().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn edges_have_numbers_that_stay_and_counts_in_classes() {
        let mut edges = Edges::new(MOST);
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
        let mut edges = Edges::new(MOST);
        let addresses: Vec<u32> = (0..MOST as u32 + 10).collect();
        decode(&mut edges, &addresses);
        let seen = taken(&mut edges, &addresses);
        assert_eq!((seen.len(), seen.last()), (MOST, Some(&(MOST - 1, 16))));
    }

    #[test]
    fn each_depth_of_a_recursion_is_new_and_no_other_call() {
        let mut edges = Edges::new(MOST);
        // Two functions, which call themselves and each other: call +0; ret
        for (number, bytes) in
            [&[0xe8, 0, 0, 0, 0][..], &[0xc3], &[0xe8, 0, 0, 0, 0], &[0xc3]].iter().enumerate()
        {
            let code = BlockCode { address: 16 * number as u32, bytes, instructions: 1 };
            edges.decoded(number as u32, &code);
        }
        let mut depths = |path: &[u32]| {
            path.iter().for_each(|block| edges.executed(*block, 1));
            edges.take(&mut vec![0; MOST]);
            edges.depths
        };
        // In each other, but not in themselves.
        assert_eq!(depths(&[0, 2, 1, 3, 0, 2, 3, 1]), 0);
        assert_eq!(depths(&[2, 0, 0, 0, 1, 1, 1, 3]), 2);
        assert_eq!(depths(&[2, 0, 0, 0, 1, 1, 1, 3]), 2);
        assert_eq!(depths(&[0, 2, 2]), 3);
        // More returns than calls, and more calls than are told apart.
        assert_eq!(depths(&[1, 1, 1, 0]), 3);
        assert_eq!(depths(&[0; 1000]), 3 + 64 - 3);
        assert_eq!(edges.known(), edges.numbers.len() - 64);
    }
}
