//! Recorders that write nothing before it is known whether their recording is kept.

use flatland_machine::{EngineChoice, Machine, Outcome, Program, Recorder, Recording, Streams};

/// 0: in al, 0xe9; 2: out 0xe9, al; 4: jmp 0
const COPY: [u8; 6] = [0xe4, 0xe9, 0xe6, 0xe9, 0xeb, 0xfa];

fn machine() -> Machine {
    let program = Program::from_bytes(COPY.to_vec()).unwrap();
    Machine::builder().engine(EngineChoice::Soft).memory("64K".parse().unwrap()).build(&program).unwrap()
}

fn input(len: usize) -> Streams {
    let input = flatland_machine::Input::from_bytes((0..len).map(|at| at as u8).collect::<Vec<_>>());
    Streams { input, ..Streams::none() }
}

#[test]
fn nothing_is_written_before_the_end_and_then_all() {
    let mut machine = machine();
    let start = machine.snapshot().unwrap();
    for len in [0, 1, 1000, 300_000] {
        let mut files = Vec::new();
        for is_late in [false, true] {
            machine.restore(&start, input(len)).unwrap();
            let (recorder, file) = Recorder::to_memory();
            let recorder = recorder.program("a path");
            match is_late {
                true => machine.record_from(&start, recorder.late()).unwrap(),
                false => machine.record(recorder).unwrap(),
            }
            let outcome = machine.run().unwrap();
            assert_eq!(outcome, Outcome::EndOfInput);
            if is_late && len < 256 << 10 {
                assert_eq!(file.take(), []);
            }
            machine.end_recording(&outcome).unwrap();
            files.push(Recording::read_from(&file.take()[..]).unwrap());
        }
        let [early, late] = &files[..] else { unreachable!() };
        assert_eq!(
            (early.program(), early.input_len(), early.output_len()),
            (Some("a path"), len, len as u64)
        );
        assert_eq!((late.program(), late.input_len(), late.output_len()), (Some("a path"), len, len as u64));
        assert_eq!(early.end(), late.end());
        for recording in files {
            let builder = Machine::builder().engine(EngineChoice::Soft);
            assert_eq!(builder.replay(&recording).unwrap().run().unwrap(), Outcome::EndOfInput);
        }
    }
}

#[test]
fn a_run_that_is_not_kept_leaves_nothing() {
    let mut machine = machine();
    let start = machine.snapshot().unwrap();
    for len in [0, 1000, 300_000] {
        machine.restore(&start, input(len)).unwrap();
        let (recorder, file) = Recorder::to_memory();
        machine.record_from(&start, recorder.late()).unwrap();
        machine.run().unwrap();
        machine.stop_recording();
        let bytes = file.take();
        // A long one is written as it goes, and has no end.
        assert_eq!(bytes.is_empty(), len < 256 << 10);
        if !bytes.is_empty() {
            let recording = Recording::read_from(&bytes[..]).unwrap();
            assert_eq!((recording.input_len(), recording.end()), (len, None));
        }
    }
}
