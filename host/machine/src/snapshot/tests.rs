//! Snapshots of states that are made up, so that each field has a value of its own.

use std::io;
use std::ops::Range;

use flatland_contract::Direction;
use flatland_x86::entry::Table;
use flatland_x86::{
    Access, CodeBytes, Fault, FaultKind, Fpu, Location, MemoryMap, MemorySize, PendingException,
    PendingInterrupts, Position, Processor, RamCopy, Registers, Segment, SegmentRegister, Sent, Shadow,
};

use super::*;
use crate::FileError::*;

fn map() -> MemoryMap {
    let segments = [
        Segment { start: 0, end: 0x1000, writable: false },
        Segment { start: 0x3000, end: 0x4800, writable: false },
    ];
    MemoryMap::from(MemorySize::mib(1)).protecting(&segments).unwrap()
}

/// A state in which no two numbers are the same.
fn snapshot() -> Snapshot {
    let descriptors =
        [0x12ca_9a34_5678_bcdeu64, 0x13ca_9334_5678_bcde, 0x1440_9234_5678_bcde, 0x1500_9334_5678_bcde];
    let segment = |n: u16| SegmentRegister::of(n * 8, descriptors[usize::from(n) % 4]);
    let mut page = RamCopy::ZEROS;
    page[7] = 1;
    Snapshot {
        map: map(),
        processor: Processor {
            registers: Registers {
                eax: 0x1001,
                ebx: 0x1002,
                ecx: 0x1003,
                edx: 0x1004,
                esi: 0x1005,
                edi: 0x1006,
                ebp: 0x1007,
                esp: 0x1008,
                eip: 0x1009,
                eflags: 0x10_0247,
            },
            segments: [segment(1), segment(2), segment(3), segment(4), segment(5), segment(6)],
            ldtr: segment(7),
            tr: SegmentRegister { selector: 3, base: 0, limit: 0, rights: 0 },
            gdt: Table { base: 0x2001, limit: 0x202 },
            idt: Table { base: 0x2003, limit: 0x204 },
            cr0: 0x3001,
            cr2: 0x3002,
            cr3: 0x3003,
            cr4: 0x3004,
            debug: [0x4001, 0x4002, 0x4003, 0x4004, 0x4005, 0x4006, 0x4007, 0x4008],
            shadow: Shadow::Sti,
            pending: Some(PendingException { vector: 14, error_code: Some(0x5001) }),
            interrupts: PendingInterrupts::from_bits([1 << 32, 0, 2, 3]).unwrap(),
            fpu: Some(Box::new(Fpu {
                control: 0x601,
                status: 0x602,
                tags: 3,
                opcode: 0x604,
                instruction: 0x6005,
                data: 0x6006,
                st: [1, 2, 3, 4, 5, 6, 7, 8].map(|n| [n; 16]),
                xmm: [9, 10, 11, 12, 13, 14, 15, 16].map(|n| [n; 16]),
                mxcsr: 0x6007,
            })),
            msrs: vec![(0x174, 0x7001), (0xc000_0080, 1 << 40)],
            time_stamp: 0x1234_5678_9abc,
            instructions: Some(0x8001),
        },
        position: Position { location: Location::EndsAt(0x9001), was_reported: true },
        ram: RamCopy::from_pages([(0, page), (7, [9; 4096]), (255, [1; 4096])]),
        devices: vec![
            DeviceState { ports: 0xe9..0xea, state: vec![] },
            DeviceState { ports: 0xfff0..0x1_0000, state: (0..=255).collect() },
        ],
        unsent: [(0xe9, 1, &b"abc"[..]), (0x40, 4, b"defghijk")]
            .map(|(port, width, data)| Sent { port, width, data: data.into() })
            .into(),
        next: Some(Outcome::Exited(7)),
    }
}

fn written(snapshot: &Snapshot) -> Vec<u8> {
    let mut file = Vec::new();
    snapshot.write_to(&mut file).unwrap();
    file
}

fn changed(change: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let mut snapshot = snapshot();
    change(&mut snapshot);
    snapshot
}

#[test]
fn each_field_survives() {
    let accesses = [Access::Read, Access::Write, Access::Execute];
    let code = CodeBytes::new(&[0x0f, 0x0b, 1]);
    let kinds = [
        FaultKind::Exception { vector: 13, error_code: Some(0x10) },
        FaultKind::Exception { vector: 6, error_code: None },
        FaultKind::TripleFault,
        FaultKind::ReadOnly { address: 0x11 },
        FaultKind::StackOverflow { stack_size: 0x12 },
        FaultKind::Port { port: 0x13, width: 2, direction: Direction::In },
        FaultKind::Port { port: 0x13, width: 4, direction: Direction::Out },
        FaultKind::Unsupported { engine: "the soft engine", code },
        FaultKind::Unsupported { engine: "KVM", code: CodeBytes::new(&[]) },
        FaultKind::Unsupported { engine: "the engine", code: CodeBytes::new(&[1; 15]) },
    ];
    let of_access = accesses.into_iter().flat_map(|access| {
        [
            FaultKind::OutsideRam { access, address: 0x14, ram_size: 0x15 },
            FaultKind::Guard { access, address: 0x16, start: 0x17, end: 0x18 },
        ]
    });
    let faults = kinds.into_iter().chain(of_access).map(|kind| {
        let next = Some(Outcome::Fault(Fault { kind, location: Location::At(0x19) }));
        changed(|snapshot| snapshot.next = next)
    });
    let ends = [None, Some(Outcome::Halted), Some(Outcome::OutputClosed)]
        .map(|next| changed(|snapshot| snapshot.next = next));
    let positions = [Location::At(0x1a), Location::Unknown]
        .map(|location| changed(|snapshot| snapshot.position = Position { location, was_reported: false }));
    let processors = [Shadow::None, Shadow::MovSs].map(|shadow| {
        changed(|snapshot| {
            let pending = Some(PendingException { vector: 1, error_code: None });
            let processor = Processor { shadow, pending, ..Processor::at_entry(MemorySize::mib(1)) };
            snapshot.processor = Processor { instructions: None, ..processor };
        })
    });
    let empty = changed(|snapshot| {
        snapshot.map = MemorySize::mib(1).into();
        snapshot.processor = Processor::at_entry(MemorySize::mib(1));
        snapshot.ram = RamCopy::from_pages([]);
        (snapshot.devices, snapshot.unsent) = Default::default();
    });
    let others = [snapshot(), empty].into_iter().chain(ends).chain(positions).chain(processors);
    for snapshot in others.chain(faults) {
        assert_eq!(Snapshot::read_from(&written(&snapshot)[..]).unwrap(), snapshot);
    }
}

#[test]
fn a_run_that_can_go_on_has_no_end() {
    let end_of_input = changed(|snapshot| snapshot.next = Some(Outcome::EndOfInput));
    let read = Snapshot::read_from(&written(&end_of_input)[..]).unwrap();
    assert_eq!(read, changed(|snapshot| snapshot.next = None));
}

type Change = (&'static str, fn(&mut Snapshot));

#[test]
fn values_that_no_machine_can_have_are_refused() {
    fn map_with(read_only: Range<u32>) -> MemoryMap {
        MemoryMap::from_fields(MemorySize::mib(2), 0x1f_0000, vec![read_only], true).unwrap()
    }
    let changes: [Change; 25] = [
        ("the flags", |snapshot| snapshot.processor.registers.eflags = 0),
        ("the flags", |snapshot| snapshot.processor.registers.eflags = 0xa),
        ("the flags", |snapshot| snapshot.processor.registers.eflags = 1 << 22 | 2),
        ("a segment register", |snapshot| snapshot.processor.segments[0].rights |= 0x100),
        ("a segment register", |snapshot| snapshot.processor.segments[0].limit -= 1),
        ("a segment register", |snapshot| snapshot.processor.segments[3].limit = 0x10_0000),
        ("a segment register", |snapshot| snapshot.processor.tr.base = 1),
        ("the pending exception", |snapshot| snapshot.processor.pending.as_mut().unwrap().vector = 32),
        ("the pending exception", |snapshot| snapshot.processor.pending.as_mut().unwrap().vector = 2),
        ("the x87 and SSE registers", |snapshot| snapshot.processor.fpu.as_mut().unwrap().mxcsr = 0x1_0000),
        ("the number of instructions", |snapshot| snapshot.processor.instructions = Some(u64::MAX)),
        ("the end of the run", |snapshot| {
            let kind = FaultKind::Port { port: 1, width: 3, direction: Direction::In };
            snapshot.next = Some(Outcome::Fault(Fault { kind, location: Location::Unknown }));
        }),
        ("the devices", |snapshot| snapshot.devices[0].ports = 0xffff..0x1_0001),
        ("the devices", |snapshot| snapshot.devices[0].ports = Range { start: 2, end: 1 }),
        ("the output that is not sent yet", |snapshot| snapshot.unsent[0].width = 0),
        ("the output that is not sent yet", |snapshot| snapshot.unsent[0].width = 3),
        ("the output that is not sent yet", |snapshot| snapshot.unsent[0].data.clear()),
        ("the output that is not sent yet", |snapshot| snapshot.unsent[0].width = 2),
        ("the pages of RAM", |snapshot| snapshot.ram = RamCopy::from_pages([(256, [1; 4096])])),
        ("the pages of RAM", |snapshot| snapshot.ram = RamCopy::from_pages([(u32::MAX, [1; 4096])])),
        ("the pages of RAM", |snapshot| snapshot.ram = RamCopy::from_pages([(1, RamCopy::ZEROS)])),
        // The rest of the file is read in another place.
        ("the flags", |snapshot| snapshot.processor.registers.eflags = !0),
        ("the flags", |snapshot| snapshot.processor.registers.eflags = 1 << 31),
        ("the pages of RAM", |snapshot| {
            snapshot.map = map_with(0..0x1000);
            snapshot.ram = RamCopy::from_pages([(511, [1; 4096]), (512, [1; 4096])]);
        }),
        ("the pages of RAM", |snapshot| {
            snapshot.map = MemorySize::from_bytes(4096).unwrap().into();
            snapshot.ram = RamCopy::from_pages([(1, [1; 4096])]);
        }),
    ];
    for (number, (what, change)) in changes.into_iter().enumerate() {
        match Snapshot::read_from(&written(&changed(change))[..]) {
            Err(Impossible(refused)) => assert_eq!(refused, what, "change {number}"),
            other => panic!("{what}, change {number}: {other:?}"),
        }
    }
}

#[test]
fn more_than_a_file_can_have_is_not_written() {
    let changes: [Change; 4] = [
        ("more model-specific registers", |snapshot| snapshot.processor.msrs = vec![(1, 1); 257]),
        ("more devices", |snapshot| snapshot.devices = vec![snapshot.devices[0].clone(); 1025]),
        ("larger states of devices", |snapshot| snapshot.devices[0].state = vec![0; (16 << 20) - 255]),
        ("more output that is not sent yet", |snapshot| snapshot.unsent[1].data = vec![0; (2 << 20) - 2]),
    ];
    for (what, change) in changes {
        match changed(change).write_to(io::sink()) {
            Err(TooMuch(refused)) => assert_eq!(refused, what),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_file_that_ends_early_says_so() {
    let file = written(&snapshot());
    for len in 0..file.len() {
        match (Snapshot::read_from(&file[..len]), len < 16) {
            (Err(OtherKind { found: None, .. }), true) | (Err(Truncated), false) => {}
            (other, _) => panic!("{len} of {}: {other:?}", file.len()),
        }
    }
}

#[test]
fn each_bit_counts() {
    let file = written(&snapshot());
    for bit in 0..file.len() * 8 {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match (Snapshot::read_from(&damaged[..]), bit / 8) {
            (Err(OtherKind { found: None, .. }), ..16) | (Err(OtherVersion { .. }), 16..20) => {}
            // A length that is too large may lead beyond the end of the file.
            (Err(Damaged | Truncated), 20..) => {}
            (other, byte) => panic!("byte {byte}: {other:?}"),
        }
    }
}

#[test]
fn each_error_is_a_sentence_that_says_what_to_do() {
    let file = written(&snapshot());
    let with = |at: usize, byte: u8| {
        let mut file = file.clone();
        file[at] = byte;
        Snapshot::read_from(&file[..]).unwrap_err().to_string()
    };
    assert_eq!(with(0, b'x'), "it is no snapshot: give a file that --save-snapshot has written");
    let mut recording = file.clone();
    recording[12..16].copy_from_slice(b"reco");
    assert_eq!(
        Snapshot::read_from(&recording[..]).unwrap_err().to_string(),
        "it is a recording and no snapshot: `flatland replay` runs it again"
    );
    assert_eq!(
        with(16, 2),
        "it has version 2 of the format, and this program reads version 1: use the program that wrote it, or make it \
         again"
    );
    assert_eq!(with(file.len() - 1, !file[file.len() - 1]), "it is damaged: copy it again, or make it again");
    let truncated = Snapshot::read_from(&file[..100]).unwrap_err();
    assert_eq!(truncated.to_string(), "it ends too early: copy it again, or make it again");
    let flags = changed(|snapshot| snapshot.processor.registers.eflags = 0);
    let flags = Snapshot::read_from(&written(&flags)[..]).unwrap_err();
    assert_eq!(flags.to_string(), "no machine writes such a file (the flags): make it again");
    let full = snapshot().write_to(&mut [0; 100][..]).unwrap_err();
    assert_eq!(full.to_string(), "it cannot be written (failed to write whole buffer): give another place");
    let devices = changed(|snapshot| snapshot.devices = vec![snapshot.devices[0].clone(); 1025]);
    assert_eq!(
        devices.write_to(io::sink()).unwrap_err().to_string(),
        "the state has more devices than a file can have: save it at another moment, or report it"
    );
}
