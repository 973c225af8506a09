//! Recordings that are damaged by accident or made with intent: each is refused in one sentence, or read and replayed,
//! without a panic, a hang, or more memory than `Recording::read_from` and `Builder::replay` state.
//!
//! Recordings of small guests are changed at random: their bytes as they are, and each of their parts with the checksums,
//! and mostly the marks, made right again. The numbers come from the number of the case, so that a failure can be
//! repeated. `FLATLAND_CASES` says how many cases there are, and `FLATLAND_SEED` which is the first.
//!
//! This is a test program of its own, because its allocator counts.

mod common;

use std::env;
use std::io::{self, Read};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Case, DEVICES_LEN, HEAD, Random, blocks, body, compress, decompress, measured, number, with_body,
};
use flatland_machine::{
    BuildError, Builder, Device, EngineChoice, FileError, Host, Machine, MemorySize, Outcome, Output,
    Program, Recorder, Recording, RunError, Unfinished, Wants, devices,
};

/// Reads a file. Also returns how much memory that took at most.
fn read(from: impl Read) -> (Result<Recording, FileError>, usize) {
    measured(|| Recording::read_from(from))
}

const MIB: usize = 1 << 20;

/// The bound that the documentation of `read_from` states for a file of this size.
fn most_memory(file: usize) -> usize {
    2 * MIB + 2400 * file
}

/// The bound that the documentation of `replay` states, besides the machine.
const MOST_MEMORY_OF_REPLAY: usize = MIB;

/// The bound that `read_from` states for the start of a machine with this much RAM.
fn most_memory_of_start(ram: u32) -> usize {
    32 * MIB + 4 * ram as usize
}

/// The parts of a recording.
#[derive(Clone)]
struct Parts {
    /// The head and the start.
    start: Vec<u8>,
    blocks: Vec<Block>,
}

const INPUT: u8 = 0;
const PACKED: u8 = 1;
const END: u8 = 2;

/// A block behind the start.
#[derive(Clone)]
struct Block {
    holds: u8,
    len: u32,
    stored_len: u32,
    /// How many bytes were read and sent, and the hash of the latter.
    mark: [u64; 3],
    stored: Vec<u8>,
}

const BLOCK_HEADER: usize = 33;

/// The most bytes that a block holds.
const BLOCK: u32 = 256 << 10;

impl Block {
    fn of(holds: u8, mark: [u64; 3], bytes: Vec<u8>) -> Self {
        let len = bytes.len() as u32;
        let stored = if holds == PACKED { compress(&bytes) } else { bytes };
        Self { holds, len, stored_len: stored.len() as u32, mark, stored }
    }

    /// The bytes that it holds.
    fn bytes(&self) -> Vec<u8> {
        match self.holds {
            PACKED => decompress(&self.stored, self.len as usize).unwrap(),
            _ => self.stored.clone(),
        }
    }
}

impl Parts {
    fn of(file: &[u8]) -> Self {
        let (_, mut rest) = blocks(file, HEAD);
        let start = file[..file.len() - rest.len()].to_vec();
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(*rest[at..].first_chunk().unwrap());
            let long = |at: usize| u64::from_le_bytes(*rest[at..].first_chunk().unwrap());
            let end = BLOCK_HEADER + word(5) as usize;
            blocks.push(Block {
                holds: rest[0],
                len: word(1),
                stored_len: word(5),
                mark: [long(9), long(17), long(25)],
                stored: rest[BLOCK_HEADER..end].to_vec(),
            });
            rest = &rest[end + 4..];
        }
        Self { start, blocks }
    }

    /// The file, with the checksums that belong to the blocks.
    fn file(&self) -> Vec<u8> {
        let mut file = self.start.clone();
        for (number, block) in (0_u32..).zip(&self.blocks) {
            let begin = file.len();
            file.push(block.holds);
            file.extend(block.len.to_le_bytes());
            file.extend(block.stored_len.to_le_bytes());
            file.extend(block.mark.map(u64::to_le_bytes).concat());
            file.extend(&block.stored);
            let mut sum = crc32fast::Hasher::new();
            sum.update(&number.to_le_bytes());
            sum.update(&file[begin..]);
            file.extend(sum.finalize().to_le_bytes());
        }
        file
    }

    /// Makes the marks right again for what the blocks hold, as far as that is known.
    fn repair_marks(&mut self) {
        let (mut places, mut read, mut sent, mut last) = (Places::default(), 0, 0, [0; 3]);
        for block in &mut self.blocks {
            if block.holds == END {
                block.mark = last;
                continue;
            }
            let runs = match block.holds {
                PACKED => decompress(&block.stored, block.len.min(BLOCK) as usize),
                _ => Some(block.stored.clone()),
            };
            let Some(runs) = runs.and_then(|bytes| places.runs(&bytes)) else { return };
            read += runs.iter().map(|run| run.bytes.len() as u64).sum::<u64>();
            sent = block.mark[1].max(sent);
            block.mark = [read, sent, block.mark[2]];
            last = block.mark;
        }
    }
}

/// Bytes that are read one after the other at a port.
#[derive(Clone)]
struct Run {
    port: u16,
    width: u8,
    bytes: Vec<u8>,
}

/// The ports and widths that have a number.
#[derive(Default)]
struct Places {
    known: Vec<(u16, u8)>,
    next: usize,
}

impl Places {
    fn learn(&mut self, place: (u16, u8)) {
        match self.known.get_mut(self.next) {
            Some(known) => *known = place,
            None => self.known.push(place),
        }
        self.next = (self.next + 1) % 7;
    }

    /// The runs of a block. `None` if it has none.
    fn runs(&mut self, mut bytes: &[u8]) -> Option<Vec<Run>> {
        let (mut heads, mut len) = (Vec::new(), 0);
        while bytes.len() > len {
            let (mut number, mut shift) = (0, 0);
            loop {
                let byte = *bytes.split_off_first()?;
                number |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                } else if shift > 14 {
                    return None;
                }
            }
            let (port, width) = match number % 8 {
                7 => {
                    let [low, high, width] = *bytes.split_off(..3)?.first_chunk()?;
                    let place = (u16::from_le_bytes([low, high]), width);
                    self.learn(place);
                    place
                }
                index => *self.known.get(index)?,
            };
            heads.push((port, width, number / 8));
            len += number / 8;
        }
        let of_head = |(port, width, len)| Some(Run { port, width, bytes: bytes.split_off(..len)?.to_vec() });
        heads.into_iter().map(of_head).collect()
    }

    /// A block of these runs.
    fn block(&mut self, runs: &[Run]) -> Vec<u8> {
        let (mut block, mut all) = (Vec::<u8>::new(), Vec::<u8>::new());
        for Run { port, width, bytes } in runs {
            let index = self.known.iter().position(|place| *place == (*port, *width));
            let mut number = bytes.len() << 3 | index.unwrap_or(7);
            while number >= 0x80 {
                block.push(number as u8 | 0x80);
                number >>= 7;
            }
            block.push(number as u8);
            if index.is_none() {
                block.extend(port.to_le_bytes());
                block.push(*width);
                self.learn((*port, *width));
            }
            all.extend(bytes);
        }
        block.extend(all);
        block
    }
}

/// A device at many ports, which takes any width.
struct Counter(u8);

impl Device for Counter {
    fn ports(&self) -> u16 {
        16
    }

    fn takes_width(&self, _: u16, _: u8) -> bool {
        true
    }

    fn read(&mut self, _: u16, _: &mut Host) -> Result<u8, Unfinished> {
        self.0 = self.0.wrapping_add(1);
        Ok(self.0)
    }
}

/// Guests that read in many ways.
const GUESTS: [&[u8]; 7] = [
    // Byte by byte. 0: in al, 0xe9; out 0xe9, al; jmp 0
    &[0xe4, 0xe9, 0xe6, 0xe9, 0xeb, 0xfa],
    // Many at once. mov edx, 0xe9; 5: mov edi, 0x2000; mov ecx, 0x80; rep insb; mov esi, 0x2000; mov ecx, 0x40;
    // rep outsb; jmp 5
    &[
        0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x20, 0, 0, 0xb9, 0x80, 0, 0, 0, 0xf3, 0x6c, 0xbe, 0, 0x20, 0, 0, 0xb9,
        0x40, 0, 0, 0, 0xf3, 0x6e, 0xeb, 0xe6,
    ],
    // At a few ports. 0: in al, 0xeb; in al, 0xe9; in al, 0xee; in al, 0xe9; out 0xe9, al; jmp 0
    &[0xe4, 0xeb, 0xe4, 0xe9, 0xe4, 0xee, 0xe4, 0xe9, 0xe6, 0xe9, 0xeb, 0xf4],
    // At more ports than have a number, with all widths; sends nothing. 0: in al, 0xec; in al, 0xed; in al, 0xee;
    // in al, 0xef; in eax, 0x40; in ax, 0x42; in al, 0x44; in eax, 0x46; in al, 0x48; in al, 0xe9; jmp 0
    &[
        0xe4, 0xec, 0xe4, 0xed, 0xe4, 0xee, 0xe4, 0xef, 0xe5, 0x40, 0x66, 0xe5, 0x42, 0xe4, 0x44, 0xe5, 0x46,
        0xe4, 0x48, 0xe4, 0xe9, 0xeb, 0xe9,
    ],
    // in al, 0xe9; out 0xf4, al
    &[0xe4, 0xe9, 0xe6, 0xf4],
    // in al, 0xe9; out 0xea, al; ud2
    &[0xe4, 0xe9, 0xe6, 0xea, 0x0f, 0x0b],
    // Short runs, so that the block is packed. mov ecx, 600; 5: in al, 0xe9; in al, 0xef; dec ecx; jnz 5; hlt
    &[0xb9, 0x58, 0x02, 0, 0, 0xe4, 0xe9, 0xe4, 0xef, 0x49, 0x75, 0xf9, 0xf4],
];

fn programs() -> Vec<Program> {
    GUESTS.iter().map(|code| Program::from_bytes(code.to_vec()).unwrap()).collect()
}

fn builder() -> Builder {
    let sink = || Output::from_writer(io::sink());
    // A case that computes for longer than the limit of instructions is a failure.
    Machine::builder()
        .engine(EngineChoice::Soft)
        .output(sink())
        .diagnostics(sink())
        .clock_device(devices::Clock::repeatable(Duration::ZERO))
        .random_device(devices::Random::repeatable(1))
        .time_limit(Duration::from_secs(20))
}

/// How a run is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    ToItsEnd,
    /// Until it is killed: there is no end.
    Killed,
    Limited,
    /// Without the program.
    WithoutImage,
    /// Not from the start on.
    FromTheMiddle,
}

fn recorded(program: &Program, how: How) -> Vec<u8> {
    let builder = builder()
        .memory("64K".parse().unwrap())
        .arguments(["a", "bcd"])
        .input(b"some input ".repeat(60))
        .device(0x40, Counter(0));
    let mut machine = builder.build(program).unwrap();
    if how == How::FromTheMiddle {
        machine.resume(&Wants { instructions: Some(50), ..Wants::default() }).unwrap();
    }
    let (mut recorder, file) = Recorder::to_memory();
    recorder = recorder.program("target/guest.elf");
    if how == How::WithoutImage {
        recorder = recorder.without_image();
    }
    machine.record(recorder).unwrap();
    if matches!(how, How::Killed | How::Limited) {
        machine.set_instruction_limit(300).unwrap();
    }
    let outcome = machine.run().unwrap();
    if how != How::Killed {
        machine.end_recording(&outcome).unwrap();
    }
    drop(machine);
    file.take()
}

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
fn files() -> Vec<Vec<u8>> {
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
fn changed(number: u64, files: &[Vec<u8>]) -> Vec<u8> {
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

/// Ends the process if a case takes a minute.
static NOW: AtomicU64 = AtomicU64::new(0);

fn watch() {
    thread::spawn(|| {
        let (mut last, mut since) = (u64::MAX, Instant::now());
        loop {
            thread::sleep(Duration::from_secs(1));
            let now = NOW.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > Duration::from_secs(60) {
                eprintln!("case {now} hangs: repeat it with FLATLAND_SEED={now} FLATLAND_CASES=1");
                process::abort();
            }
        }
    });
}

/// What has come of the cases.
#[derive(Debug, Default)]
struct Tally {
    damaged: u64,
    impossible: u64,
    other_error: u64,
    not_restored: u64,
    without_program: u64,
    diverged: u64,
    ended: u64,
    stopped: u64,
    most_memory: usize,
    most_memory_per_byte: usize,
    most_memory_of_replay: usize,
    slowest: Duration,
}

/// Checks that a message is one sentence that ends with what to do.
fn check_message(message: &str) {
    const TO_DO: [&str; 8] =
        ["copy it again", "save it", "record it", "give ", "use ", "go on ", "make ", "`flatland replay`"];
    let to_do = message.rsplit(": ").next().unwrap();
    let says_it = TO_DO.iter().any(|start| to_do.starts_with(start)) || message.contains("--from-snapshot");
    assert!(says_it && !message.contains(['\n', '.']), "{message:?}");
}

fn run_case(number: u64, files: &[Vec<u8>], programs: &[Program], tally: &mut Tally) {
    let _case = Case(number);
    NOW.store(number, Ordering::Relaxed);
    let start = Instant::now();
    let file = changed(number, files);
    let (read, memory) = read(&file[..]);
    assert!(memory <= most_memory(file.len()), "{memory} bytes for {}", file.len());
    tally.most_memory = tally.most_memory.max(memory);
    if !file.is_empty() {
        tally.most_memory_per_byte = tally.most_memory_per_byte.max(memory / file.len());
    }
    let counter = match read {
        Err(error) => {
            check_message(&error.to_string());
            match error {
                FileError::Damaged | FileError::Truncated => &mut tally.damaged,
                FileError::Impossible(_) => &mut tally.impossible,
                _ => &mut tally.other_error,
            }
        }
        Ok(recording) => {
            // The machine's own tables are smaller than its RAM, and there are two of them at most.
            let most = 2 * (MOST_MEMORY_OF_REPLAY + recording.memory().bytes() as usize);
            let (counter, memory) = measured(|| replayed(number, recording, programs));
            assert!(memory <= most, "{memory} bytes for the replay of {}", file.len());
            tally.most_memory_of_replay = tally.most_memory_of_replay.max(memory);
            counter(tally)
        }
    };
    *counter += 1;
    tally.slowest = tally.slowest.max(start.elapsed());
}

type Count = fn(&mut Tally) -> &mut u64;

/// Replays a recording, and returns what to count.
fn replayed(number: u64, mut recording: Recording, programs: &[Program]) -> Count {
    if recording.lacks_program() {
        let error = builder().replay(&recording).unwrap_err();
        assert!(matches!(error, BuildError::NoProgram), "{error}");
        check_message(&error.to_string());
        if !programs.iter().any(|program| recording.set_program(program.image()).is_ok()) {
            return |tally| &mut tally.without_program;
        }
    }
    let (mut machine, limit) = match limited(&recording) {
        Ok(machine) => machine,
        Err(error @ (BuildError::Restore(_) | BuildError::Engine(_))) => {
            check_message(&error.to_string());
            return |tally| &mut tally.not_restored;
        }
        Err(error) => panic!("{error}"),
    };
    let result = run(&mut machine);
    // Whoever goes on after the end gets no other one, and after a divergence no panic.
    let again = run(&mut machine);
    if let Ok(outcome) = &result {
        assert_eq!(again.as_ref().ok(), Some(outcome));
    }
    if number.is_multiple_of(3) && limit.is_some() {
        // It is the same each time, also from a point in the middle.
        let (mut machine, limit) = limited(&recording).unwrap();
        let wants =
            Wants { instructions: limit.map(|limit| limit - LIMIT + number % 40), ..Wants::default() };
        let _ = machine.resume(&wants);
        let point = machine.checkpoint().unwrap();
        let first = run(&mut machine);
        machine.go_back(&point).unwrap();
        assert_eq!(format!("{:?}", run(&mut machine)), format!("{first:?}"));
    }
    match result {
        Err(_) => |tally| &mut tally.diverged,
        Ok(Outcome::Stopped(..)) => |tally| &mut tally.stopped,
        Ok(_) => |tally| &mut tally.ended,
    }
}

/// How many instructions a replay may execute.
const LIMIT: u64 = 10_000;

/// A machine that replays, and its limit of instructions. It has none if those before are not counted.
fn limited(recording: &Recording) -> Result<(Machine, Option<u64>), BuildError> {
    let mut machine = builder().replay(recording)?;
    let limit = machine.engine().instructions().unwrap_or(0) + LIMIT;
    match machine.set_instruction_limit(limit) {
        Ok(()) => Ok((machine, Some(limit))),
        Err(_) => {
            machine.set_time_limit(Duration::from_millis(1));
            Ok((machine, None))
        }
    }
}

/// Runs a replay to its end. The only error is that it leaves its recording.
fn run(machine: &mut Machine) -> Result<Outcome, RunError> {
    let result = machine.run();
    match &result {
        Err(RunError::Diverged(divergence)) => {
            let message = divergence.to_string();
            assert!(!message.contains(['\n', '.']), "{message:?}");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => {}
    }
    result
}

#[test]
fn changed_files_are_refused_or_replayed() {
    let (files, programs) = (files(), programs());
    let (first, cases) = (number("FLATLAND_SEED", 0), number("FLATLAND_CASES", 2500));
    let mut tally = Tally::default();
    let start = Instant::now();
    watch();
    for number in first..first + cases {
        run_case(number, &files, &programs, &mut tally);
    }
    NOW.store(u64::MAX, Ordering::Relaxed);
    let taken = start.elapsed();
    println!("{cases} changed recordings in {:.1} s: {tally:?}", taken.as_secs_f64());
    if env::var_os("FLATLAND_SEED").is_none() {
        let Tally { damaged, impossible, diverged, ended, stopped, .. } = tally;
        for (what, count) in [
            ("damaged", damaged),
            ("impossible", impossible),
            ("diverged", diverged),
            ("ended", ended),
            ("stopped", stopped),
        ] {
            assert!(count > 100, "only {count} are {what}");
        }
    }
}

#[test]
fn files_that_are_not_changed_are_replayed() {
    let mut packed = 0;
    for (number, file) in files().into_iter().enumerate() {
        let parts = Parts::of(&file);
        assert!(parts.file() == file, "file {number}");
        let mut repaired = parts.clone();
        repaired.repair_marks();
        assert!(repaired.file() == file, "file {number} has other marks");
        packed += usize::from(parts.blocks.iter().any(|block| block.holds == PACKED));
        let mut recording = Recording::read_from(&file[..]).unwrap();
        assert_eq!(recording.program(), Some("target/guest.elf"));
        if recording.lacks_program() {
            assert!(programs().iter().any(|program| recording.set_program(program.image()).is_ok()));
        }
        let (mut machine, _) = limited(&recording).unwrap();
        machine.set_instruction_limit(None).unwrap();
        let outcome = run(&mut machine).unwrap_or_else(|error| panic!("file {number}: {error}"));
        assert!(recording.outcome().is_none_or(|recorded| *recorded == outcome), "file {number}");
    }
    assert!(packed > 0);
}

/// A recording of a guest with a little RAM, without blocks.
fn without_blocks() -> Parts {
    let file = recorded(&programs()[3], How::ToItsEnd);
    Parts { blocks: Vec::new(), ..Parts::of(&file) }
}

/// Bytes that are compressed as far as LZ4 can: these four again and again, in one match (LZ4 Block Format Description).
/// `literals` come before them.
fn most_compressed(literals: &[u8], repeated: [u8; 4], len: usize) -> Vec<u8> {
    let before = literals.len() + repeated.len();
    // More than 15 literals need a length of their own.
    assert!(before < 15);
    // The shortest match has 4 bytes, and 15 of the length are in the token.
    let more = len - before - 4 - 15;
    let mut packed = vec![(before as u8) << 4 | 15];
    packed.extend(literals);
    packed.extend(repeated);
    packed.extend(4_u16.to_le_bytes());
    packed.resize(packed.len() + more / 255, 255);
    packed.push((more % 255) as u8);
    // No literals behind.
    packed.push(0);
    assert!(decompress(&packed, len).is_some());
    packed
}

/// Blocks of runs of one byte that alternate between two ports, compressed as far as can be.
fn shortest_runs(blocks: u64) -> Vec<Block> {
    let block = |number: u64| {
        // The first block names the ports.
        let names: &[u8] = if number == 0 { &[15, 0x40, 0, 1, 15, 0x41, 0, 1] } else { &[] };
        // The bytes are the same as the heads.
        let len = BLOCK as usize;
        let stored = most_compressed(names, [8, 9, 8, 9], len);
        let read = (number + 1) * u64::from(BLOCK / 2) - 3;
        let stored_len = stored.len() as u32;
        Block { holds: PACKED, len: len as u32, stored_len, mark: [read, 0, 0], stored }
    };
    (0..blocks).map(block).collect()
}

/// Inputs that become as large as they can: few bytes that stand for many.
#[test]
fn memory_is_bounded_for_files_that_are_made_to_take_much() {
    let start = without_blocks();
    let with = |blocks: Vec<Block>| Parts { blocks, ..start.clone() }.file();
    let input = |read: u64, runs: &[u8]| Block::of(INPUT, [read, 0, 0], runs.to_vec());
    let one_port = |byte: u8| [vec![15, 0x40, 0, 1], vec![8; 32_000], vec![byte; 32_001]].concat();
    // Memory grows in steps: files of several lengths, so that one is just behind a step.
    let mut files: Vec<_> = [1, 8, 35, 70]
        .map(|count| ("packed runs of one byte at two ports", with(shortest_runs(count))))
        .into();
    files.push(("empty blocks", with(vec![input(0, &[]); 100_000])));
    files.push((
        "blocks of a run",
        with((0..50_000_u64).map(|n| input(n + 1, &[15, n as u8, 0, 1, b'a'])).collect()),
    ));
    files.push(("runs at one port", with(vec![Block::of(PACKED, [32_001, 0, 0], one_port(b'a'))])));
    files.push((
        "one run",
        with(vec![Block::of(PACKED, [8191, 0, 0], [&[0xff, 0xff, 3, 1, 0, 1], &[7; 8191][..]].concat())]),
    ));
    for (name, file) in files {
        let (read, memory) = read(&file[..]);
        let recording = read.unwrap_or_else(|error| panic!("{name}: {error}"));
        let (machine, of_replay) = measured(|| limited(&recording).unwrap());
        drop((machine, recording));
        println!(
            "{name}: {} bytes, {memory} bytes of memory, {:.0} for each, {of_replay} for the replay",
            file.len(),
            memory as f64 / file.len() as f64,
        );
        let most = most_memory(file.len());
        assert!(memory <= most, "{name}: {memory} bytes of memory for {} are more than {most}", file.len());
        assert!(of_replay <= MOST_MEMORY_OF_REPLAY, "{name}: {of_replay} bytes for the replay");
    }
}

/// How many bytes were taken of an input.
struct Taken<'a, R>(R, &'a mut u64);

impl<R: Read> Read for Taken<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let len = self.0.read(bytes)?;
        *self.1 += len as u64;
        Ok(len)
    }
}

/// An input without an end is left where it is no recording.
#[test]
fn an_input_without_an_end_is_read_no_further() {
    let Parts { start, .. } = without_blocks();
    let full = recorded(&programs()[0], How::ToItsEnd);
    let killed = recorded(&programs()[0], How::Killed);
    for (name, file) in [
        ("nothing", &[][..]),
        ("a head", &start[..HEAD]),
        ("half of a start", &start[..start.len() / 2]),
        ("a start", &start),
        ("a recording", &full),
        ("a recording without an end", &killed),
    ] {
        for byte in [0, 1, 2, 3, 0xff] {
            let mut taken = 0;
            let endless = file.chain(io::repeat(byte));
            let (read, memory) = read(Taken(endless, &mut taken));
            let error = read.err().unwrap_or_else(|| panic!("{name} and {byte} is read"));
            check_message(&error.to_string());
            let behind = taken.saturating_sub(file.len() as u64);
            assert!(behind <= 3 << 16, "{name} and {byte}: {behind} bytes");
            assert!(memory <= 2 * MIB, "{name} and {byte}: {memory} bytes of memory");
        }
    }
    // A start that goes on: one device with as much state as is allowed, and output without an end that is not sent yet.
    let ram: MemorySize = "64K".parse().unwrap();
    let program = Program::from_bytes(vec![0xf4]).unwrap();
    let mut machine = Machine::builder().engine(EngineChoice::Soft).memory(ram).build(&program).unwrap();
    let (recorder, file) = Recorder::to_memory();
    machine.record(recorder).unwrap();
    let body = body(&file.take(), HEAD);
    // Behind the devices: the number of transfers, the number of pages, and the first page.
    let devices_at = body.len() - 4096 - 12 - DEVICES_LEN;
    assert_eq!(body[devices_at..devices_at + 4], 9_u32.to_le_bytes());
    let mut long = body[..devices_at].to_vec();
    long.extend([1_u32, 0x40, 0x41, 16 << 20].map(u32::to_le_bytes).concat());
    long.resize(long.len() + (16 << 20), 1);
    long.extend(4096_u32.to_le_bytes());
    let mut transfer = vec![0xe9, 0, 1];
    transfer.extend((64_u32 << 10).to_le_bytes());
    transfer.resize(transfer.len() + (64 << 10), 1);
    let endless = [&long[..], &transfer.repeat(64)].concat();
    let (read, memory) = read(&with_body(&start[..HEAD], &endless)[..]);
    let what = "the output that is not sent yet";
    assert!(matches!(read, Err(FileError::Impossible(refused)) if refused == what), "{read:?}");
    assert!(memory <= most_memory_of_start(ram.bytes()), "{memory} bytes of memory");
}

#[test]
fn blocks_that_no_recorder_writes_are_refused() {
    let killed = Parts::of(&recorded(&programs()[3], How::Killed));
    let whole = Parts::of(&recorded(&programs()[0], How::ToItsEnd));
    let (input, end) = (whole.blocks[0].clone(), whole.blocks.last().unwrap().clone());
    let [taken, sent, sum] = input.mark;
    let with = |blocks: &[&Block]| Parts {
        blocks: blocks.iter().map(|block| (*block).clone()).collect(),
        ..whole.clone()
    };
    let marked = |taken, sent| Block { mark: [taken, sent, sum], ..Block::of(INPUT, [0; 3], Vec::new()) };
    let runs = |runs: &[u8]| Block::of(INPUT, [1, 0, 0], runs.to_vec());
    let packed = |len, stored: &[u8]| Block { len, ..Block { holds: PACKED, ..runs(stored) } };
    let long = |holds, len, stored_len| Block { holds, len, stored_len, ..runs(&[]) };
    for (name, parts, expected) in [
        ("an end in the middle", with(&[&input, &end, &input]), None),
        ("two ends", with(&[&input, &end, &end]), None),
        ("an end alone", with(&[&end]), Some("the marks")),
        ("no mark of the end", with(&[&input, &marked(taken, sent + 1), &end]), Some("the marks")),
        ("a mark that goes back", with(&[&input, &marked(taken, sent - 1)]), Some("the marks")),
        ("a mark that reads less", with(&[&input, &marked(taken - 1, sent)]), Some("the marks")),
        ("a mark that reads more", with(&[&input, &marked(taken + 1, sent)]), Some("the marks")),
        ("a port that was not named", with(&[&runs(&[8, b'a'])]), Some("the input")),
        ("a seventh port of six", with(&[&runs(&[15, 1, 0, 1, 9, b'a', b'a'])]), Some("the input")),
        ("a width of three", with(&[&runs(&[15, 1, 0, 3, b'a'])]), Some("the input")),
        ("a run of nothing", with(&[&runs(&[7, 1, 0, 1])]), Some("the input")),
        ("half of a port", with(&[&runs(&[15, 1])]), Some("the input")),
        ("a shorter run", with(&[&runs(&[15, 1, 0, 1, b'a', b'a'])]), Some("the input")),
        ("a longer run", with(&[&runs(&[0x17, 1, 0, 1, b'a'])]), Some("the input")),
        ("a long number", with(&[&runs(&[0xff, 0xff, 0xff, 0, 1, 0, 1])]), Some("the input")),
        ("too little", with(&[&packed(100, &compress(&[7; 90]))]), Some("the compressed data")),
        ("too much", with(&[&packed(100, &compress(&[7; 110]))]), Some("the compressed data")),
        ("nothing compressed", with(&[&packed(1, &[])]), Some("the compressed data")),
        ("more than is compressed", with(&[&long(PACKED, 10, 10)]), None),
        ("a long block", with(&[&long(INPUT, BLOCK + 1, BLOCK + 1)]), None),
        ("a longer block", with(&[&long(INPUT, u32::MAX, u32::MAX)]), None),
        ("two lengths", with(&[&long(INPUT, 10, 11)]), None),
        ("no kind", with(&[&long(3, 0, 0)]), None),
    ] {
        let file = parts.file();
        let (read, memory) = read(&file[..]);
        assert!(memory <= most_memory(file.len()), "{name}: {memory} bytes");
        let error = read.err().unwrap_or_else(|| panic!("{name} is read"));
        check_message(&error.to_string());
        match (expected, error) {
            (Some(expected), FileError::Impossible(what)) => assert_eq!(what, expected, "{name}"),
            (None, FileError::Damaged) => {}
            (_, error) => panic!("{name}: {error}"),
        }
    }
    // Where the file ends in the middle of a block there is no block, whatever its header promises.
    for promised in [long(INPUT, BLOCK, BLOCK), long(PACKED, BLOCK, BLOCK - 1)] {
        let mut parts = killed.clone();
        parts.blocks.push(promised);
        let file = parts.file();
        for less in 0..BLOCK_HEADER + 4 {
            let (read, memory) = read(&file[..file.len() - less]);
            let recording = read.unwrap();
            assert!(recording.end().is_none() && memory <= MIB / 2, "{memory}");
        }
    }
}

/// A recorder splits what is read at once where a block is full.
#[test]
fn a_block_may_end_in_the_middle_of_a_transfer() {
    let input: Vec<u8> = (0..1_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    for (code, memory) in [
        // mov edx, 0xe9; mov edi, 0x2000; mov ecx, 900_000; rep insb; hlt
        (&[0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x20, 0, 0, 0xb9, 0xa0, 0xbb, 0x0d, 0, 0xf3, 0x6c, 0xf4][..], "1M"),
        // mov ecx, 150_000; 5: in al, 0xe9; in eax, 0x40; dec ecx; jnz 5; hlt
        (&[0xb9, 0xf0, 0x49, 2, 0, 0xe4, 0xe9, 0xe5, 0x40, 0x49, 0x75, 0xf9, 0xf4][..], "64K"),
    ] {
        let program = Program::from_bytes(code.to_vec()).unwrap();
        let builder = builder().memory(memory.parse().unwrap()).input(&input[..]).device(0x40, Counter(0));
        let mut machine = builder.build(&program).unwrap();
        let (recorder, file) = Recorder::to_memory();
        machine.record(recorder).unwrap();
        let outcome = machine.run().unwrap();
        assert_eq!(outcome, Outcome::Halted);
        machine.end_recording(&outcome).unwrap();
        let file = file.take();
        assert!(Parts::of(&file).blocks.len() > 3);
        let recording = Recording::read_from(&file[..]).unwrap();
        let mut machine = self::builder().replay(&recording).unwrap();
        assert_eq!(run(&mut machine).unwrap(), outcome);
    }
}

/// What is sent where the run leaves its recording counts as sent.
#[test]
fn a_replay_may_go_on_after_it_has_left_its_recording() {
    // 0: in al, 0xe9; out 0xe9, al; out 0xe9, al; jmp 0
    let program = Program::from_bytes(vec![0xe4, 0xe9, 0xe6, 0xe9, 0xe6, 0xe9, 0xeb, 0xf8]).unwrap();
    let mut parts = Parts::of(&recorded(&program, How::ToItsEnd));
    let block = parts.blocks[0].clone();
    let bytes = Places::default().runs(&block.bytes()).unwrap().remove(0).bytes;
    let mut places = Places::default();
    let mut part = |bytes: &[u8], mark| {
        Block::of(INPUT, mark, places.block(&[Run { port: 0xe9, width: 1, bytes: bytes.to_vec() }]))
    };
    // The first "s" is sent, and has another hash.
    parts.blocks.splice(..1, [part(&bytes[..1], [1, 1, 7]), part(&bytes[1..], block.mark)]);
    let recording = Recording::read_from(&parts.file()[..]).unwrap();
    let mut machine = builder().output(Vec::new()).replay(&recording).unwrap();
    let point = machine.checkpoint().unwrap();
    for _ in 0..2 {
        for _ in 0..2 {
            let error = run(&mut machine).unwrap_err().to_string();
            assert!(error.contains("what is sent between byte 0 and byte 1 is not"), "{error}");
        }
        // Executed again, and nothing is sent again.
        assert_eq!(machine.streams().output.bytes(), b"ss");
        machine.go_back(&point).unwrap();
    }
}
