//! The parsers, each as a function of any bytes. It panics, or takes too long, where the parser does not keep what it promises.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process, thread};

use flatland::coverage::{Counter, Coverage, Scope};
use flatland::gdb::{Address, Debugger};
use flatland::program::Program;
use flatland::program::source_map::SourceMap;
use flatland::report::{Backtraces, Paint, Report};
use flatland::x86::instruction::decode;
use flatland::{
    Event, FileKind, Machine, MemorySize, Outcome, Recording, RunError, Snapshot, Wants, listing, observe,
};
use iced_x86::FlowControl;

use crate::common::damage::measured;
use crate::guests::{self, limited};
use crate::seeds;

/// A parser of bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    pub name: &'static str,
    /// Gives it these bytes.
    pub run: fn(&[u8]),
    /// Inputs to begin with, and these files.
    pub seeds: fn(elves: Vec<Vec<u8>>) -> Vec<Vec<u8>>,
    /// The longest input.
    pub most: usize,
}

pub const PARSERS: [Parser; 6] = [
    Parser { name: "elf", run: elf, seeds: |elves| elves, most: 64 << 10 },
    Parser { name: "recording", run: recording, seeds: |_| seeds::recordings(), most: 64 << 10 },
    Parser { name: "snapshot", run: snapshot, seeds: |_| seeds::snapshots(), most: 16 << 10 },
    Parser { name: "gdb", run: gdb, seeds: |_| seeds::packets(), most: 1 << 10 },
    Parser { name: "coverage", run: coverage, seeds: |_| seeds::coverage(), most: 16 << 10 },
    Parser { name: "decoding", run: decoding, seeds: |_| seeds::code(), most: 256 },
];

const MIB: usize = 1 << 20;

/// A place for a file of this process: in memory, because a wait for a busy disk would look like a hang.
fn scratch(name: &str) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { env::temp_dir() };
    folder.join(format!("flatland-fuzz-{}-{name}", process::id()))
}

/// Removes the files of this process.
pub fn clean_up() {
    let _ = fs::remove_file(scratch("elf"));
}

/// An ELF file as a program to run, to list and to cover.
fn elf(bytes: &[u8]) {
    let path = scratch("elf");
    fs::write(&path, bytes).expect("the folder for temporary files can be written");
    let ram = MemorySize::mib(1);
    let ((), memory) = measured(|| {
        let Ok(program) = Program::open_for(&path, ram) else { return };
        let read = |address: u32, bytes: &mut [u8]| program.image().read(address, bytes);
        let _ = (listing::disassembly(&program, None), listing::sizes(&program), listing::treemap(&program));
        if let Ok(Some(symbols)) = program.symbols() {
            for address in symbols.table().iter().map(|symbol| symbol.start).take(64) {
                let _ = symbols.functions(address);
            }
        }
        if let Ok(map) = SourceMap::open(&path) {
            let coverage = Coverage::new(&Counter::default(), &map, &read, Scope::All);
            let _ = (coverage.table(), coverage.lcov());
        }
        let Ok(mut machine) = guests::builder().memory(ram).instruction_limit(1000).build(&program) else {
            return;
        };
        let outcome = machine.run().expect("the host can do its work");
        let report = Report::new(&outcome, machine.engine(), Some(&path), Backtraces::Always);
        let _ = (report.message(), report.body(Paint::PLAIN));
    });
    let most = 64 * MIB + 1000 * bytes.len();
    assert!(memory <= most, "{memory} bytes of memory are more than {most}");
}

/// Coverage as JSON, added to itself and written again.
fn coverage(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (read, memory) = measured(|| Coverage::from_json(&text));
    let most = 16 * text.len() + 10_000;
    assert!(memory <= most, "{memory} bytes of memory are more than {most}");
    let read = match read {
        Ok(read) => read,
        Err(error) => return drop(error.to_string()),
    };
    let mut sum = read.clone();
    sum.merge(&read);
    let _ = (sum.table(), sum.lcov());
    assert_eq!(Coverage::from_json(&sum.json()), Ok(sum), "what is written is not what is read");
}

/// A recording, made of the input, read and replayed.
fn recording(bytes: &[u8]) {
    let file = seeds::recording_of(bytes);
    let (read, memory) = measured(|| Recording::read_from(&file[..]));
    let most = 2 * MIB + 2400 * file.len();
    assert!(memory <= most, "{memory} bytes of memory are more than {most}");
    let mut recording = match read {
        Ok(recording) => recording,
        Err(error) => return drop(error.words(FileKind::Recording)),
    };
    if recording.lacks_program() {
        let programs = guests::programs();
        if !programs.iter().any(|program| recording.set_program(program.image()).is_ok()) {
            return;
        }
    }
    let Ok((mut machine, _)) = limited(&recording) else { return };
    let result = guests::run(&mut machine);
    let again = guests::run(&mut machine);
    if let Ok(outcome) = result {
        assert_eq!(again.ok(), Some(outcome), "it ends in another way when it is asked again");
    }
}

/// A snapshot, made of the input, read and run.
fn snapshot(bytes: &[u8]) {
    let file = seeds::snapshot_of(bytes);
    let (read, memory) = measured(|| Snapshot::read_from(&file[..]));
    let most = MIB + 600 * file.len();
    assert!(memory <= most, "{memory} bytes of memory are more than {most}");
    let snapshot = match read {
        Ok(snapshot) => snapshot,
        Err(error) => return drop(error.words(FileKind::Snapshot)),
    };
    let builder = guests::builder().input(vec![b'x'; 1000]);
    let Ok(mut machine) = builder.build_from(&snapshot) else { return };
    let limit = machine.instructions().unwrap_or_default().saturating_add(guests::LIMIT);
    if machine.set_instruction_limit(limit).is_err() {
        // A run that has been on KVM is not counted.
        machine.set_time_limit(Duration::from_millis(1));
    }
    let outcome = machine.run().expect("the host can do its work");
    let _ = Report::new(&outcome, machine.engine(), None, Backtraces::Always).message();
}

/// How many instructions a debugger may let the guest execute.
const MOST_OF_DEBUGGED: u64 = 10_000;

/// What a debugger sends. Each line is a packet, and a line that begins with a tab is sent as it is.
fn gdb(bytes: &[u8]) {
    let sent: Vec<u8> = bytes
        .split(|byte| *byte == b'\n')
        .flat_map(|line| match line.strip_prefix(b"\t") {
            Some(plain) => plain.to_vec(),
            None => seeds::packet(line),
        })
        .collect();
    let path = scratch("gdb");
    let _ = fs::remove_file(&path);
    // Written memory may turn the code into a loop without end, and the debugger may resume it.
    let builder =
        guests::builder().memory("64K".parse().expect("it is a size")).input(b"some input".to_vec());
    let builder = builder.instruction_limit(MOST_OF_DEBUGGED);
    let mut machine = builder.build(&guests::programs()[0]).expect("it fits");
    let debugger = Debugger::listen(&Address::Unix(path.clone()), |_| {}).expect("the folder can be written");
    let mut stream = UnixStream::connect(&path).expect("it listens");
    // Nobody can come back when this one has gone.
    fs::remove_file(&path).expect("it was just made");
    thread::scope(|scope| {
        // It is gone before the scope waits for the thread, which reads until then.
        let mut debugger = debugger;
        scope.spawn(move || {
            let _ = stream.write_all(&sent).and_then(|()| stream.shutdown(Shutdown::Write));
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        observe(&mut machine, &mut [&mut debugger]).expect("the host can do its work");
    });
}

/// How many instructions code may execute.
const MOST_INSTRUCTIONS: u64 = 100;

/// Code that is executed: block by block, and instruction by instruction beside the decoder.
fn decoding(bytes: &[u8]) {
    let Ok(program) = Program::from_bytes(bytes.to_vec()) else { return };
    let builder =
        || guests::builder().memory("64K".parse().expect("it is a size")).input(b"some input".to_vec());
    let mut machine = builder().instruction_limit(MOST_INSTRUCTIONS).build(&program).expect("it fits");
    let outcome = machine.run().expect("the host can do its work");
    let report = Report::new(&outcome, machine.engine(), None, Backtraces::Always);
    let _ = (report.message(), report.body(Paint::PLAIN));

    let mut stepped = builder().instruction_limit(MOST_INSTRUCTIONS).build(&program).expect("it fits");
    let ended = step(&mut stepped).expect("the host can do its work");
    assert_eq!(outcome, ended, "it ends in another way where each instruction is looked at");
    assert_eq!(state(&mut machine), state(&mut stepped), "{outcome:?}");
}

/// Executes one instruction after the other.
fn step(machine: &mut Machine) -> Result<Outcome, RunError> {
    loop {
        let before = machine.registers()?;
        let read = |address, bytes: &mut [u8]| machine.read_ram(address, bytes);
        let decoded = decode(before.eip, &read).map(|(instruction, _)| instruction);
        let next = machine.instructions().unwrap_or_default() + 1;
        match machine.resume(&Wants { instructions: Some(next), ..Wants::default() })? {
            Event::Ended(outcome) => return Ok(outcome),
            _ => {
                let instruction = decoded.expect("what was executed can be decoded");
                let after = machine.registers()?.eip;
                if instruction.flow_control() == FlowControl::Next {
                    let is_repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
                    assert!(
                        after == instruction.next_ip32() || (is_repeated && after == before.eip),
                        "{instruction:?} has led to {after:#x}"
                    );
                }
            }
        }
    }
}

/// Where a machine stands.
fn state(machine: &mut Machine) -> String {
    let registers = machine.registers().expect("the host can do its work");
    format!("{registers:x?} after {:?}", machine.instructions())
}

#[cfg(test)]
mod tests {
    use flatland::FileError;

    use super::*;
    use crate::seeds::{recording_of, recordings, snapshot_of, snapshots};

    #[test]
    fn each_parser_takes_what_it_begins_with() {
        for parser in PARSERS {
            let seeds = (parser.seeds)(vec![b"\x7fELF".to_vec()]);
            assert!(!seeds.is_empty(), "{}", parser.name);
            for seed in seeds {
                assert!(seed.len() <= parser.most, "{}: {} bytes", parser.name, seed.len());
                (parser.run)(&seed);
            }
        }
        clean_up();
    }

    /// A changed input is a file that is read beyond its checksums.
    #[test]
    fn checksums_are_right_whatever_is_changed() {
        let (mut sound, mut cases) = (0, 0);
        for (seeds, file_of, is_read) in [
            (
                snapshots(),
                snapshot_of as fn(&[u8]) -> Vec<u8>,
                is_snapshot as fn(&[u8]) -> Result<(), FileError>,
            ),
            (recordings(), recording_of, is_recording),
        ] {
            for seed in seeds {
                is_read(&file_of(&seed)).expect("it is as it was written");
                // One bit of its last bytes, which are those of a page or of the end.
                for at in (seed.len().saturating_sub(200)..seed.len()).step_by(9) {
                    let mut seed = seed.clone();
                    seed[at] ^= 0x10;
                    cases += 1;
                    sound += u32::from(!matches!(is_read(&file_of(&seed)), Err(FileError::Damaged)));
                }
            }
        }
        assert!(sound > cases / 10 * 9, "{sound} of {cases}");
    }

    fn is_snapshot(file: &[u8]) -> Result<(), FileError> {
        Snapshot::read_from(file).map(drop)
    }

    fn is_recording(file: &[u8]) -> Result<(), FileError> {
        Recording::read_from(file).map(drop)
    }
}
