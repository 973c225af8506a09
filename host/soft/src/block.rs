//! Decoded code, and how long it stays true.
//!
//! A block is a run of instructions that end in one that may go elsewhere. Blocks are found by their address, and
//! each remembers the two blocks that came after it. A store to a line of RAM that a block was decoded from
//! removes the block (see [`memory`]).

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use hashbrown::HashMap;

use super::cpu::Cpu;
use super::decode::{self, decode};
use super::memory;
use super::operation::Op;
use super::segment::number::CS;

/// The most instructions in a block.
const MAX_INSTRUCTIONS: usize = 48;
/// The most blocks before all are forgotten.
const MAX_BLOCKS: usize = 1 << 16;
/// Entries of the table by which a block is found fast; a power of two.
const TABLE_SIZE: usize = 1 << 10;

/// A block's number.
pub type Id = u32;

/// No block.
const NONE: Id = u32::MAX;

/// What a block was decoded for: the address of its first instruction in the code segment, and whether it has that
/// one only. Whatever else decides how bytes are decoded empties the cache when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key(u64);

impl Key {
    const SINGLE: u64 = 1 << 32;
    /// The key of a block that was removed: none.
    const REMOVED: Self = Self(u64::MAX);

    fn new(eip: u32, single: bool) -> Self {
        Self(u64::from(eip) | if single { Self::SINGLE } else { 0 })
    }

    fn eip(self) -> u32 {
        self.0 as u32
    }

    fn is_single(self) -> bool {
        self.0 & Self::SINGLE != 0
    }
}

/// A run of decoded instructions.
#[derive(Debug)]
pub struct Block {
    key: Key,
    /// The operations. The last one always leaves the block.
    pub ops: Box<[Op]>,
    /// How many instructions they are; more than any budget where the host wants to be asked first.
    pub cost: u64,
    /// The linear address of the first byte, and the number of bytes.
    range: (u32, u32),
    /// What came after it, where that is known.
    successors: [Id; 2],
}

/// What decoding depends on besides the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mode {
    code_base: u32,
    code_limit: u32,
    code_is_32_bit: bool,
}

impl Mode {
    fn of(cpu: &Cpu) -> Self {
        let code = cpu.segment(CS);
        Self { code_base: code.base, code_limit: code.limit, code_is_32_bit: code.is_32_bit() }
    }
}

/// All blocks.
#[derive(Debug)]
pub struct Blocks {
    blocks: Vec<Block>,
    by_key: HashMap<Key, Id>,
    by_line: HashMap<u32, Vec<Id>>,
    /// The blocks that were looked for last, by their address's low bits.
    table: Box<[Id]>,
    mode: Option<Mode>,
    breakpoints: Vec<u32>,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            by_key: HashMap::new(),
            by_line: HashMap::new(),
            table: vec![NONE; TABLE_SIZE].into_boxed_slice(),
            mode: None,
            breakpoints: Vec::new(),
        }
    }
}

impl Blocks {
    /// A block. The number must be from [`Self::find`] or [`Self::next`], and no block removed since.
    #[inline(always)]
    pub fn get(&self, id: Id) -> &Block {
        &self.blocks[id as usize]
    }

    /// The block at EIP, of several instructions, after another block was left.
    #[inline(always)]
    pub fn next(&mut self, cpu: &mut Cpu, previous: Id) -> Id {
        let key = Key::new(cpu.eip, false);
        let [first, second] = self.blocks[previous as usize].successors;
        if self.has_key(first, key) {
            first
        } else if self.has_key(second, key) {
            second
        } else {
            self.find_and_link(cpu, previous)
        }
    }

    #[inline(always)]
    fn has_key(&self, id: Id, key: Key) -> bool {
        self.blocks.get(id as usize).is_some_and(|block| block.key == key)
    }

    #[inline(never)]
    fn find_and_link(&mut self, cpu: &mut Cpu, previous: Id) -> Id {
        let count = self.blocks.len();
        let id = self.find(cpu, false);
        // Unless everything was forgotten in between.
        if self.blocks.len() >= count {
            let [first, second] = &mut self.blocks[previous as usize].successors;
            if *first == NONE { *first = id } else { *second = id }
        }
        id
    }

    /// The block at EIP.
    pub fn find(&mut self, cpu: &mut Cpu, single: bool) -> Id {
        let mode = Mode::of(cpu);
        if self.mode != Some(mode) {
            self.clear(cpu);
            self.mode = Some(mode);
        }
        let key = Key::new(cpu.eip, single);
        let slot = (cpu.eip as usize ^ usize::from(single)) % TABLE_SIZE;
        let known = self.table[slot];
        if self.has_key(known, key) {
            return known;
        }
        let id = match self.by_key.get(&key) {
            Some(&id) => id,
            None => self.decode(cpu, key),
        };
        self.table[slot] = id;
        id
    }

    #[cold]
    fn decode(&mut self, cpu: &mut Cpu, key: Key) -> Id {
        if self.blocks.len() >= MAX_BLOCKS {
            self.clear(cpu);
            self.mode = Some(Mode::of(cpu));
        }
        let code = *cpu.segment(CS);
        let linear = code.base.wrapping_add(key.eip());
        let mut ops = Vec::new();
        let mut len = 0;
        let mut instructions = 0;
        let most = if key.is_single() { 1 } else { MAX_INSTRUCTIONS };
        loop {
            let eip = key.eip().wrapping_add(len);
            let first_op = ops.len();
            let decoded = decode(cpu, linear.wrapping_add(len), eip, code.room(eip), &mut ops);
            len += decoded.len;
            instructions += 1;
            let last = ops.len() - 1;
            ops[last].ordinal = instructions as u8;
            ops[first_op..last].iter_mut().for_each(|op| op.ordinal = instructions as u8 - 1);
            let next = ops[last].next;
            let wraps = linear.checked_add(len).is_none();
            if decoded.ends_block || instructions >= most || wraps || self.breakpoints.contains(&next) {
                break;
            }
        }
        let end = decode::end_of_block(&ops[ops.len() - 1]);
        ops.push(end);

        let stops_first = self.breakpoints.contains(&key.eip()) && !key.is_single();
        let id = self.blocks.len() as Id;
        self.blocks.push(Block {
            key,
            ops: ops.into_boxed_slice(),
            cost: if stops_first { u64::MAX } else { instructions as u64 },
            range: (linear, len),
            successors: [NONE; 2],
        });
        self.by_key.insert(key, id);
        for line in memory::lines(linear, len) {
            self.by_line.entry(line).or_default().push(id);
            cpu.memory.set_line_has_code(line, true);
        }
        id
    }

    /// Removes the blocks that stores have changed.
    #[cold]
    pub fn remove_changed(&mut self, cpu: &mut Cpu) {
        for (address, len) in cpu.memory.take_changes() {
            for line in memory::lines(address, len) {
                self.remove_overlapping(cpu, line, address, len);
            }
        }
    }

    fn remove_overlapping(&mut self, cpu: &mut Cpu, line: u32, address: u32, len: u32) {
        let Some(ids) = self.by_line.get_mut(&line) else { return };
        let blocks = &mut self.blocks;
        let by_key = &mut self.by_key;
        ids.retain(|&id| {
            let block = &mut blocks[id as usize];
            let (start, size) = block.range;
            let end = |start: u32, len: u32| u64::from(start) + u64::from(len);
            let overlaps = u64::from(start) < end(address, len) && u64::from(address) < end(start, size);
            if overlaps && block.key != Key::REMOVED {
                by_key.remove(&block.key);
                block.key = Key::REMOVED;
            }
            block.key != Key::REMOVED
        });
        if ids.is_empty() {
            self.by_line.remove(&line);
            cpu.memory.set_line_has_code(line, false);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self, cpu: &mut Cpu) {
        for &line in self.by_line.keys() {
            cpu.memory.set_line_has_code(line, false);
        }
        cpu.memory.take_changes();
        self.blocks.clear();
        self.by_key.clear();
        self.by_line.clear();
        self.table.fill(NONE);
        self.mode = None;
    }

    /// Sets the addresses that no block may run across.
    pub fn set_breakpoints(&mut self, cpu: &mut Cpu, breakpoints: &[u32]) {
        self.clear(cpu);
        self.breakpoints = breakpoints.to_vec();
    }
}
