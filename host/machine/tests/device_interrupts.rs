//! Interrupts that devices raise: the timer, devices of a caller, and a guest that halts and waits for one.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use flatland_machine::{
    Builder, Device, EngineChoice, Event, Host, InterruptLine, Machine, MemorySize, Outcome, Output, Program,
    Recorder, Recording, RunError, Snapshot, Streams, Unfinished, Vector, Wants,
};
use flatland_x86::Registers;

const HANDLER: usize = 0x100;
const IDT_POINTER: usize = 0x1ff0;
const IDT: usize = 0x2000;
const LIDT: [u8; 7] = [0x0f, 0x01, 0x1d, 0xf0, 0x1f, 0, 0];

/// A program that loads an IDT, in which the vectors 0x20 and 0x21 have this handler, and goes on with this code.
fn program(code: &[u8], handler: &[u8]) -> Program {
    let mut image = vec![0; IDT + 0x22 * 8];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[&LIDT[..], code].concat());
    put(HANDLER, handler);
    put(IDT_POINTER, &[0x0f, 0x01, 0, 0x20, 0, 0]);
    for number in [0x20, 0x21] {
        put(IDT + number * 8, &[0, 1, 8, 0, 0, 0x8e, 0, 0]);
    }
    Program::from_bytes(image).unwrap()
}

fn soft() -> Builder {
    Machine::builder().engine(EngineChoice::Soft).memory(MemorySize::from_bytes(0x1_0000).unwrap())
}

/// Sets the timer: `mov al, BYTE; out 0xf7, al` for each byte.
fn set_timer(period: u32) -> Vec<u8> {
    period.to_le_bytes().into_iter().flat_map(|byte| [0xb0, byte, 0xe6, 0xf7]).collect()
}

/// Sets the timer, and counts in ECX: sti; inc ecx; jmp to it
fn counting(period: u32) -> Vec<u8> {
    [&set_timer(period)[..], &[0xfb, 0x41, 0xeb, 0xfd]].concat()
}

/// inc ebx; mov al, '.'; out 0xe9, al; cmp ebx, 3; je to the end; iret; the end: hlt
const THREE: [u8; 12] = [0x43, 0xb0, b'.', 0xe6, 0xe9, 0x83, 0xfb, 3, 0x74, 1, 0xcf, 0xf4];

const SLICE: fn(u64) -> Wants = |at| Wants { instructions: Some(at), ..Wants::default() };

/// The end of a run: registers, the count of instructions, and output.
fn end(machine: &mut Machine) -> (Registers, Option<u64>, Vec<u8>) {
    let output = machine.streams().output.bytes().to_vec();
    (machine.registers().unwrap(), machine.instructions(), output)
}

#[test]
fn the_timer_counts_instructions_exactly_however_the_run_is_cut() {
    let program = program(&counting(1000), &THREE);
    let mut whole = soft().build(&program).unwrap();
    assert_eq!(whole.run().unwrap(), Outcome::Halted);
    let expected = end(&mut whole);
    // lidt, four times mov and out; the timer begins there. 3000 later the third interrupt comes, and six instructions of
    // the handler and `hlt` follow.
    assert_eq!((expected.1, &expected.2[..]), (Some(9 + 3000 + 6), &b"..."[..]));
    assert_eq!(expected.0.ebx, 3);
    // Of these 3000 one is `sti`, and two times six are the handler's; each other one of the rest counts.
    assert_eq!(expected.0.ecx, (3000 - 1 - 2 * 6_u32).div_ceil(2));

    let mut stepped = soft().build(&program).unwrap();
    let steps = Wants { steps: true, ..Wants::default() };
    while !matches!(stepped.resume(&steps).unwrap(), Event::Ended(_)) {}
    assert_eq!(end(&mut stepped), expected, "in steps");

    for len in [13, 499, 1000] {
        let mut cut = soft().build(&program).unwrap();
        let mut at = 0;
        let mut output = Vec::new();
        loop {
            at += len;
            let event = cut.resume(&SLICE(at)).unwrap();
            if matches!(event, Event::Ended(_)) {
                break;
            }
            // Each part in another machine, by way of a file.
            let mut file = Vec::new();
            cut.snapshot().unwrap().write_to(&mut file).unwrap();
            output.extend_from_slice(cut.streams().output.bytes());
            cut = soft().build_from(&Snapshot::read_from(&file[..]).unwrap()).unwrap();
        }
        let (registers, instructions, rest) = end(&mut cut);
        assert_eq!((registers, instructions, [output, rest].concat()), expected, "in parts of {len}");
    }
}

#[test]
fn a_part_is_executed_again_with_the_same_interrupts() {
    let mut machine = soft().build(&program(&counting(100), &THREE)).unwrap();
    machine.keep_inputs().unwrap();
    let mut points = Vec::new();
    for at in (0..300).step_by(7) {
        machine.resume(&SLICE(at)).unwrap();
        points.push((machine.checkpoint().unwrap(), machine.registers().unwrap()));
    }
    for from in (0..points.len()).rev() {
        machine.go_back(&points[from].0).unwrap();
        for (number, (point, registers)) in points.iter().enumerate().skip(from + 1) {
            machine.resume_in_the_past(&SLICE(point.instructions().unwrap())).unwrap();
            assert_eq!(machine.registers().unwrap(), *registers, "{number} from {from}");
        }
    }
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
    assert_eq!(machine.streams().output.bytes(), b"...");
}

#[test]
fn a_restored_machine_begins_with_no_timer_of_the_run_before() {
    let mut machine = soft().build(&program(&counting(50), &THREE)).unwrap();
    let start = machine.snapshot().unwrap();
    let mut ends = Vec::new();
    for until in [30, 90, 1000, 1000] {
        machine.restore(&start, Streams::none()).unwrap();
        if let Event::Ended(_) = machine.resume(&SLICE(until)).unwrap() {
            ends.push(end(&mut machine));
        }
    }
    assert_eq!(ends[0], ends[1]);
}

#[test]
fn a_guest_that_halts_with_interrupts_enabled_wakes() {
    // sti; hlt; inc ecx; jmp to the hlt
    let code = [&set_timer(1_000_000_000)[..], &[0xfb, 0xf4, 0x41, 0xeb, 0xfc]].concat();
    let mut machine = soft().build(&program(&code, &THREE)).unwrap();
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
    let (registers, instructions, output) = end(&mut machine);
    // The time in which nothing is executed is no instruction.
    assert_eq!((registers.ecx, registers.ebx, &output[..]), (2, 3, &b"..."[..]));
    assert_eq!(instructions, Some(9 + 2 + 2 * (6 + 3) + 6));
}

#[test]
fn a_halt_ends_the_run_where_nothing_can_come() {
    for code in [
        // With interrupts disabled: hlt; inc ecx; hlt
        [&set_timer(10)[..], &[0xf4, 0x41, 0xf4]].concat(),
        // Without a timer, and with one that was stopped: sti; hlt; inc ecx; hlt
        vec![0xfb, 0xf4, 0x41, 0xf4],
        [&set_timer(1_000_000)[..], &set_timer(0), &[0xfb, 0xf4, 0x41, 0xf4]].concat(),
    ] {
        let mut machine = soft().build(&program(&code, &THREE)).unwrap();
        assert_eq!(machine.run().unwrap(), Outcome::Halted);
        assert_eq!((machine.registers().unwrap().ecx, machine.registers().unwrap().ebx), (0, 0));
    }
}

/// Raises the vector that is written to it.
struct Bell;

impl Device for Bell {
    fn write(&mut self, _: u16, byte: u8, host: &mut Host) -> Result<(), Unfinished> {
        host.raise(Vector::new(byte).ok_or(Unfinished::Unsupported)?);
        Ok(())
    }
}

#[test]
fn a_device_raises_an_interrupt_in_a_transfer() {
    // sti; mov al, 0x21; mov edx, 0x3f8; out dx, al; inc ecx; hlt
    let code = [0xfb, 0xb0, 0x21, 0xba, 0xf8, 3, 0, 0, 0xee, 0x41, 0xf4];
    // mov eax, [esp]; hlt
    let mut machine = soft().device(0x3f8, Bell).build(&program(&code, &[0x8b, 0x04, 0x24, 0xf4])).unwrap();
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
    let registers = machine.registers().unwrap();
    assert_eq!((registers.eax, registers.ecx), (7 + 9, 0), "directly behind the `out`");
}

/// Gives its line away, and may raise for ever.
struct Far(Sender<InterruptLine>);

impl Device for Far {
    fn connect(&mut self, line: InterruptLine) {
        self.0.send(line).unwrap();
    }

    fn may_raise(&self) -> bool {
        true
    }
}

/// Keeps all that is written, for another thread.
struct Sent(Sender<u8>);

impl std::io::Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // The last answer is for nobody.
        for byte in bytes {
            let _ = self.0.send(*byte);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_halted_guest_waits_for_a_device_and_its_output_is_there_before() {
    // mov al, '?'; out 0xe9, al; sti; hlt; jmp to the hlt
    let code = [0xb0, b'?', 0xe6, 0xe9, 0xfb, 0xf4, 0xeb, 0xfd];
    let ((lines, line), (sent, output)) = (channel(), channel());
    let builder = soft().device(0x3f8, Far(lines)).output(Output::from_writer(Sent(sent)));
    let mut machine = builder.build(&program(&code, &THREE)).unwrap();
    let line = line.recv().unwrap();
    let raising = thread::spawn(move || {
        // Each interrupt comes only after the answer to the last one could be read.
        for answer in [b'?', b'.', b'.'] {
            assert_eq!(output.recv().unwrap(), answer);
            line.raise(Vector::new(0x20).unwrap());
        }
    });
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
    assert_eq!(machine.registers().unwrap().ebx, 3);
    raising.join().unwrap();
}

#[test]
fn a_wait_of_a_halted_guest_is_interrupted_limited_and_saved() {
    // sti; hlt; inc ecx; hlt
    let program = program(&[0xfb, 0xf4, 0x41, 0xf4], &[0x43, 0xcf]);
    let (lines, line) = channel();
    let mut machine = soft().device(0x3f8, Far(lines.clone())).build(&program).unwrap();
    let handle = machine.interrupt_handle();
    let interrupting = thread::spawn(move || handle.interrupt());
    assert_eq!(machine.resume(&Wants::nothing()).unwrap(), Event::Interrupted);
    interrupting.join().unwrap();
    machine.set_time_limit(Duration::from_millis(20));
    assert!(matches!(machine.run().unwrap(), Outcome::Stopped(..)));
    let halted = machine.snapshot().unwrap();
    let (_, line) = (line.recv().unwrap(), line);
    let mut other = soft().device(0x3f8, Far(lines)).build_from(&halted).unwrap();
    line.recv().unwrap().raise(Vector::new(0x20).unwrap());
    // It halts again with interrupts enabled.
    let wants = Wants { instructions: Some(6), ..Wants::default() };
    assert!(matches!(other.resume(&wants).unwrap(), Event::Stopped(_)));
    let registers = other.registers().unwrap();
    assert_eq!((registers.ebx, registers.ecx, registers.eip), (1, 1, 7 + 3));
}

/// What is raised while interrupts are disabled is in a snapshot's file.
#[test]
fn a_pending_interrupt_is_saved() {
    // mov al, 0x21; mov edx, 0x3f8; out dx, al; inc ecx; sti; inc ecx; inc ecx
    let code = [0xb0, 0x21, 0xba, 0xf8, 3, 0, 0, 0xee, 0x41, 0xfb, 0x41, 0x41];
    let mut machine = soft().device(0x3f8, Bell).build(&program(&code, &[0x43, 0xf4])).unwrap();
    for at in 4..=6 {
        machine.resume(&SLICE(at)).unwrap();
        let mut file = Vec::new();
        machine.snapshot().unwrap().write_to(&mut file).unwrap();
        let mut other = soft().build_from(&Snapshot::read_from(&file[..]).unwrap()).unwrap();
        assert_eq!(other.run().unwrap(), Outcome::Halted, "{at}");
        let registers = other.registers().unwrap();
        assert_eq!((registers.ecx, registers.ebx), (2, 1), "{at}");
    }
}

#[test]
fn a_recorded_timer_is_replayed_and_a_device_of_ones_own_is_refused() {
    let mut machine = soft().build(&program(&counting(1000), &THREE)).unwrap();
    let (recorder, file) = Recorder::to_memory();
    machine.record(recorder).unwrap();
    let outcome = machine.run().unwrap();
    machine.end_recording(&outcome).unwrap();
    let recording = Recording::read_from(&file.take()[..]).unwrap();
    let mut replay = soft().replay(&recording).unwrap();
    assert_eq!(replay.run().unwrap(), outcome);
    assert_eq!(end(&mut replay), end(&mut machine));

    let code = [0xfb, 0xb0, 0x21, 0xba, 0xf8, 3, 0, 0, 0xee, 0x41, 0xf4];
    let mut machine = soft().device(0x3f8, Bell).build(&program(&code, &THREE)).unwrap();
    machine.record(Recorder::to_memory().0).unwrap();
    match machine.run() {
        Err(error @ RunError::Unsupported(_)) => assert_eq!(
            error.to_string(),
            "a recording cannot hold the interrupts that a device of your own raises: run the program without \
             recording it or going back in it"
        ),
        other => panic!("{other:?}"),
    }
}
