//! The cache of decoded blocks.
//!
//! A block is a run of instructions that ends with a branch. Blocks are found by their address, and each records the
//! two blocks that followed it. A store to a block's bytes removes the block (see [`memory`]).

mod key;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use flatland_x86::{BlockCode, BlockSink};
use hashbrown::HashMap;

use super::cpu::Cpu;
use super::decode::{self, Code};
use super::event::Break;
use super::memory;
use super::operation::Op;
use super::segment::number::CS;
use super::tlb::OFFSET;
use super::translate::{Translation, Translator};
use flatland_contract::memory::PAGE_SIZE;
use key::{Key, Mode};

/// The most instructions in a block.
const MAX_INSTRUCTIONS: usize = 48;
/// The most blocks. When there are this many, all are removed.
const MAX_BLOCKS: usize = 1 << 16;
/// The most instructions in a block while code changes as fast as it is decoded: see [`Blocks::most_instructions`].
const MAX_INSTRUCTIONS_OF_CHANGING_CODE: usize = 4;
/// Blocks become short when more instructions than this are decoded for each one that is executed.
const DECODED_FOR_EACH_EXECUTED: u64 = 4;
/// This many instructions may be decoded before that rule applies.
const DECODED_AT_FIRST: u64 = 4096;
/// A store to a line with more blocks than this removes all of them instead of comparing each with the store.
const MAX_COMPARED: usize = 16;
/// Entries of the lookup table in front of the hash map; a power of two.
const TABLE_SIZE: usize = 1 << 10;

/// A block's number.
pub type Id = u32;

/// No block.
const NONE: Id = u32::MAX;

/// A run of decoded instructions.
#[derive(Debug)]
pub struct Block {
    key: Key,
    /// The operations. The last one always leaves the block.
    pub ops: Box<[Op]>,
    /// The number of instructions. [`u64::MAX`], more than any limit, if there is a breakpoint at the first one.
    pub cost: u64,
    /// The physical address of the first byte, and the number of bytes there.
    range: (u32, u32),
    /// The same of the bytes on a second page, if the only instruction continues there. Without bytes if no page can be
    /// executed there.
    second: Option<(u32, u32)>,
    /// The two blocks that followed it, if known.
    successors: [Id; 2],
    translation: Translation,
}

impl Block {
    /// The ranges of bytes in RAM.
    fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        core::iter::once(self.range).chain(self.second).filter(|(_, len)| *len > 0)
    }
}

/// All blocks.
#[derive(Debug)]
pub struct Blocks {
    blocks: Vec<Block>,
    by_key: HashMap<Key, Id>,
    by_line: HashMap<u32, Vec<Id>>,
    /// The blocks that were found last, by the low bits of their addresses.
    table: Box<[Id]>,
    mode: Option<Mode>,
    breakpoints: Vec<u32>,
    /// How many instructions have been decoded.
    decoded: u64,
    /// How many blocks and lines have been compared with stores to code.
    compared: u64,
    /// What sees the blocks that are executed.
    sink: Option<Box<dyn BlockSink>>,
    /// It sees nothing for a while.
    is_paused: bool,
    translator: Translator,
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
            decoded: 0,
            compared: 0,
            sink: None,
            is_paused: false,
            translator: Default::default(),
        }
    }
}

impl Blocks {
    /// A block. The number must be from [`Self::find`] or [`Self::next`], and no block removed since.
    #[inline(always)]
    pub fn get(&self, id: Id) -> &Block {
        &self.blocks[id as usize]
    }

    /// Executes a block of several instructions, by code of the host if it is translated. Passes through a block that
    /// jumps to itself are executed without a return, and all but the last are counted, while `limit` is not exceeded.
    #[inline(always)]
    pub fn execute(&mut self, cpu: &mut Cpu, id: Id, limit: u64) -> (&Op, Break) {
        let block = &mut self.blocks[id as usize];
        let code = (block.key.eip(), &*block.ops);
        // SAFETY: a block keeps its operations until a store removes it, and is not found any more then. Code and blocks
        // are forgotten together.
        unsafe { self.translator.execute(&mut block.translation, cpu, code, limit) }
    }

    /// From now on, blocks are translated when they have been executed so often; none without a number.
    #[cfg(all(feature = "translate", unix, target_arch = "x86_64"))]
    pub fn translate_after(&mut self, executions: Option<u32>) {
        self.translator.after = executions;
    }

    /// Whether no store has removed the block.
    pub fn contains(&self, id: Id) -> bool {
        self.blocks[id as usize].key != Key::REMOVED
    }

    /// How many instructions a new block may have. Code that changes itself or its segments has its blocks removed
    /// before they are executed to their end. Short blocks keep the cost of decoding in proportion to what is
    /// executed.
    fn most_instructions(&self, cpu: &Cpu, key: Key) -> usize {
        let allowed = cpu.instructions.saturating_mul(DECODED_FOR_EACH_EXECUTED);
        if key.is_single() {
            1
        } else if self.decoded <= allowed.saturating_add(DECODED_AT_FIRST) {
            MAX_INSTRUCTIONS
        } else {
            MAX_INSTRUCTIONS_OF_CHANGING_CODE
        }
    }

    /// The block at EIP, of several instructions, after another block was left.
    #[inline(always)]
    pub fn next<const PAGED: bool>(&mut self, cpu: &mut Cpu, previous: Id) -> Id {
        let mut key = Key::new(cpu.eip, false);
        if PAGED {
            key = key.on_page(cpu.code_page(cpu.eip));
        }
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
        // Skipped if `find` emptied the cache.
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
        let mut key = Key::new(cpu.eip, single);
        if mode.is_paged {
            key = key.on_page(cpu.code_page(cpu.eip));
        }
        let slot = (cpu.eip as usize ^ usize::from(single)) % TABLE_SIZE;
        let known = self.table[slot];
        if self.has_key(known, key) || self.has_key(known, key.crossing()) && self.continues(cpu, known) {
            return known;
        }
        let id = match self.by_key.get(&key) {
            Some(&id) => id,
            None => match self.by_key.get(&key.crossing()).copied() {
                Some(id) if self.continues(cpu, id) => id,
                _ => self.decode(cpu, key),
            },
        };
        self.table[slot] = id;
        id
    }

    /// Whether the block of an instruction that continues on the next page is that of the page that is there now. If not,
    /// it is removed.
    fn continues(&mut self, cpu: &mut Cpu, id: Id) -> bool {
        let block = &mut self.blocks[id as usize];
        let linear = cpu.segment(CS).base.wrapping_add(block.key.eip());
        let page = cpu.page_of_code((linear | OFFSET).wrapping_add(1)).ok();
        let is_same =
            block.second.map(|(address, len)| (len > 0).then_some(address / PAGE_SIZE)) == Some(page);
        if !is_same {
            self.by_key.remove(&block.key);
            block.key = Key::REMOVED;
            block.ops = Box::default();
        }
        is_same
    }

    #[cold]
    fn decode(&mut self, cpu: &mut Cpu, key: Key) -> Id {
        if self.blocks.len() >= MAX_BLOCKS || self.translator.is_full() {
            self.clear(cpu);
            self.mode = Some(Mode::of(cpu));
        }
        let segment = *cpu.segment(CS);
        let linear = segment.base.wrapping_add(key.eip());
        // Where the page ends, and what is added to a linear address there for the physical one.
        let (page_end, distance) = match key.page() {
            _ if !cpu.is_paged() => (None, 0),
            Some(page) => {
                (Some(u64::from(linear | OFFSET) + 1), (page * PAGE_SIZE).wrapping_sub(linear & !OFFSET))
            }
            None => (Some(0), 0),
        };
        let mut block = Block {
            key,
            ops: Box::default(),
            cost: 0,
            range: (linear.wrapping_add(distance), 0),
            second: None,
            successors: [NONE; 2],
            translation: Default::default(),
        };
        let mut ops = Vec::new();
        let mut instructions = 0;
        let most = self.most_instructions(cpu, key);
        // The bytes of an instruction on two pages.
        let mut joined = Vec::new();
        loop {
            let len = block.range.1;
            let eip = key.eip().wrapping_add(len);
            let here = linear.wrapping_add(len);
            if page_end == Some(0) {
                ops.push(decode::page_fault(eip));
                instructions = 1;
                break;
            }
            let first_op = ops.len();
            let in_segment = decode::most_bytes(segment.room(eip));
            let on_page = page_end.map_or(in_segment, |end| in_segment.min((end - u64::from(here)) as u32));
            let physical = here.wrapping_add(distance);
            let bytes = cpu.memory.code(physical, on_page);
            let code = Code { bytes, in_segment, end: physical.wrapping_add(bytes.len() as u32) };
            let mut decoded = decode::decode(cpu, code, eip, &mut ops);
            if decoded.is_cut && on_page < in_segment && bytes.len() as u32 == on_page {
                ops.truncate(first_op);
                if instructions > 0 {
                    break;
                }
                joined = bytes.to_vec();
                block.key = key.crossing();
                decoded.ends_block = true;
                match cpu.page_of_code((here | OFFSET).wrapping_add(1)) {
                    Ok(page) => {
                        let second = page * PAGE_SIZE;
                        joined.extend_from_slice(cpu.memory.code(second, in_segment - on_page));
                        let end = second.wrapping_add(joined.len() as u32 - on_page);
                        let code = Code { bytes: &joined, in_segment, end };
                        let whole = decode::decode(cpu, code, eip, &mut ops);
                        // At least one byte, so that a page that is not memory is told from none.
                        block.second = Some((second, (whole.len.saturating_sub(on_page)).max(1)));
                        decoded.len = on_page;
                    }
                    Err(_) => {
                        ops.push(decode::page_fault(eip));
                        block.second = Some((0, 0));
                        decoded.len = on_page;
                    }
                }
            }
            block.range.1 += decoded.len;
            instructions += 1;
            let last = ops.len() - 1;
            ops[first_op..].iter_mut().for_each(|op| op.ordinal = instructions as u8);
            let next = ops[last].next;
            let here = linear.wrapping_add(block.range.1);
            let ends = here < linear || page_end.is_some_and(|end| u64::from(here) >= end);
            if decoded.ends_block || instructions >= most || ends || self.breakpoints.contains(&next) {
                break;
            }
        }
        let end = decode::end_of_block(&ops[ops.len() - 1]);
        ops.push(end);

        self.decoded += instructions as u64;
        if let Some(sink) = &mut self.sink {
            let (address, len) = block.range;
            let bytes = if joined.is_empty() { cpu.memory.code(address, len) } else { &joined };
            let block = self.blocks.len() as u32;
            sink.decoded(block, &BlockCode { address: key.eip(), bytes, instructions: instructions as u32 });
        }
        let stops_first = self.breakpoints.contains(&key.eip()) && !key.is_single();
        let id = self.blocks.len() as Id;
        block.ops = ops.into_boxed_slice();
        block.cost = if stops_first { u64::MAX } else { instructions as u64 };
        self.by_key.insert(block.key, id);
        for line in block.ranges().flat_map(|(address, len)| memory::lines(address, len)) {
            self.by_line.entry(line).or_default().push(id);
            cpu.memory.set_line_has_code(line, true);
        }
        self.blocks.push(block);
        id
    }

    /// Removes the blocks that stores have changed.
    #[cold]
    pub fn remove_changed(&mut self, cpu: &mut Cpu) {
        for (address, len) in cpu.memory.take_changes() {
            let changed = memory::lines(address, len);
            if (changed.end() - changed.start()) as usize <= self.by_line.len() {
                changed.for_each(|line| self.remove_overlapping(cpu, line, address, len));
            } else {
                let with_code = self.by_line.keys().copied().filter(|line| changed.contains(line));
                for line in with_code.collect::<Vec<_>>() {
                    self.remove_overlapping(cpu, line, address, len);
                }
            }
        }
    }

    fn remove_overlapping(&mut self, cpu: &mut Cpu, line: u32, address: u32, len: u32) {
        self.compared += 1;
        let Some(ids) = self.by_line.get_mut(&line) else { return };
        self.compared += ids.len() as u64;
        let are_many = ids.len() > MAX_COMPARED;
        let blocks = &mut self.blocks;
        let by_key = &mut self.by_key;
        ids.retain(|&id| {
            let block = &mut blocks[id as usize];
            let end = |start: u32, len: u32| u64::from(start) + u64::from(len);
            let overlaps = block.ranges().any(|(start, size)| {
                u64::from(start) < end(address, len) && u64::from(address) < end(start, size)
            });
            if (overlaps || are_many) && block.key != Key::REMOVED {
                by_key.remove(&block.key);
                block.key = Key::REMOVED;
                block.ops = Box::default();
            }
            block.key != Key::REMOVED
        });
        if ids.is_empty() {
            self.by_line.remove(&line);
            cpu.memory.set_line_has_code(line, false);
        }
    }

    /// Empties the cache.
    pub fn clear(&mut self, cpu: &mut Cpu) {
        // New maps: emptying one takes time in proportion to the largest size that it ever had.
        for line in core::mem::take(&mut self.by_line).into_keys() {
            cpu.memory.set_line_has_code(line, false);
        }
        cpu.memory.take_changes();
        self.blocks.clear();
        self.translator.clear();
        self.by_key = HashMap::new();
        self.table.fill(NONE);
        self.mode = None;
        if let Some(sink) = &mut self.sink {
            sink.cleared();
        }
    }

    /// Lets a sink see the blocks from now on, and returns the one before.
    pub fn set_sink(
        &mut self,
        cpu: &mut Cpu,
        sink: Option<Box<dyn BlockSink>>,
    ) -> Option<Box<dyn BlockSink>> {
        // The new one gets to know each block.
        self.clear(cpu);
        core::mem::replace(&mut self.sink, sink)
    }

    /// The sink that sees them.
    pub fn sink(&mut self) -> Option<&mut dyn BlockSink> {
        self.sink.as_deref_mut()
    }

    /// Lets the sink see nothing for a while.
    pub fn pause_sink(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Whether somebody sees the blocks.
    pub fn are_seen(&self) -> bool {
        self.sink.is_some() && !self.is_paused
    }

    /// Tells the sink that the first `instructions` of a block have been executed: one at least, while the blocks
    /// [are seen](Self::are_seen).
    #[inline(always)]
    pub fn was_seen(&mut self, id: Id, instructions: u64) {
        if let Some(sink) = &mut self.sink {
            sink.executed(id, instructions as u32);
        }
    }

    /// Tells the sink that the first `instructions` of a block have been executed.
    #[inline(always)]
    pub fn was_executed(&mut self, id: Id, instructions: u64) {
        if !self.is_paused && instructions > 0 {
            self.was_seen(id, instructions);
        }
    }

    /// Tells the sink that an instruction has been completed that a block was left for.
    #[cold]
    pub fn was_completed(&mut self, cpu: &mut Cpu, eip: u32) {
        if self.are_seen() {
            let next = core::mem::replace(&mut cpu.eip, eip);
            let id = self.find(cpu, true);
            cpu.eip = next;
            self.was_executed(id, 1);
        }
    }

    /// Tells the sink that the next block does not follow from the last one.
    pub fn jumped(&mut self) {
        if let Some(sink) = self.sink.as_mut().filter(|_| !self.is_paused) {
            sink.jumped();
        }
    }

    /// Sets the breakpoints. No block runs across one.
    pub fn set_breakpoints(&mut self, cpu: &mut Cpu, breakpoints: &[u32]) {
        self.clear(cpu);
        self.breakpoints = breakpoints.to_vec();
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::println;

    use flatland_x86::{Engine, Exit, MemorySize, Registers, Stops};

    use super::super::SoftEngine;
    use super::*;

    const RAM: u32 = 0x1_0000;
    const LIMIT: u64 = 20_000;

    /// Runs code at 0 until it ends or reaches the limit, and returns the number of executed instructions.
    fn run(engine: &mut SoftEngine, code: &[u8]) -> u64 {
        engine.write_ram(0, code);
        engine.set_stops(&Stops { instructions: Some(LIMIT), ..Stops::default() }).unwrap();
        while let Exit::In { .. } | Exit::Out { .. } = engine.run().unwrap() {}
        engine.instructions().unwrap()
    }

    fn engine() -> SoftEngine {
        SoftEngine::new(MemorySize::from_bytes(RAM.into()).unwrap())
    }

    /// Checks that the work of decoding is in proportion to what is executed, even if code changes itself.
    #[track_caller]
    fn check_work(engine: &SoftEngine, executed: u64) {
        let Blocks { decoded, compared, .. } = engine.blocks;
        let of_blocks = (MAX_INSTRUCTIONS_OF_CHANGING_CODE as u64 + DECODED_FOR_EACH_EXECUTED) * executed;
        assert!(
            decoded <= of_blocks + DECODED_AT_FIRST + MAX_INSTRUCTIONS as u64,
            "{decoded} for {executed}"
        );
        // A store changes two lines at most, and a block is in as many lines as it has instructions, at most.
        let of_stores = 2 * (1 + MAX_COMPARED as u64) * executed;
        assert!(compared <= of_stores + 2 * decoded, "{compared} for {executed}, {decoded} decoded");
    }

    #[test]
    fn stores_beside_a_block_leave_it_alone() {
        // mov al, 0x20; jmp 0x1000; the zeros there are: add [eax], al, which stores to the line of this code
        let mut engine = engine();
        assert_eq!(run(&mut engine, &[0xb0, 0x20, 0xe9, 0xf9, 0x0f, 0, 0]), LIMIT);
        check_work(&engine, LIMIT);
        let Blocks { decoded, blocks, .. } = &engine.blocks;
        // Just before the limit, instructions are executed one by one.
        let at_the_end = (MAX_INSTRUCTIONS * (MAX_INSTRUCTIONS + 1)) as u64;
        assert!(*decoded < LIMIT + at_the_end && blocks.len() < 600, "{decoded} in {} blocks", blocks.len());
    }

    #[test]
    fn code_that_overwrites_what_comes_next_is_not_decoded_over_and_over() {
        // 40 times mov byte [end], 0x90; end: nop; jmp 0
        let store = [0xc6, 0x05, 0x18, 1, 0, 0, 0x90];
        let mut engine = engine();
        let code = [&store.repeat(40)[..], &[0x90, 0xe9, 0xe2, 0xfe, 0xff, 0xff]].concat();
        assert_eq!(run(&mut engine, &code), LIMIT);
        check_work(&engine, LIMIT);
    }

    #[test]
    fn a_store_is_not_compared_with_every_block_of_its_line() {
        // l: inc ecx; cmp cl, 0x40; je 0x80; lea edx, [ecx + 0x1a0]; jmp edx; nops follow, and at 0x1e0: jmp l
        let mut engine = engine();
        engine.write_ram(0x1a0, &[0x90; 0x40]);
        engine.write_ram(0x1e0, &[0xe9, 0x1b, 0xfe, 0xff, 0xff]);
        // At 0x80: inc byte [0x1ff]; jmp 0x80
        engine.write_ram(0x80, &[0xfe, 0x05, 0xff, 1, 0, 0, 0xeb, 0xf8]);
        let code = [0x41, 0x80, 0xf9, 0x40, 0x74, 0x7a, 0x8d, 0x91, 0xa0, 1, 0, 0, 0xff, 0xe2];
        assert_eq!(run(&mut engine, &code), LIMIT);
        check_work(&engine, LIMIT / 2);
    }

    #[test]
    fn a_step_decodes_one_instruction() {
        const STEPS: u64 = 1000;
        let mut engine = engine();
        engine.write_ram(0, &[0x90; 2 * STEPS as usize]);
        engine.set_stops(&Stops { step: true, ..Stops::default() }).unwrap();
        for _ in 0..STEPS {
            assert!(matches!(engine.run().unwrap(), Exit::Debug(_)));
        }
        assert_eq!(engine.blocks.decoded, STEPS);
    }

    #[test]
    fn random_code_is_decoded_in_proportion() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut long = 0;
        for number in 0..300 {
            let len = 4 + next() % 60;
            let code: Vec<u8> = (0..len).map(|_| (next() >> 16) as u8).collect();
            let mut engine = engine();
            let executed = run(&mut engine, &code);
            println!("image {number}");
            check_work(&engine, executed);
            long += u64::from(executed == LIMIT);
        }
        assert!(long > 5, "only {long} ran for long");
    }

    #[test]
    fn code_that_a_restore_changes_is_decoded_anew() {
        let mut engine = engine();
        // inc eax; hlt, dec eax; hlt, and nothing
        let mut copies = Vec::new();
        for code in [&[0x40, 0xf4], &[0x48, 0xf4], &[0, 0]] {
            engine.write_ram(0x1000, code);
            copies.push(engine.save_ram().unwrap());
        }
        // The last page is left out of its copy. Two restores without a run between them count as well.
        for (order, eax) in
            [(&[0][..], 11), (&[1], 9), (&[0], 11), (&[2, 1], 9), (&[0, 2, 1], 9), (&[2, 0], 11)]
        {
            order.iter().for_each(|&copy: &usize| engine.restore_ram(&copies[copy]).unwrap());
            engine.set_registers(&Registers { eax: 10, eip: 0x1000, ..Registers::default() }).unwrap();
            assert!(matches!(engine.run().unwrap(), Exit::Halt));
            assert_eq!(engine.registers().unwrap().eax, eax, "{order:?}");
        }
    }
}
