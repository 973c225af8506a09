//! Files that are made to take much, or that no recorder writes.

use std::io::{self, Read};

use flatland_contract::Port;
use flatland_machine::{EngineChoice, FileError, Machine, MemorySize, Outcome, Program, Recorder, Recording};

use crate::checks::{MIB, MOST_MEMORY_OF_REPLAY, check_message, most_memory, most_memory_of_start, read};
use crate::common::damage::measured;
use crate::common::{DEVICES_LEN, HEAD, body, compress, decompress, with_body};
use crate::guests::{Counter, How, builder, limited, programs, recorded, run};
use crate::parts::{BLOCK, BLOCK_HEADER, Block, INPUT, PACKED, Parts, Places, Run};

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
    assert_eq!(body[devices_at..devices_at + 4], (Port::ALL.len() as u32).to_le_bytes());
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
