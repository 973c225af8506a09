//! Snapshots of the start, and of where the guest asks for input, restored after any other run. Each test compares
//! all registers, all of RAM and the next run with those of a fresh machine.

mod common;

use std::io::Read;

use common::engines;
use flatland::EngineChoice;
use flatland::x86::{Access, FaultKind, Location, Registers, Stops, SystemRegisters};
use flatland::{
    Event, Image, Input, Machine, MemoryMap, MemorySize, Outcome, Output, RestoreError, Stop, Streams, Wants,
};
use flatland_contract::Direction;
use flatland_contract::memory::{Layout, default_stack_size};

type Any = Machine;

fn memory() -> MemorySize {
    "1M".parse().expect("it is a size")
}

fn machine_on(engine: EngineChoice, memory: impl Into<MemoryMap>, code: &[u8], input: &[u8]) -> Any {
    let engines = engine
        .open(memory, &Stops::default())
        .unwrap_or_else(|error| panic!("this test needs KVM, and {error}"));
    let image = Image::from_bytes(code.to_vec()).expect("code is not empty");
    let mut machine = Machine::new(engines, &image, streams(input)).expect("the code fits");
    machine.set_time_limit(std::time::Duration::from_millis(300));
    machine
}

fn streams(input: &[u8]) -> Streams {
    Streams {
        input: Input::from_bytes(input.to_vec()),
        output: Output::memory(),
        diagnostics: Output::memory(),
    }
}

/// The visible state of a machine's processor and RAM.
#[derive(Clone, PartialEq)]
struct State {
    registers: Registers,
    system: SystemRegisters,
    ram: Vec<u8>,
}

fn state(machine: &mut Any) -> State {
    let engine = machine.engine();
    let mut ram = vec![0; engine.ram_size() as usize];
    assert_eq!(engine.read_ram(0, &mut ram), ram.len());
    State { registers: engine.registers().unwrap(), system: engine.system_registers().unwrap(), ram }
}

#[track_caller]
fn assert_same(actual: &State, expected: &State, what: &str) {
    assert_eq!((actual.registers, actual.system), (expected.registers, expected.system), "{what}");
    let different = (0..expected.ram.len()).find(|&at| actual.ram[at] != expected.ram[at]);
    assert_eq!(different, None, "{what}: where RAM differs");
}

/// Guests that change as much state as they can, each named by what it changes or how it ends.
const GUESTS: &[(&str, &[u8])] = &[
    // mov eax, 0x12345678; mov [0x8000], eax; push eax; std; stc; mov ebp, 7; hlt
    (
        "registers, memory and flags",
        &[0xb8, 0x78, 0x56, 0x34, 0x12, 0xa3, 0x00, 0x80, 0, 0, 0x50, 0xfd, 0xf9, 0xbd, 7, 0, 0, 0, 0xf4],
    ),
    // mov edi, 0x1000; mov ecx, 0x20000; mov al, 7; rep stosb; hlt
    ("128 KiB", &[0xbf, 0, 0x10, 0, 0, 0xb9, 0, 0, 2, 0, 0xb0, 7, 0xf3, 0xaa, 0xf4]),
    // mov byte [0x8], 0x43 (inc ebx); 7: nop; 8: inc eax; hlt
    ("its own code", &[0xc6, 0x05, 8, 0, 0, 0, 0x43, 0x90, 0x40, 0xf4]),
    // xor eax, eax; mov ds, ax; mov es, ax; div ecx
    ("segments, and an exception", &[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0xf7, 0xf1]),
    // mov eax, [0xb0000000]; hlt
    ("a read outside RAM", &[0xa1, 0, 0, 0, 0xb0, 0xf4]),
    // mov [0xb0000000], eax; hlt
    ("a write outside RAM", &[0xa3, 0, 0, 0, 0xb0, 0xf4]),
    // mov eax, [0xffffd]; hlt
    ("a read of the last bytes of RAM and behind", &[0xa1, 0xfd, 0xff, 0x0f, 0, 0xf4]),
    // mov dword [0x9000], 0; lidt [0x9000]; ud2
    ("a triple fault", &[0xc7, 0x05, 0, 0x90, 0, 0, 0, 0, 0, 0, 0x0f, 0x01, 0x1d, 0, 0x90, 0, 0, 0x0f, 0x0b]),
    // out 0x80, al
    ("an unknown port", &[0xe6, 0x80]),
    // in ax, 0xe9
    ("an unknown width", &[0x66, 0xe5, 0xe9]),
    // inc eax; in al, 0xe9; jmp 0
    ("the end of input", &[0x40, 0xe4, 0xe9, 0xeb, 0xfb]),
    // mov edi, 0x2000; mov ecx, 5000; mov dx, 0xe9; rep insb
    (
        "the end of input in the middle of a repetition",
        &[0xbf, 0, 0x20, 0, 0, 0xb9, 0x88, 0x13, 0, 0, 0x66, 0xba, 0xe9, 0, 0xf3, 0x6c],
    ),
    // std; mov edi, 0x2010; mov ecx, 5; mov dx, 0xe9; rep insb
    (
        "the end of input in the middle of a repetition downwards",
        &[0xfd, 0xbf, 0x10, 0x20, 0, 0, 0xb9, 5, 0, 0, 0, 0x66, 0xba, 0xe9, 0, 0xf3, 0x6c],
    ),
    // mov edi, 0x12000; mov ecx, 0x10005; mov dx, 0xe9; rep insb with 16-bit addresses
    (
        "the end of input in the middle of a repetition with CX and DI",
        &[0xbf, 0, 0x20, 1, 0, 0xb9, 5, 0, 1, 0, 0x66, 0xba, 0xe9, 0, 0x67, 0xf3, 0x6c],
    ),
    // mov edi, 0x2000; mov dword [edi], -1; mov dx, 0xe9; 4 times insb
    (
        "the end of input in an insb",
        &[0xbf, 0, 0x20, 0, 0, 0xc7, 7, 0xff, 0xff, 0xff, 0xff, 0x66, 0xba, 0xe9, 0, 0x6c, 0x6c, 0x6c, 0x6c],
    ),
    // mov al, 'x'; mov ecx, 3000; 7: out 0xe9, al; loop 7; mov al, 9; out 0xf4, al
    (
        "much output, and a status",
        &[0xb0, b'x', 0xb9, 0xb8, 0x0b, 0, 0, 0xe6, 0xe9, 0xe2, 0xfc, 0xb0, 9, 0xe6, 0xf4],
    ),
    // in al, 0xeb; inc ecx; jmp 3
    ("an answer that was read in part, and no end", &[0xe4, 0xeb, 0x41, 0xeb, 0xfd]),
    // jmp 0xb0000000
    ("execution outside RAM", &[0xe9, 0xfb, 0xff, 0xff, 0xaf]),
];

/// How a run ended, and its output.
fn finish(machine: &mut Any) -> (Outcome, Vec<u8>) {
    let outcome = machine.run().expect("the host can do its work");
    (outcome, machine.streams().output.bytes().to_vec())
}

/// A run's end and state, without what depends on the engine. KVM says where the instruction ends that has written
/// outside RAM or to a port, and soft where it begins. A triple fault resets KVM's processor on AMD. A machine that is put back may
/// be on another engine than before.
fn of_any_engine((outcome, output): &(Outcome, Vec<u8>), state: &State) -> ((Outcome, Vec<u8>), State) {
    let (mut outcome, mut state) = (outcome.clone(), state.clone());
    if let Outcome::Fault(fault) = &mut outcome {
        match fault.kind {
            FaultKind::OutsideRam { access: Access::Write, .. }
            | FaultKind::Port { direction: Direction::Out, .. } => state.registers.eip = 0,
            FaultKind::TripleFault => {
                state.registers = Registers::default();
                state.system = SystemRegisters::default();
            }
            _ => return ((outcome, output.clone()), state),
        }
        fault.location = Location::Unknown;
    }
    ((outcome, output.clone()), state)
}

#[test]
fn a_machine_put_back_to_its_start_is_a_fresh_one() {
    for &engine in engines() {
        for (name, code) in GUESTS {
            let name = format!("{engine:?}, {name}");
            let fresh = state(&mut machine_on(engine, memory(), code, b""));
            let mut machine = machine_on(engine, memory(), code, b"abc");
            let start = machine.snapshot().unwrap();
            let ended = finish(&mut machine);
            let (first, end) = of_any_engine(&ended, &state(&mut machine));
            for round in 0..3 {
                machine.restore(&start, streams(b"abc")).unwrap();
                assert_same(&state(&mut machine), &fresh, &format!("{name}, round {round}"));
                let again = finish(&mut machine);
                // A guest without an end is at another place each time the limit stops it.
                if !matches!(first.0, Outcome::Stopped(Stop::TimeLimit(_), _)) {
                    let (again, end_again) = of_any_engine(&again, &state(&mut machine));
                    assert_eq!(again, first, "{name}, round {round}");
                    assert_same(&end_again, &end, &format!("{name}, end of round {round}"));
                }
            }
        }
    }
}

#[test]
fn each_engine_leaves_the_same_state() {
    for (name, code) in GUESTS {
        let mut of_soft = None;
        for &engine in engines() {
            let mut machine = machine_on(engine, memory(), code, b"abc");
            let ended = finish(&mut machine);
            // It finishes the last exit: KVM may be in front of an `out` whose data it has given.
            machine.snapshot().unwrap();
            let (ended, end) = of_any_engine(&ended, &state(&mut machine));
            if matches!(ended.0, Outcome::Stopped(Stop::TimeLimit(_), _)) {
                continue;
            }
            match &of_soft {
                None => of_soft = Some((ended, end)),
                Some((ended_on_soft, end_on_soft)) => {
                    assert_eq!(&ended, ended_on_soft, "{engine:?}, {name}");
                    assert_same(&end, end_on_soft, &format!("{engine:?}, {name}"));
                }
            }
        }
    }
}

#[test]
fn a_guest_goes_on_from_where_it_asks_with_any_input() {
    // 0: inc byte [0x4000]; 6: mov al, 'A'; 8: out 0xe9, al; a: in al, 0xe9; c: add al, [0x4000]; 12: out 0xe9, al;
    // 14: jmp a
    let code = [
        0xfe, 0x05, 0, 0x40, 0, 0, 0xb0, b'A', 0xe6, 0xe9, 0xe4, 0xe9, 0x02, 0x05, 0, 0x40, 0, 0, 0xe6, 0xe9,
        0xeb, 0xf4,
    ];
    for &engine in engines() {
        let mut machine = machine_on(engine, memory(), &code, b"");
        assert_eq!(machine.run_until_input().unwrap(), None);
        assert_eq!(machine.streams().output.bytes(), b"A");
        let asking = machine.snapshot().unwrap();
        for (input, output) in [(&b"HAL"[..], &b"IBM"[..]), (b"", b""), (b"0", b"1"), (b"HAL", b"IBM")] {
            machine.restore(&asking, streams(input)).unwrap();
            assert_eq!(finish(&mut machine), (Outcome::EndOfInput, output.to_vec()), "{engine:?}");
        }
        // Also without another restore in between.
        machine.restore(&asking, streams(b"x")).unwrap();
        assert_eq!(machine.run_until_input().unwrap(), None);
        assert_eq!(finish(&mut machine), (Outcome::EndOfInput, b"y".to_vec()), "{engine:?}");
    }
}

#[test]
fn an_answer_that_was_read_in_part_is_read_on_from_there() {
    // in al, 0xec; out 0xe9, al
    let pass_layout_on = [0xe4, 0xec, 0xe6, 0xe9];
    // Twice that; in al, 0xe9; twice that, and hlt
    let code = [&pass_layout_on.repeat(2)[..], &[0xe4, 0xe9], &pass_layout_on.repeat(2), &[0xf4]].concat();
    let layout = Layout::new(1 << 20, default_stack_size(1 << 20)).to_bytes();
    assert_ne!(layout[2..4], layout[4..6]);
    for &engine in engines() {
        let mut machine = machine_on(engine, memory(), &code, b"");
        assert_eq!(machine.run_until_input().unwrap(), None);
        assert_eq!(machine.streams().output.bytes(), &layout[..2]);
        let asking = machine.snapshot().unwrap();
        for _ in 0..3 {
            machine.restore(&asking, streams(b"x")).unwrap();
            assert_eq!(finish(&mut machine), (Outcome::Halted, layout[2..4].to_vec()), "{engine:?}");
        }
    }
}

#[test]
fn a_guest_that_never_asks_ends() {
    for &engine in engines() {
        let mut machine = machine_on(engine, memory(), &[0xf4], b"");
        assert_eq!(machine.run_until_input().unwrap(), Some(Outcome::Halted));
    }
}

#[test]
fn a_repetition_that_waits_for_input_begins_again() {
    // mov edi, 0x2000; mov ecx, 3; mov dx, 0xe9; rep insb; mov esi, 0x2000; mov cl, 3; rep outsb; hlt
    let code = [
        0xbf, 0, 0x20, 0, 0, 0xb9, 3, 0, 0, 0, 0x66, 0xba, 0xe9, 0, 0xf3, 0x6c, 0xbe, 0, 0x20, 0, 0, 0xb1, 3,
        0xf3, 0x6e, 0xf4,
    ];
    for &engine in engines() {
        let mut machine = machine_on(engine, memory(), &code, b"");
        assert_eq!(machine.run_until_input().unwrap(), None);
        let asking = machine.snapshot().unwrap();
        for input in [b"abc", b"xyz"] {
            machine.restore(&asking, streams(input)).unwrap();
            assert_eq!(finish(&mut machine), (Outcome::Halted, input.to_vec()), "{engine:?}");
        }
    }
}

#[test]
fn several_snapshots_of_one_machine_and_one_in_several() {
    // inc dword [0x4000]; in al, 0xe9; jmp 0
    let code = [0xff, 0x05, 0, 0x40, 0, 0, 0xe4, 0xe9, 0xeb, 0xf6];
    let count = |machine: &mut Any| {
        let mut word = [0; 4];
        machine.engine().read_ram(0x4000, &mut word);
        u32::from_le_bytes(word)
    };
    for &engine in engines() {
        let mut machine = machine_on(engine, memory(), &code, b"");
        let mut snapshots = Vec::new();
        for length in 0..3 {
            snapshots.push(machine.snapshot().unwrap());
            let start = snapshots[0].clone();
            machine.restore(&start, streams(&vec![0; length])).unwrap();
            machine.run().unwrap();
            assert_eq!(count(&mut machine), length as u32 + 1);
        }
        let mut other = machine_on(engine, memory(), &[0xf4], b"");
        for (index, expected) in [(0, 0), (1, 1), (2, 2), (1, 1), (1, 1), (0, 0)] {
            for machine in [&mut machine, &mut other] {
                machine.restore(&snapshots[index], streams(b"")).unwrap();
                assert_eq!(count(machine), expected, "{engine:?}");
                assert_eq!(machine.run().unwrap(), Outcome::EndOfInput);
                assert_eq!(count(machine), expected + u32::from(index == 0), "{engine:?}");
            }
        }
    }
}

#[test]
fn a_snapshot_of_another_machine_is_refused() {
    for &engine in engines() {
        let mut machine = machine_on(engine, memory(), &[0xf4], b"");
        let smaller: MemorySize = "64K".parse().unwrap();
        let foreign = machine_on(engine, smaller, &[0xf4], b"").snapshot().unwrap();
        let error = machine.restore(&foreign, streams(b"")).unwrap_err();
        assert!(matches!(error, RestoreError::OtherMemory), "{engine:?}");
        assert_eq!(machine.run().unwrap(), Outcome::Halted);
    }
}

#[test]
fn a_snapshot_of_a_machine_that_never_ran_has_all_of_its_ram() {
    // mov byte [0x9000], 7; hlt
    let code = [0xc6, 0x05, 0, 0x90, 0, 0, 7, 0xf4];
    for &engine in engines() {
        let byte_of = |machine: &mut Any, address| {
            let mut byte = [0xff];
            machine.engine().read_ram(address, &mut byte);
            byte[0]
        };
        // Written by the host, after the image.
        let mut machine = machine_on(engine, memory(), &code, b"");
        machine.engine().write_ram(0xa000, &[9]);
        let before = machine.snapshot().unwrap();
        assert_eq!(machine.run().unwrap(), Outcome::Halted);
        let after = machine.snapshot().unwrap();
        let mut second = machine_on(engine, memory(), &[0xf4], b"");
        for (snapshot, expected) in [(before, 0), (after, 7)] {
            second.restore(&snapshot, streams(b"")).unwrap();
            let again = second.snapshot().unwrap();
            let mut third = machine_on(engine, memory(), &[0xf4], b"");
            third.restore(&again, streams(b"")).unwrap();
            for machine in [&mut second, &mut third] {
                assert_eq!((byte_of(machine, 0x9000), byte_of(machine, 0xa000)), (expected, 9), "{engine:?}");
            }
        }
    }
}

#[test]
fn model_specific_registers_are_put_back() {
    if std::env::var_os(common::WITHOUT_KVM).is_some() {
        return;
    }
    // IA32_SYSENTER_CS and IA32_MTRR_PHYSBASE0 (SDM volume 4, table 2-2); the soft engine has none.
    for register in [0x174_u32, 0x200] {
        // mov ecx, REGISTER; rdmsr; out 0xe9, al; mov eax, 6; xor edx, edx; wrmsr; rdmsr; out 0xe9, al; hlt
        let code = [
            &[0xb9][..],
            &register.to_le_bytes(),
            &[0x0f, 0x32, 0xe6, 0xe9, 0xb8, 6, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30, 0x0f, 0x32, 0xe6, 0xe9, 0xf4],
        ];
        let mut machine = machine_on(EngineChoice::Kvm, memory(), &code.concat(), b"");
        let start = machine.snapshot().unwrap();
        for _ in 0..3 {
            assert_eq!(finish(&mut machine), (Outcome::Halted, vec![0, 6]), "{register:#x}");
            machine.restore(&start, streams(b"")).unwrap();
        }
    }
}

#[test]
fn the_end_of_a_run_is_part_of_its_state() {
    let transfers = Wants { transfers: true, ..Wants::default() };
    for &engine in engines() {
        // mov al, 7; out 0xf4, al; hlt: a snapshot between the transfer and the end that it causes.
        let mut machine = machine_on(engine, memory(), &[0xb0, 7, 0xe6, 0xf4, 0xf4], b"");
        assert!(matches!(machine.resume(&transfers).unwrap(), Event::Transfer(_)), "{engine:?}");
        let snapshot = machine.snapshot().unwrap();
        for _ in 0..2 {
            assert_eq!(machine.run().unwrap(), Outcome::Exited(7), "{engine:?}");
            machine.restore(&snapshot, streams(b"")).unwrap();
        }
        // hlt, and ud2; after each: mov al, 5; out 0xf4, al. A snapshot at the end: a restored machine ends again at
        // once.
        for code in [&[0xf4, 0xb0, 5, 0xe6, 0xf4][..], &[0x0f, 0x0b, 0xb0, 5, 0xe6, 0xf4]] {
            let mut machine = machine_on(engine, memory(), code, b"");
            let outcome = machine.run().unwrap();
            assert!(matches!(outcome, Outcome::Halted | Outcome::Fault(_)), "{engine:?}");
            let registers = machine.registers().unwrap();
            let snapshot = machine.snapshot().unwrap();
            machine.restore(&snapshot, streams(b"")).unwrap();
            assert_eq!(machine.registers().unwrap(), registers, "{engine:?}");
            assert_eq!(machine.run().unwrap(), outcome, "{engine:?}");
        }
    }
}

#[test]
fn a_restore_writes_what_the_old_streams_hold() {
    for &engine in engines() {
        // mov al, 'P'; out 0xe9, al; in al, 0xe9; hlt
        let mut machine = machine_on(engine, memory(), &[0xb0, b'P', 0xe6, 0xe9, 0xe4, 0xe9, 0xf4], b"");
        let start = machine.snapshot().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let input = Input::from_bytes(b"x".to_vec());
        machine.restore(&start, Streams { input, output: writer.into(), ..Streams::none() }).unwrap();
        assert_eq!(machine.run_until_input().unwrap(), None);
        machine.restore(&start, Streams::none()).unwrap();
        let mut seen = Vec::new();
        reader.read_to_end(&mut seen).unwrap();
        assert_eq!(seen, b"P", "{engine:?}");
    }
}
