//! Notes: lines of the host between those of the guest, and their order.

use std::io::{PipeReader, Read, pipe};
use std::time::Duration;

use flatland_machine::{EngineChoice, Event, Machine, Output, Program, StreamError, Streams, Wants};

/// Sends each byte to the port before it, and then loops without end.
fn program(sends: &[(u8, u8)]) -> Program {
    // mov al, BYTE; out PORT, al ...; jmp $
    let mut code: Vec<u8> = sends.iter().flat_map(|(port, byte)| [0xb0, *byte, 0xe6, *port]).collect();
    code.extend([0xeb, 0xfe]);
    Program::from_bytes(code).unwrap()
}

const OUTPUT: u8 = 0xe9;
const DIAGNOSTICS: u8 = 0xea;

/// A machine with a pipe for its diagnostics, and another pipe or the same one for its output.
fn machine(sends: &[(u8, u8)], is_one_place: bool) -> (Machine, PipeReader, Option<PipeReader>) {
    let (diagnostics, to_diagnostics) = pipe().unwrap();
    let (output, to_output) = match is_one_place {
        true => (None, to_diagnostics.try_clone().unwrap()),
        false => pipe().map(|(output, to_output)| (Some(output), to_output)).unwrap(),
    };
    let streams = Streams {
        output: Output::from(to_output),
        diagnostics: Output::from(to_diagnostics),
        ..Streams::none()
    };
    let machine =
        Machine::builder().engine(EngineChoice::Soft).streams(streams).build(&program(sends)).unwrap();
    (machine, diagnostics, output)
}

/// Runs long enough for all output to be written that does not wait for more.
fn run(machine: &mut Machine) {
    let wants = Wants { clock: Some(5 * Machine::FLUSH_WITHIN), ..Wants::default() };
    assert_eq!(machine.resume(&wants).unwrap(), Event::Clock);
}

/// Runs up to the next transfer.
fn run_to_transfer(machine: &mut Machine) {
    let wants = Wants { transfers: true, ..Wants::default() };
    assert!(matches!(machine.resume(&wants).unwrap(), Event::Transfer(_)));
}

/// Everything that was written.
fn written(mut machine: Machine, mut reader: PipeReader) -> String {
    machine.flush_within(Duration::from_secs(10)).unwrap();
    drop(machine);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_note_stands_before_the_line_that_has_no_end_yet() {
    let sends = [(DIAGNOSTICS, b'a'), (DIAGNOSTICS, b'b'), (DIAGNOSTICS, b'\n'), (DIAGNOSTICS, b'c')];
    let (mut machine, diagnostics, _output) = machine(&sends, false);
    machine.set_whole_lines(true);
    for number in 1..=4 {
        run_to_transfer(&mut machine);
        machine.note(&format!("note {number}")).unwrap();
    }
    run(&mut machine);
    machine.note("note 5").unwrap();
    assert_eq!(written(machine, diagnostics), "note 1\nnote 2\nab\nnote 3\nnote 4\nnote 5\nc");
}

#[test]
fn a_note_stands_below_what_is_written_of_a_line() {
    let (mut machine, diagnostics, _output) = machine(&[(DIAGNOSTICS, b'a'), (DIAGNOSTICS, b'\n')], false);
    run_to_transfer(&mut machine);
    machine.flush_within(Duration::from_secs(10)).unwrap();
    machine.note("one").unwrap();
    machine.note("two").unwrap();
    run(&mut machine);
    machine.note("three").unwrap();
    assert_eq!(written(machine, diagnostics), "a\none\ntwo\n\nthree\n");
}

#[test]
fn the_output_is_whole_where_notes_are_written_to_the_same_place() {
    let sends = [(OUTPUT, b'x'), (DIAGNOSTICS, b'a'), (OUTPUT, b'y'), (DIAGNOSTICS, b'\n'), (OUTPUT, b'z')];
    for is_one_place in [true, false] {
        let (mut machine, diagnostics, _output) = machine(&sends, is_one_place);
        machine.set_whole_lines(true);
        for _ in &sends {
            machine.note("note").unwrap();
            run_to_transfer(&mut machine);
        }
        run(&mut machine);
        let expected = match is_one_place {
            true => "note\nnote\nnote\nnote\nxay\nnote\nz",
            // Output to the other place is written first, with everything that was sent before it.
            false => "note\nnote\nnote\na\nnote\n\nnote\n",
        };
        assert_eq!(written(machine, diagnostics), expected);
    }
}

#[test]
fn a_note_at_the_end_begins_a_line_of_its_own_on_a_terminal_of_both() {
    let (mut machine, diagnostics, _output) = machine(&[(OUTPUT, b'x')], true);
    run_to_transfer(&mut machine);
    machine.note("note").unwrap();
    assert_eq!(written(machine, diagnostics), "x\nnote\n");
}

#[test]
#[cfg_attr(windows, ignore = "a pipe takes 4 KiB there")]
fn a_line_without_end_is_written_in_long_parts() {
    let sends = [(DIAGNOSTICS, b'a'); 5000];
    let (mut machine, mut diagnostics, _output) = machine(&sends, false);
    machine.set_whole_lines(true);
    for _ in &sends {
        run_to_transfer(&mut machine);
    }
    run(&mut machine);
    // What is behind the last long part waits for more, so how much that is depends on when parts were written.
    let mut part = [0; 4096];
    diagnostics.read_exact(&mut part).unwrap();
    assert_eq!(part, [b'a'; 4096]);
    assert_eq!(written(machine, diagnostics), "a".repeat(5000 - part.len()));
}

#[test]
fn who_writes_notes_hears_that_nobody_reads_them() {
    let (mut machine, diagnostics, _output) = machine(&[], false);
    // Each note is written at once.
    machine.set_fast_transfers(false);
    machine.note("note").unwrap();
    drop(diagnostics);
    assert!(matches!(machine.note("note"), Err(StreamError::Closed)));
}
