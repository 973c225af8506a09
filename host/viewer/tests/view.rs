//! A view of a recorded run shows what the run was when it was executed step by step.

use flatland_contract::Direction;
use flatland_machine::{
    EngineChoice, Event, Machine, MemorySize, Outcome, Program, Recorder, Stopped, Wants,
};
use flatland_tools::timeline::Register;
use flatland_viewer::{Line, Lines, Progress, View};
use flatland_x86::Registers;

/// Calls a function three times, which reads a byte, stores the next one and sends it.
#[rustfmt::skip]
const CODE: [u8; 0x20] = [
    0xb9, 3, 0, 0, 0,           //  0: mov ecx, 3
    0xe8, 6, 0, 0, 0,           //  5: call 0x10
    0x49,                       //  a: dec ecx
    0x75, 0xf8,                 //  b: jnz 5
    0xf4,                       //  d: hlt
    0x90, 0x90,                 //  e: nop; nop
    0x55,                       // 10: push ebp
    0x89, 0xe5,                 // 11: mov ebp, esp
    0xe4, 0xe9,                 // 13: in al, 0xe9
    0xfe, 0xc0,                 // 15: inc al
    0xa2, 0, 1, 0, 0,           // 17: mov [0x100], al
    0xe6, 0xe9,                 // 1c: out 0xe9, al
    0x5d,                       // 1e: pop ebp
    0xc3,                       // 1f: ret
];

/// The last byte that the function stored.
const STORED: u32 = 0x100;

fn lines() -> Lines {
    let row = |start, end, number| Line { start, end, number };
    let main = [row(0, 5, 1), row(5, 0xa, 2), row(0xa, 0xd, 3), row(0xd, 0xe, 4)];
    let function = [row(0x10, 0x13, 10), row(0x13, 0x1c, 11), row(0x1c, 0x1e, 12), row(0x1e, 0x20, 13)];
    Lines::new([&main[..], &function].concat(), vec![0, 0x10])
}

fn machine(code: &[u8], input: &[u8]) -> Machine {
    let program = Program::from_bytes(code.to_vec()).unwrap();
    let builder = Machine::builder().engine(EngineChoice::Soft).memory(MemorySize::mib(1));
    builder.input(input.to_vec()).build(&program).unwrap()
}

fn record(mut machine: Machine) -> (Vec<u8>, Outcome) {
    let (recorder, file) = Recorder::to_memory();
    machine.record(recorder).unwrap();
    let outcome = machine.run().unwrap();
    machine.end_recording(&outcome).unwrap();
    (file.take(), outcome)
}

fn view_of(code: &[u8], input: &[u8]) -> View {
    let (recording, _) = record(machine(code, input));
    let mut view = View::open(&recording, lines()).unwrap();
    assert_eq!(view.execute(1_000_000).unwrap(), Progress::Ended);
    view
}

/// The registers and the stored byte before each instruction and at the end, of a run that is executed step by step.
fn points(code: &[u8], input: &[u8]) -> Vec<(Registers, u8)> {
    let mut machine = machine(code, input);
    let mut points = Vec::new();
    loop {
        let mut byte = [0];
        machine.read_ram(STORED, &mut byte);
        points.push((machine.registers().unwrap(), byte[0]));
        match machine.resume(&Wants { steps: true, ..Wants::default() }).unwrap() {
            Event::Stopped(Stopped { stepped: true, .. }) => {}
            Event::Ended(_) => break,
            event => panic!("{event:?}"),
        }
    }
    let mut byte = [0];
    machine.read_ram(STORED, &mut byte);
    points.push((machine.registers().unwrap(), byte[0]));
    points
}

fn stored(view: &View) -> u8 {
    let mut byte = [0];
    assert_eq!(view.read_memory(STORED, &mut byte), 1);
    byte[0]
}

fn eip(view: &mut View) -> u32 {
    view.registers().unwrap().eip
}

#[test]
fn each_point_is_what_it_was_when_the_run_was_there_first() {
    let points = points(&CODE, b"abc");
    let mut view = view_of(&CODE, b"abc");
    let last = points.len() as u64 - 1;
    assert_eq!((view.beginning(), view.position(), view.len()), (0, last, last));
    // 7 has no common divisor with their number: all of them, each from another one.
    for at in (0..=last).map(|index| index * 7 % (last + 1)) {
        view.go_to(at).unwrap();
        let (registers, byte) = points[at as usize];
        assert_eq!((view.position(), view.registers().unwrap(), stored(&view)), (at, registers, byte));
    }
    view.go_to(0).unwrap();
    let mut all = vec![view.registers().unwrap()];
    while view.step().unwrap() {
        all.push(view.registers().unwrap());
    }
    let expected: Vec<_> = points.iter().map(|(registers, _)| *registers).collect();
    assert_eq!(all, expected);
    while view.step_back().unwrap() {
        all.pop();
        assert_eq!(all.last(), Some(&view.registers().unwrap()), "back to {}", view.position());
    }
    assert_eq!(all.len(), 1);
}

#[test]
fn each_byte_at_a_port_leads_to_the_instruction_that_transferred_it() {
    let mut view = view_of(&CODE, b"abc");
    let transfers = view.transfers().to_vec();
    let bytes: Vec<_> = transfers.iter().map(|byte| (byte.direction, byte.port, byte.byte)).collect();
    let (read, sent) = (Direction::In, Direction::Out);
    let expected = [(read, b'a'), (sent, b'b'), (read, b'b'), (sent, b'c'), (read, b'c'), (sent, b'd')];
    assert_eq!(bytes, expected.map(|(direction, byte)| (direction, 0xe9, byte)));
    for byte in transfers {
        view.go_to(byte.before).unwrap();
        let registers = view.registers().unwrap();
        assert_eq!(registers.eip, byte.address);
        assert_eq!(registers.eip, if byte.direction == read { 0x13 } else { 0x1c });
        view.step().unwrap();
        assert_eq!(view.registers().unwrap().eax as u8, byte.byte);
    }
}

#[test]
fn a_repeated_output_leads_to_its_instruction() {
    // mov esi, 0xe; mov ecx, 3; mov dx, 0xe9; rep outsb; hlt
    let code = [0xbe, 17, 0, 0, 0, 0xb9, 3, 0, 0, 0, 0x66, 0xba, 0xe9, 0, 0xf3, 0x6e, 0xf4, b'x', b'y', b'z'];
    let mut view = view_of(&code, b"");
    let sent: Vec<_> = view.transfers().iter().map(|byte| (byte.byte, byte.before)).collect();
    assert_eq!(sent, [(b'x', 3), (b'y', 3), (b'z', 3)]);
    view.go_to(3).unwrap();
    assert_eq!(eip(&mut view), 14);
}

#[test]
fn lines_are_gone_through_over_calls_and_back() {
    let mut view = view_of(&CODE, b"abc");
    view.go_to(0).unwrap();
    let line = |view: &mut View| {
        let eip = eip(view);
        (view.lines().at(eip), view.position())
    };
    let mut forward = vec![line(&mut view)];
    while view.next_line().unwrap() {
        forward.push(line(&mut view));
    }
    let numbers: Vec<_> = forward.iter().filter_map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 2, 3, 2, 3, 4]);
    view.go_to(view.len()).unwrap();
    let mut back = Vec::new();
    while view.back_line().unwrap() {
        back.push(line(&mut view));
    }
    forward.reverse();
    assert_eq!(back, forward);
}

#[test]
fn a_function_is_left_forward_and_back() {
    let mut view = view_of(&CODE, b"abc");
    assert!(view.run_to(&[0x10]).is_ok_and(|came| !came), "the end is here already");
    view.go_to(0).unwrap();
    assert!(view.run_to(&[0x17]).unwrap());
    assert!(view.run_to(&[0x17]).unwrap());
    let second = view.position();
    assert_eq!(view.calls().unwrap(), [0x17, 9]);
    assert!(view.step_out().unwrap());
    assert_eq!((eip(&mut view), view.registers().unwrap().ecx), (0xa, 2));
    view.go_to(second).unwrap();
    assert!(view.back_out().unwrap());
    assert_eq!((eip(&mut view), view.registers().unwrap().ecx), (5, 2));
    assert!(!view.back_out().unwrap(), "nothing has called this");
    assert!(!view.step_out().unwrap());
    assert_eq!(eip(&mut view), 5);
    // In the function a step back by line goes to the caller's line.
    view.go_to(second).unwrap();
    let starts = [0x13, 0x10, 5];
    for start in starts {
        assert!(view.back_line().unwrap());
        assert_eq!(eip(&mut view), start);
    }
}

#[test]
fn who_wrote_is_found_in_memory_and_registers() {
    let mut view = view_of(&CODE, b"abc");
    let end = view.position();
    assert!(view.who_wrote(STORED, 1).unwrap());
    assert_eq!((eip(&mut view), stored(&view)), (0x17, b'c'));
    assert!(view.who_wrote(STORED, 1).unwrap());
    assert_eq!((eip(&mut view), stored(&view)), (0x17, b'b'));
    view.go_to(end).unwrap();
    let by_name = |name| Register::by_name(name).unwrap();
    assert!(view.who_wrote_register(by_name("eax")).unwrap());
    assert_eq!(eip(&mut view), 0x15);
    assert!(view.who_wrote_register(by_name("ecx")).unwrap());
    assert_eq!(eip(&mut view), 0xa);
    view.go_to(end).unwrap();
    assert!(!view.who_wrote(0x200, 4).unwrap(), "nobody wrote there");
    assert_eq!(view.position(), end);
    assert!(view.back_to(&[0x13]).unwrap());
    assert_eq!(stored(&view), b'c');
}

#[test]
fn a_run_is_executed_in_parts_and_its_calls_are_kept() {
    let (recording, _) = record(machine(&CODE, b"abc"));
    let mut view = View::open(&recording, lines()).unwrap();
    assert!(view.is_empty());
    let mut parts = 1;
    while view.execute(4).unwrap() == Progress::Unfinished {
        assert_eq!((view.position(), view.ending()), (parts * 4, None));
        // Where it is left has no effect on the rest.
        view.go_to(parts).unwrap();
        parts += 1;
    }
    assert_eq!(view.ending().unwrap(), "ended with status 0");
    assert_eq!(view.transfers().len(), 6);
    let inside = view.samples().iter().filter(|sample| sample.addresses.last() == Some(&9)).count();
    assert_eq!(inside, 3 * 8, "eight instructions each time, before which there was the call");
    assert!(view.samples().is_sorted_by_key(|sample| sample.count));
}

#[test]
fn a_fault_is_told_in_a_sentence() {
    // mov eax, [0xe0000000]
    let view = view_of(&[0xa1, 0, 0, 0, 0xe0], b"");
    let expected =
        "read outside RAM at 0xe0000000 (RAM ends at 0x100000), by the instruction at 0x00000000: ";
    let ending = view.ending().unwrap();
    assert!(ending.starts_with(expected), "{ending}");
}

#[test]
fn a_recording_that_is_cut_or_broken_is_one_sentence_or_a_shorter_run() {
    let (recording, _) = record(machine(&CODE, b"abc"));
    let mut refused = 0;
    let mut look = |bytes: &[u8]| {
        let opened = View::open(bytes, lines()).and_then(|mut view| {
            view.execute(1000)?;
            view.go_to(3)?;
            view.back_line()
        });
        if let Err(error) = opened {
            let sentence = error.to_string();
            assert!(!sentence.contains('\n') && sentence.len() < 250, "{sentence}");
            refused += 1;
        }
    };
    for len in 0..recording.len() {
        look(&recording[..len]);
    }
    for at in 0..recording.len() {
        let mut broken = recording.clone();
        broken[at] ^= 1 << (at % 8);
        look(&broken);
    }
    assert!(refused > recording.len(), "{refused}");
    assert_eq!(
        View::open(b"hello", lines()).unwrap_err().to_string(),
        "the recording cannot be read: it is no recording: give a file that --record has written"
    );
}

#[test]
fn a_run_with_more_memory_than_a_page_has_room_for_is_refused() {
    let program = Program::from_bytes(vec![0xf4]).unwrap();
    let builder = Machine::builder().engine(EngineChoice::Soft).memory(MemorySize::mib(257));
    let (recording, _) = record(builder.build(&program).unwrap());
    assert_eq!(
        View::open(&recording, Lines::default()).unwrap_err().to_string(),
        "the run had 257M of RAM, and a page has room for 256M: record it with less, by --memory"
    );
}
