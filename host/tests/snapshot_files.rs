//! Snapshots that go through a file: saved on one engine and restored on the other, a run goes on as if it had not been
//! interrupted.

mod common;

use std::io::Write;
use std::time::Duration;

use common::engines;
use flatland::{
    Builder, Event, Input, Machine, MemorySize, Outcome, Output, Program, Snapshot, Stop, Streams, Wants,
    devices,
};

const INPUT: &[u8] = b"HAL 9000";

fn builder() -> Builder {
    let streams = Streams { input: Input::from_bytes(INPUT.to_vec()), ..Streams::none() };
    Machine::builder()
        .memory(MemorySize::mib(1))
        .stack("64K".parse().expect("it is a size"))
        .arguments(["one", "two"])
        .clock_device(devices::Clock::repeatable(Duration::from_secs(1_000_000_000)))
        .random_device(devices::Random::repeatable(7))
        .streams(streams)
        .time_limit(Duration::from_secs(20))
}

/// The snapshot after it was written to a file and read from it.
fn through_file(snapshot: &Snapshot) -> Snapshot {
    let mut file = Vec::new();
    snapshot.write_to(&mut file).unwrap();
    let read = Snapshot::read_from(&file[..]).unwrap();
    assert_eq!(read, *snapshot);
    read
}

/// Guests, with the number of transfers that each makes at least.
const GUESTS: &[(&str, &[u8])] = &[
    // 0: in al, 0xe9; inc al; out 0xe9, al; jmp 0
    ("input and output", &[0xe4, 0xe9, 0xfe, 0xc0, 0xe6, 0xe9, 0xeb, 0xf8]),
    // 0: mov ecx, 20; 5: in al, 0xed; out 0xe9, al; loop 5; b: mov cl, 40; in al, 0xee; out 0xea, al; loop d;
    // 13: mov cl, 9; in al, 0xef; out 0xe9, al; loop 15; 1b: mov cl, 12; in al, 0xec; out 0xe9, al; loop 1d;
    // mov al, 3; out 0xf4, al
    (
        "arguments, clock, random bytes and layout",
        &[
            0xb9, 20, 0, 0, 0, 0xe4, 0xed, 0xe6, 0xe9, 0xe2, 0xfa, 0xb1, 40, 0xe4, 0xee, 0xe6, 0xea, 0xe2,
            0xfa, 0xb1, 9, 0xe4, 0xef, 0xe6, 0xe9, 0xe2, 0xfa, 0xb1, 12, 0xe4, 0xec, 0xe6, 0xe9, 0xe2, 0xfa,
            0xb0, 3, 0xe6, 0xf4,
        ],
    ),
    // mov edx, 0xe9; mov edi, 0x8000; mov ecx, 3; rep insb; mov esi, 0x8000; mov cl, 3; rep outsb; push 0x11223344;
    // std; stc; pushf; pop eax; mov ecx, 4; 29: out 0xe9, al; shr eax, 8; loop 29; ud2
    (
        "strings, the stack, flags and a fault",
        &[
            0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x80, 0, 0, 0xb9, 3, 0, 0, 0, 0xf3, 0x6c, 0xbe, 0, 0x80, 0, 0,
            0xb1, 3, 0xf3, 0x6e, 0x68, 0x44, 0x33, 0x22, 0x11, 0xfd, 0xf9, 0x9c, 0x58, 0xb9, 4, 0, 0, 0,
            0xe6, 0xe9, 0xc1, 0xe8, 8, 0xe2, 0xf9, 0x0f, 0x0b,
        ],
    ),
    // sgdt [0x8000]; mov byte [0x8000], 0x17; lgdt of a copy of the descriptors at 0x9000, written here; mov ax, 8*2;
    // mov fs, ax; out 0xe9, al; mov ax, fs; out 0xe9, al; hlt
    (
        "a segment register of the guest's own",
        &[
            0xc7, 0x05, 0, 0x80, 0, 0, 0x1f, 0, 0, 0x90, 0xc7, 0x05, 4, 0x80, 0, 0, 0, 0, 0, 0, 0xc7, 0x05,
            0x08, 0x90, 0, 0, 0xff, 0xff, 0, 0x90, 0xc7, 0x05, 0x0c, 0x90, 0, 0, 0, 0x93, 0x40, 0, 0x0f,
            0x01, 0x15, 0, 0x80, 0, 0, 0x66, 0xb8, 8, 0, 0x8e, 0xe0, 0xe6, 0xe9, 0x64, 0xa0, 8, 0, 0, 0,
            0xe6, 0xe9, 0xf4,
        ],
    ),
];

/// Output, diagnostics, and how the run ended.
type End = (Vec<u8>, Vec<u8>, Outcome);

fn end(machine: &mut Machine) -> End {
    let outcome = machine.run().unwrap();
    let streams = machine.streams();
    (streams.output.bytes().to_vec(), streams.diagnostics.bytes().to_vec(), outcome)
}

/// The rest of the input, as the next program would find it.
fn rest_of_input(taken: usize) -> Streams {
    Streams { input: Input::from_bytes(INPUT[taken..].to_vec()), ..Streams::none() }
}

#[test]
fn a_run_goes_on_from_each_transfer_on_each_engine() {
    let transfers = Wants { transfers: true, ..Wants::default() };
    for &saved_on in engines() {
        for (name, code) in GUESTS {
            let program = Program::from_bytes(code.to_vec()).unwrap();
            let expected = end(&mut builder().engine(saved_on).build(&program).unwrap());
            let mut machine = builder().engine(saved_on).build(&program).unwrap();
            let mut taken = 0;
            let mut snapshots = 0;
            loop {
                let snapshot = through_file(&machine.snapshot().unwrap());
                machine.flush_within(Duration::from_secs(1)).unwrap();
                let streams = machine.streams();
                let before = (streams.output.bytes().to_vec(), streams.diagnostics.bytes().to_vec());
                for &restored_on in engines() {
                    let builder = builder().engine(restored_on).streams(rest_of_input(taken));
                    let mut other = builder.build_from(&snapshot).unwrap();
                    assert_eq!(
                        other.engine().name(),
                        if restored_on == flatland::EngineChoice::Kvm { "kvm" } else { "soft" }
                    );
                    let (output, diagnostics, outcome) = end(&mut other);
                    let whole =
                        ([&before.0[..], &output].concat(), [&before.1[..], &diagnostics].concat(), outcome);
                    assert_eq!(
                        whole, expected,
                        "{name}, saved on {saved_on:?} after {snapshots}, restored on {restored_on:?}"
                    );
                }
                snapshots += 1;
                match machine.resume(&transfers).unwrap() {
                    Event::Transfer(transfer) if transfer.port == 0xe9 => {
                        let is_input = transfer.direction == flatland_contract::Direction::In;
                        taken += if is_input { transfer.data.len() } else { 0 };
                    }
                    Event::Transfer(_) => {}
                    Event::Ended(outcome) => {
                        assert_eq!(outcome, expected.2);
                        break;
                    }
                    event => panic!("{event:?}"),
                }
            }
            assert!(snapshots > 2, "{name}: {snapshots}");
        }
    }
}

/// All of a snapshot but the time stamp, which goes on by itself on KVM.
fn without_time(snapshot: &Snapshot) -> String {
    let text = format!("{snapshot:?}");
    let (before, after) = text.split_once("time_stamp: ").expect("it has one");
    format!("{before}{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

#[test]
fn the_state_of_a_restored_machine_is_what_was_saved() {
    for &saved_on in engines() {
        for (name, code) in GUESTS {
            let program = Program::from_bytes(code.to_vec()).unwrap();
            let mut machine = builder().engine(saved_on).build(&program).unwrap();
            machine.resume(&Wants { transfers: true, ..Wants::default() }).unwrap();
            let snapshot = through_file(&machine.snapshot().unwrap());
            // Also several times through the same engine.
            let mut again = builder().engine(saved_on).build_from(&snapshot).unwrap();
            let again = without_time(&again.snapshot().unwrap());
            assert_eq!(again, without_time(&snapshot), "{name}, {saved_on:?}");
        }
    }
}

#[test]
fn a_run_whose_input_has_ended_goes_on_with_more() {
    for &saved_on in engines() {
        for &restored_on in engines() {
            let program = Program::from_bytes(GUESTS[0].1.to_vec()).unwrap();
            let mut machine = builder().engine(saved_on).input("HA").build(&program).unwrap();
            assert_eq!(end(&mut machine), (b"IB".to_vec(), Vec::new(), Outcome::EndOfInput));
            let snapshot = through_file(&machine.snapshot().unwrap());
            assert_eq!(snapshot.outcome(), None);
            for (input, output) in [("L", "M"), ("", "")] {
                let mut other = builder().engine(restored_on).input(input).build_from(&snapshot).unwrap();
                assert_eq!(end(&mut other), (output.into(), Vec::new(), Outcome::EndOfInput));
            }
        }
    }
}

#[test]
fn the_end_of_a_run_is_in_the_file() {
    for &saved_on in engines() {
        for &restored_on in engines() {
            // Each has something behind its end: mov al, 'x'; out 0xe9, al
            let behind = [0xb0, b'x', 0xe6, 0xe9];
            for code in
                [&[0xf4][..], &[0xb0, 7, 0xe6, 0xf4], &[0x0f, 0x0b], &[0xe6, 0x80], &[0xa1, 0, 0, 0, 0xb0]]
            {
                let program = Program::from_bytes([code, &behind].concat()).unwrap();
                let mut machine = builder().engine(saved_on).build(&program).unwrap();
                let ended = end(&mut machine);
                let snapshot = through_file(&machine.snapshot().unwrap());
                assert_eq!(snapshot.outcome(), Some(&ended.2));
                let mut other = builder().engine(restored_on).build_from(&snapshot).unwrap();
                assert_eq!(end(&mut other), ended, "{code:x?}, {saved_on:?}, {restored_on:?}");
            }
        }
    }
}

#[test]
fn output_that_waits_for_a_reader_is_in_the_file() {
    // mov al, 'a'; out 0xe9, al; mov ecx, 3; 9: out 0xea, al; loop 9; hlt
    let code = [0xb0, b'a', 0xe6, 0xe9, 0xb9, 3, 0, 0, 0, 0xe6, 0xea, 0xe2, 0xfc, 0xf4];
    let program = Program::from_bytes(code.to_vec()).unwrap();
    for &saved_on in engines() {
        for &restored_on in engines() {
            // The pipe is full. The first diagnostics wait until the output is written, to keep the order.
            let (reader, mut writer) = std::io::pipe().unwrap();
            writer.write_all(&[0; 65_536]).unwrap();
            let mut machine = builder().engine(saved_on).output(writer).build(&program).unwrap();
            let event =
                machine.resume(&Wants { clock: Some(Duration::from_millis(100)), ..Wants::default() });
            assert_eq!(event.unwrap(), Event::Clock);
            let snapshot = through_file(&machine.snapshot().unwrap());
            assert_eq!(machine.streams().diagnostics.bytes(), b"");
            drop((machine, reader));
            let mut other = builder().engine(restored_on).build_from(&snapshot).unwrap();
            assert_eq!(
                end(&mut other),
                (Vec::new(), b"aaa".to_vec(), Outcome::Halted),
                "{saved_on:?}, {restored_on:?}"
            );
        }
    }
}

#[test]
fn limits_and_streams_are_those_of_the_new_machine() {
    use flatland::EngineChoice::{Auto, Soft};
    // 0: inc eax; jmp 0
    let program = Program::from_bytes(vec![0x40, 0xeb, 0xfd]).unwrap();
    let mut machine = builder().engine(Soft).instruction_limit(1000).build(&program).unwrap();
    assert!(matches!(machine.run().unwrap(), Outcome::Stopped(Stop::InstructionLimit(1000), _)));
    let snapshot = through_file(&machine.snapshot().unwrap());
    for engine in [Auto, Soft] {
        let mut other = builder().engine(engine).instruction_limit(3000).build_from(&snapshot).unwrap();
        assert!(matches!(other.run().unwrap(), Outcome::Stopped(Stop::InstructionLimit(3000), _)));
        assert_eq!(other.registers().unwrap().eax, 1500);
        // No limit of instructions but that of time.
        let mut other =
            builder().engine(engine).time_limit(Duration::from_millis(50)).build_from(&snapshot).unwrap();
        assert!(matches!(other.run().unwrap(), Outcome::Stopped(Stop::TimeLimit(_), _)));
    }
    let output = Output::memory();
    let mut other =
        builder().engine(Soft).output(output).instruction_limit(1000).build_from(&snapshot).unwrap();
    assert!(matches!(other.run().unwrap(), Outcome::Stopped(Stop::InstructionLimit(1000), _)));
}

#[test]
fn what_kvm_has_not_counted_cannot_be_limited() {
    use flatland::EngineChoice::{Kvm, Soft};
    if !engines().contains(&Kvm) {
        return;
    }
    let program = Program::from_bytes(vec![0x40, 0xeb, 0xfd]).unwrap();
    let mut machine = builder().engine(Kvm).time_limit(Duration::from_millis(20)).build(&program).unwrap();
    machine.run().unwrap();
    let snapshot = through_file(&machine.snapshot().unwrap());
    let error = builder().engine(Soft).instruction_limit(3000).build_from(&snapshot).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the soft engine cannot count the instructions of a run that has been on KVM: run it with the soft engine from its \
         beginning"
    );
}
