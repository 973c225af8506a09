//! Recordings whose writes fail: nothing more is written, and each call says why.

use std::io::{self, Cursor, ErrorKind, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};

use flatland_machine::{
    EngineChoice, FileError, Machine, Outcome, Output, Program, Recorder, Recording, RunError,
};

/// A file whose write or seek with this number fails, after a part of it is written. Later ones would not.
#[derive(Clone, Debug, Default)]
struct Failing(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    file: Cursor<Vec<u8>>,
    /// How many calls are made before the one that fails.
    before: usize,
    calls: usize,
}

impl Failing {
    fn after(before: usize) -> Self {
        Self(Arc::new(Mutex::new(State { before, ..State::default() })))
    }

    fn call<T>(
        &self,
        make: impl FnOnce(&mut Cursor<Vec<u8>>) -> io::Result<T>,
        fail: impl FnOnce(&mut Cursor<Vec<u8>>) -> io::Result<()>,
    ) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        if state.calls == state.before + 1 {
            fail(&mut state.file)?;
            return Err(io::Error::new(ErrorKind::StorageFull, "the first error"));
        }
        make(&mut state.file)
    }
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call(|file| file.write(bytes), |file| file.write_all(&bytes[..bytes.len() / 2]))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call(|_| Ok(()), |_| Ok(()))
    }
}

impl Seek for Failing {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.call(|file| file.seek(to), |_| Ok(()))
    }
}

fn is_first_error(result: Result<impl Sized, RunError>) -> bool {
    let Err(RunError::Recording(FileError::Write(error))) = result else { return false };
    (error.kind(), &*error.to_string()) == (ErrorKind::StorageFull, "the first error")
}

#[test]
fn after_a_failed_write_nothing_is_written_and_each_call_says_why() {
    // 0: mov edx, 0xe9; mov edi, 0x2000; mov ecx, 0x4000; rep insb; in al, 0xef; out 0xe9, al; jmp 0
    let code = [
        0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x20, 0, 0, 0xb9, 0, 0x40, 0, 0, 0xf3, 0x6c, 0xe4, 0xef, 0xe6, 0xe9,
        0xeb, 0xe9,
    ];
    let program = Program::from_bytes(code.to_vec()).unwrap();
    let input = b"input".repeat(240_000);
    let (mut began, mut ran, mut ended, mut flushes) = (0, 0, 0, 0);
    for before in 0.. {
        let file = Failing::after(before);
        let state = || file.0.lock().unwrap();
        let builder = Machine::builder().engine(EngineChoice::Soft).memory("64K".parse().unwrap());
        let builder = builder.input(&input[..]).output(Output::from_writer(io::sink()));
        let mut machine = builder.build(&program).unwrap();
        let result = machine.record(Recorder::new(file.clone()));
        if result.is_err() {
            assert!(is_first_error(result));
            assert_eq!(state().calls, before + 1);
            began += 1;
            continue;
        }
        let outcome = match machine.run() {
            Ok(outcome) => outcome,
            error => {
                assert!(is_first_error(error));
                let calls = state().calls;
                assert_eq!(calls, before + 1);
                // A run that goes on all the same comes no further than to its next block.
                assert!(is_first_error(machine.run()));
                assert_eq!(state().calls, calls);
                ran += 1;
                Outcome::Halted
            }
        };
        let result = machine.end_recording(&outcome);
        let is_whole = result.is_ok();
        assert!(is_whole || is_first_error(result));
        drop(machine);
        let mut state = state();
        assert_eq!(state.calls, before + usize::from(!is_whole));
        // What was written before is there. Where the last flush failed, that is all.
        let recording = Recording::read_from(&state.file.get_ref()[..]).unwrap();
        flushes += usize::from(recording.end().is_some() && !is_whole);
        assert!(recording.end().is_some() || !is_whole);
        if is_whole {
            break;
        }
        ended += usize::from(outcome == Outcome::EndOfInput);
        state.file.get_mut().clear();
    }
    println!("{began} failures at the start, {ran} in the run, {ended} at the end");
    assert!(began > 0 && ran > 3 && ended > 0 && flushes == 1, "{began}, {ran}, {ended}, {flushes}");
}
