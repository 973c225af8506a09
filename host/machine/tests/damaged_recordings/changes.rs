//! The random changes: which files are changed, and what comes of each case.

use crate::common::damage::Random;
use crate::common::{HEAD, blocks, body, with_body};
use crate::guests::{How, programs, recorded};
use crate::parts::{BLOCK, Block, END, INPUT, PACKED, Parts, Places};

/// The hash of nothing sent.
const SENT_NOTHING: u64 = 0x2d06_8005_38d3_94c2;

/// The same recording in several blocks, of a guest that sends nothing.
fn in_blocks(file: &[u8]) -> Vec<u8> {
    let Parts { start, blocks } = Parts::of(file);
    let (mut old, mut new) = (Places::default(), Places::default());
    let of_input = blocks.iter().filter(|block| block.holds != END);
    let runs: Vec<_> = of_input.flat_map(|block| old.runs(&block.bytes()).unwrap()).collect();
    let pieces = runs.chunks(1 + runs.len() / 4).zip([INPUT, PACKED, PACKED, INPUT]);
    let mut parts = Parts { start, blocks: Vec::new() };
    parts.blocks.extend(pieces.map(|(runs, holds)| Block::of(holds, [0, 0, SENT_NOTHING], new.block(runs))));
    parts.blocks.extend(blocks.into_iter().filter(|block| block.holds == END));
    parts.repair_marks();
    parts.file()
}

/// The files that are changed. They are the same each time, although a recorder writes what it has every 20 ms: most runs
/// are much shorter, and the blocks of the longest are made here.
pub fn files() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for (guest, program) in programs().iter().enumerate() {
        let more = [How::WithoutImage, How::FromTheMiddle][guest % 2];
        for how in [How::ToItsEnd, How::Killed, How::Limited, more] {
            let file = recorded(program, how);
            files.push(if guest == 3 || (guest == 6 && how == How::ToItsEnd) {
                in_blocks(&file)
            } else {
                file
            });
        }
    }
    files
}

/// Which file comes of a case.
pub fn changed(number: u64, files: &[Vec<u8>]) -> Vec<u8> {
    let random = &mut Random::of_case(number);
    let file = &files[random.below(files.len())];
    let other = &files[random.below(files.len())];
    let changes = 1 + random.below(3);
    let mut parts = Parts::of(file);
    match number % 8 {
        // As damage comes.
        0 => {
            let mut file = file.clone();
            (0..changes).for_each(|_| random.change(&mut file));
            return file;
        }
        // One file up to somewhere, and another one from somewhere on.
        1 => {
            let mut other = Parts::of(other);
            match random.below(3) {
                0 => {
                    let from = file.len().min(random.below(file.len()));
                    return [&file[..from], &other.file()[random.below(other.file().len())..]].concat();
                }
                1 => parts.blocks = other.blocks,
                _ => {
                    parts.blocks.truncate(random.below(parts.blocks.len() + 1));
                    let from = random.below(other.blocks.len());
                    parts.blocks.extend(other.blocks.drain(from..));
                }
            }
        }
        // The compressed start and its lengths.
        2 => {
            let (blocks, _) = blocks(file, HEAD);
            parts.start = random.change_blocks(changes, &file[..HEAD], &blocks);
        }
        // The start.
        3 => {
            let body = random.change_body(changes, body(&parts.start, HEAD));
            parts.start = with_body(&file[..HEAD], &body);
        }
        // What stands before the bytes of a block.
        4 => change_headers(random, changes, &mut parts),
        // The bytes of a block.
        5 => change_bytes(random, changes, &mut parts),
        // What was read.
        6 => change_runs(random, &mut parts),
        // The order of the blocks, and the end.
        _ => {
            let count = parts.blocks.len();
            let [one, two] = [random.below(count), random.below(count)];
            match random.below(6) {
                0 => parts.blocks.swap(one, two),
                1 => drop(parts.blocks.remove(one)),
                2 => parts.blocks.insert(one, parts.blocks[two].clone()),
                _ => change_end(random, changes, &mut parts),
            }
        }
    }
    if random.below(4) > 0 {
        parts.repair_marks();
    }
    parts.file()
}

fn change_headers(random: &mut Random, changes: usize, parts: &mut Parts) {
    const LENGTHS: [u32; 7] = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 0x7fff_ffff, u32::MAX];
    for _ in 0..changes {
        let index = random.below(parts.blocks.len());
        let block = &mut parts.blocks[index];
        let value = match random.below(3) {
            0 => [0, 1, 1 << 32, 1 << 63, u64::MAX][random.below(5)],
            1 => random.next(),
            _ => block.mark[random.below(2)].wrapping_add_signed(random.below(9) as i64 - 4),
        };
        match random.below(8) {
            0 => block.holds = random.below(4) as u8,
            1 => block.len = LENGTHS[random.below(LENGTHS.len())],
            2 => block.stored_len = LENGTHS[random.below(LENGTHS.len())],
            3 => {
                // In both, as for bytes that are not compressed.
                block.len = LENGTHS[random.below(LENGTHS.len())];
                block.stored_len = block.len;
            }
            4 => block.mark[0] = value,
            5 => block.mark[1] = value,
            6 => block.mark[2] = value,
            // Marks that are the same up to the end.
            _ => parts.blocks.iter_mut().for_each(|block| block.mark[1] = value),
        }
    }
}

fn change_bytes(random: &mut Random, changes: usize, parts: &mut Parts) {
    let index = random.below(parts.blocks.len());
    let block = &mut parts.blocks[index];
    if random.below(3) == 0 {
        (0..changes).for_each(|_| random.change(&mut block.stored));
        block.stored_len = block.stored.len() as u32;
        if block.holds != PACKED {
            block.len = block.stored_len;
        }
        return;
    }
    let mut bytes = block.bytes();
    (0..changes).for_each(|_| random.change(&mut bytes));
    let holds = if block.holds == END { END } else { [INPUT, PACKED][random.below(2)] };
    *block = Block::of(holds, block.mark, bytes);
}

fn change_runs(random: &mut Random, parts: &mut Parts) {
    let (mut old, mut new) = (Places::default(), Places::default());
    for block in parts.blocks.iter_mut().filter(|block| block.holds != END) {
        let mut runs = old.runs(&block.bytes()).unwrap();
        for _ in 0..random.below(4) {
            let index = random.below(runs.len());
            let Some(run) = runs.get_mut(index) else { break };
            match random.below(7) {
                0 => run.port = random.next() as u16,
                1 => run.width = [0, 1, 2, 3, 4, 8, 255][random.below(7)],
                2 => random.change(&mut run.bytes),
                3 => run.bytes.iter_mut().for_each(|byte| *byte = random.next() as u8),
                4 => drop(runs.remove(index)),
                5 => runs.truncate(index),
                _ => {
                    // Another run of the block, or the rest of this one.
                    let mut another = run.clone();
                    another.bytes.truncate(1 + random.below(20));
                    another.port = [run.port, 0xe9, 0x44, 1, 0xffff][random.below(5)];
                    let count = [1, 2, 50][random.below(3)];
                    for _ in 0..count {
                        runs.insert(index, another.clone());
                    }
                }
            }
        }
        let holds = [block.holds, INPUT, PACKED][random.below(3)];
        let mark = match random.below(3) {
            // As if nothing had been sent.
            0 => [0, 0, SENT_NOTHING],
            _ => block.mark,
        };
        *block = Block::of(holds, mark, new.block(&runs));
    }
}

fn change_end(random: &mut Random, changes: usize, parts: &mut Parts) {
    let Some(block) = parts.blocks.last_mut().filter(|block| block.holds == END) else { return };
    let mut end = body(&block.stored, 0);
    match random.below(2) {
        // How it ended is in the first bytes, and behind that how many instructions were executed.
        0 => {
            let at = random.below(16);
            end[at] = [0, 1, 2, 3, 4, 5, 6, 7, 255][random.below(9)];
        }
        _ => (0..changes).for_each(|_| random.change(&mut end)),
    }
    *block = Block::of(END, block.mark, with_body(&[], &end));
}
