//! Recordings that are damaged by accident or made with intent: each is refused in one sentence, or read and replayed,
//! without a panic, a hang, or more memory than `Recording::read_from` and `Builder::replay` state.
//!
//! Recordings of small guests are changed at random: their bytes as they are, and each of their parts with the checksums,
//! and mostly the marks, made right again. The numbers come from the number of the case, so that a failure can be
//! repeated. `FLATLAND_CASES` says how many cases there are, and `FLATLAND_SEED` which is the first.
//!
//! This is a test program of its own, because its allocator counts.

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod checks;
mod crafted;
mod guests;
mod parts;

use std::env;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flatland_machine::{BuildError, FileError, Outcome, Program, Recording, Wants};

use changes::{changed, files};
use checks::{MOST_MEMORY_OF_REPLAY, check_message, most_memory, read};
use common::damage::{Case, measured, number};
use guests::{LIMIT, builder, limited, programs, run};
use parts::{PACKED, Parts};

/// The number of the case that runs now.
static NOW: AtomicU64 = AtomicU64::new(0);

/// Ends the process if a case takes a minute.
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
