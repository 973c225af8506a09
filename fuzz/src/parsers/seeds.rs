//! Inputs to begin with, and how an input becomes a file with right checksums: a fuzzer would not get past them.

use flatland::coverage::{Branch, Coverage, FileCoverage, FunctionCoverage};
use flatland::{Machine, Program, Wants};

use crate::changes;
use crate::common::{HEAD, body, file_of, with_body};
use crate::guests::{builder, programs};
use crate::parts::{Block, Parts};

/// The first byte of an input says what follows.
const FILE: u8 = 0;
const BODY: u8 = 1;

/// Takes a word off the front, or 0.
fn take_word(bytes: &mut &[u8]) -> u32 {
    let (word, rest) = bytes.split_first_chunk().unwrap_or((&[0; 4], &[]));
    *bytes = rest;
    u32::from_le_bytes(*word)
}

/// Takes as many bytes off the front, or all.
fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(len.min(bytes.len()));
    *bytes = rest;
    taken
}

/// The blocks of a file, each with the checksum that belongs to it, and what follows them.
fn with_right_sums<'a>(file: &mut &'a [u8]) -> Vec<u8> {
    let head = take(file, HEAD);
    let mut blocks: Vec<(u32, &'a [u8])> = Vec::new();
    while !file.is_empty() {
        let len = take_word(file);
        let packed = take_word(file) as usize;
        if len == 0 {
            take(file, 4);
            break;
        }
        blocks.push((len, take(file, packed)));
        take(file, 4);
    }
    file_of(head, &blocks)
}

/// The file of a snapshot that an input stands for: the file, or what is in its blocks.
pub fn snapshot_of(input: &[u8]) -> Vec<u8> {
    let Some((how, mut rest)) = input.split_first() else { return Vec::new() };
    match how % 2 {
        FILE => [with_right_sums(&mut rest), rest.to_vec()].concat(),
        _ => with_body(b"\x89flatland\r\n\nsnap\x01\0\0\0", rest),
    }
}

/// The file of a recording that an input stands for: the file, or its parts, each behind its length. The first part is what
/// is in the blocks of the start. Others begin with what they hold and with how much was sent before.
pub fn recording_of(input: &[u8]) -> Vec<u8> {
    let Some((how, mut rest)) = input.split_first() else { return Vec::new() };
    if how % 2 == FILE {
        let start = with_right_sums(&mut rest);
        let mut parts = Parts { start, blocks: Vec::new() };
        while !rest.is_empty() {
            let holds = take(&mut rest, 1)[0];
            let (len, stored_len) = (take_word(&mut rest), take_word(&mut rest));
            let mark =
                [0; 3].map(|_: u8| u64::from(take_word(&mut rest)) | u64::from(take_word(&mut rest)) << 32);
            let stored = take(&mut rest, stored_len as usize).to_vec();
            take(&mut rest, 4);
            parts.blocks.push(Block { holds, len, stored_len, mark, stored });
        }
        return parts.file();
    }
    let mut part = || {
        let len = take_word(&mut rest) as usize;
        (!rest.is_empty()).then(|| take(&mut rest, len))
    };
    let start = with_body(b"\x89flatland\r\n\nreco\x01\0\0\0", part().unwrap_or_default());
    let mut parts = Parts { start, blocks: Vec::new() };
    while let Some(mut bytes) = part() {
        let holds = take_word(&mut bytes) as u8;
        let mark = [0, u64::from(take_word(&mut bytes)), SENT_NOTHING];
        let bytes = if holds == crate::parts::END { with_body(&[], bytes) } else { bytes.to_vec() };
        parts.blocks.push(Block::of(holds, mark, bytes));
    }
    parts.repair_marks();
    parts.file()
}

/// The input that stands for a recording's parts.
fn parts_of(file: &[u8]) -> Vec<u8> {
    let parts = Parts::of(file);
    let mut input = vec![BODY];
    let mut add = |part: &[u8]| {
        input.extend((part.len() as u32).to_le_bytes());
        input.extend(part);
    };
    add(&body(&parts.start, HEAD));
    for block in &parts.blocks {
        let bytes = if block.holds == crate::parts::END { body(&block.stored, 0) } else { block.bytes() };
        let head = [u32::from(block.holds).to_le_bytes(), (block.mark[1] as u32).to_le_bytes()].concat();
        add(&[head, bytes].concat());
    }
    input
}

/// Recordings of small guests, as files and as parts.
pub fn recordings() -> Vec<Vec<u8>> {
    let files = changes::files();
    let as_files = files.iter().map(|file| [&[FILE], &file[..]].concat());
    as_files.chain(files.iter().map(|file| parts_of(file))).collect()
}

/// Snapshots of small guests, as files and as what is in them.
pub fn snapshots() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for program in programs() {
        let mut machine = machine(&program);
        for instructions in [0, 40, 100_000] {
            let wants = Wants { instructions: Some(instructions), ..Wants::default() };
            machine.resume(&wants).expect("the host can do its work");
            let mut file = Vec::new();
            let snapshot = machine.snapshot().expect("the host can do its work");
            snapshot.write_to(&mut file).expect("there is memory");
            seeds.push([&[FILE], &file[..]].concat());
            seeds.push([&[BODY], &body(&file, HEAD)[..]].concat());
        }
    }
    seeds
}

fn machine(program: &Program) -> Machine {
    let builder = builder().memory("64K".parse().expect("it is a size")).arguments(["a", "bcd"]);
    builder.input(b"some input ".repeat(60)).build(program).expect("it fits")
}

/// Code: that of small guests, and each opcode.
pub fn code() -> Vec<Vec<u8>> {
    let guests = programs().into_iter().map(|program| program.image().bytes().to_vec());
    let one = (0..=255).map(|opcode| vec![opcode, 0x45, 1, 2, 0, 0, 7, 0, 0xf4]);
    let two = (0..=255).map(|opcode| vec![0x0f, opcode, 0x45, 1, 2, 0, 0, 7, 0xf4]);
    guests.chain(one).chain(two).collect()
}

/// Conversations of debuggers, a packet in each line.
pub fn packets() -> Vec<Vec<u8>> {
    [
        "qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+\nQStartNoAckMode\n?\ng\n\t+\nqXfer:features:read:target.xml:0,ffb",
        "?\nm0,10\nM0,2:9090\nX100,2:ab\nG00\np8\nP8=02000000\nHg0\nT1",
        "Z0,2,1\nc\nz0,2,1\nvCont?\nvCont;s:1\nvCont;c\ns\nc2\n\t\u{3}",
        "Z2,1000,4\nZ3,0,1\nZ4,0,4\nZ1,4,1\nvCont;c:1\nbs\nbc\nbs\nz2,1000,4",
        "qRcmd,68656c70\nqRcmd,696e666f\nqRcmd,6c6f67\nqRcmd,676f746f203130\nqRcmd,676f746f207374617274",
        "D",
        "c\n\t-\nvKill;1",
        "!\nR00\nvRun;\nvAttach;1\nvFile:open:61,0,0\nqfThreadInfo\nqsThreadInfo\nqC\nqAttached\nqTStatus",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// A packet with its checksum.
pub fn packet(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
}

/// The hash of nothing sent.
const SENT_NOTHING: u64 = 0x2d06_8005_38d3_94c2;

/// Coverage as JSON.
pub fn coverage() -> Vec<Vec<u8>> {
    let file = FileCoverage {
        path: "/a\"b\\.rs".into(),
        lines: [(1, 2), (3, 0)].into(),
        functions: [(1, FunctionCoverage { name: "a::<b>::c".into(), calls: 2 })].into(),
        branches: [(3, vec![Branch { taken: 1, not_taken: 0 }; 2])].into(),
    };
    let coverage = Coverage { files: [("a.rs".into(), file)].into() };
    vec![coverage.json().into()]
}
