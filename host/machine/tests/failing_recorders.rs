//! Recordings whose writes fail: nothing more is written, and each call says why.

use std::io::{self, Cursor, ErrorKind, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, MutexGuard};

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

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What was written.
    fn recording(&self) -> Recording {
        Recording::read_from(&self.state().file.get_ref()[..]).unwrap()
    }

    fn call<T>(
        &self,
        make: impl FnOnce(&mut Cursor<Vec<u8>>) -> io::Result<T>,
        fail: impl FnOnce(&mut Cursor<Vec<u8>>) -> io::Result<()>,
    ) -> io::Result<T> {
        let mut state = self.state();
        state.calls += 1;
        if state.calls - 1 == state.before {
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
    let (mut began, mut ran) = (0, 0);
    for before in 0.. {
        let file = Failing::after(before);
        let (result, machine) = record(&program, &file);
        let Some(mut machine) = machine else {
            assert!(is_first_error(result));
            assert_eq!(file.state().calls, before + 1);
            began += 1;
            continue;
        };
        let result = machine.run();
        // How many calls a run makes depends on its time.
        if result.is_ok() {
            break;
        }
        assert!(is_first_error(result));
        // Whoever goes on all the same writes nothing either.
        assert!(is_first_error(machine.run()));
        assert!(is_first_error(machine.end_recording(&Outcome::Halted)));
        drop(machine);
        assert_eq!(file.state().calls, before + 1);
        // What was written before is there.
        assert!(file.recording().end().is_none());
        ran += 1;
    }
    assert!(began > 0 && ran > 3, "{began} failures at the start, {ran} in the run");
    let mut ended = 0;
    loop {
        let file = Failing::after(usize::MAX);
        let mut machine = record(&program, &file).1.unwrap();
        let outcome = machine.run().unwrap();
        assert_eq!(outcome, Outcome::EndOfInput);
        let before = file.state().calls + ended;
        file.state().before = before;
        let result = machine.end_recording(&outcome);
        let is_whole = result.is_ok();
        drop(machine);
        if is_whole {
            assert!(file.recording().end().is_some());
            break;
        }
        assert!(is_first_error(result));
        assert_eq!(file.state().calls, before + 1);
        file.recording();
        ended += 1;
    }
    assert!(ended > 3, "{ended} failures at the end");
}

/// Begins a recording. There is no machine if that fails.
fn record(program: &Program, file: &Failing) -> (Result<(), RunError>, Option<Machine>) {
    let builder = Machine::builder().engine(EngineChoice::Soft).memory("64K".parse().unwrap());
    let builder = builder.input(b"input".repeat(240_000)).output(Output::from_writer(io::sink()));
    let mut machine = builder.build(program).unwrap();
    let result = machine.record(Recorder::new(file.clone()));
    let machine = result.is_ok().then_some(machine);
    (result, machine)
}
