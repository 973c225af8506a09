//! Fast transfers. KVM makes an exit for each byte of `rep outsb` and for each 1024 bytes of `rep insb`; the engine
//! `kvm` reports few. The data, the end of the run, the registers and RAM must be the same as on the soft engine.

mod common;

use common::{Run, WITHOUT_KVM, machine_on, machines, run};
use flatland::EngineChoice;
use flatland::x86::Registers;
use flatland::x86::Segment;
use flatland::{MemoryMap, MemorySize, Outcome};
use flatland_contract::Direction;
use flatland_contract::Port;
use flatland_contract::memory::DEFAULT_RAM_SIZE;

/// The size of the text after the code, in which no two neighbouring bytes are the same.
const TEXT: usize = 300 << 10;

/// mov edx, PORT; mov esi, ADDRESS; mov ecx, COUNT; the instruction, `times` times; hlt; and the text from 0x1000 on.
fn image(port: u8, before: &[u8], address: u32, count: u32, instruction: &[u8], times: usize) -> Vec<u8> {
    let mut code = before.to_vec();
    code.extend([0xba, port, 0, 0, 0]);
    for _ in 0..times {
        code.push(0xbe);
        code.extend(address.to_le_bytes());
        code.push(0xb9);
        code.extend(count.to_le_bytes());
        code.extend(instruction);
    }
    code.push(0xf4);
    assert!(code.len() <= 0x1000);
    code.resize(0x1000, 0);
    code.extend((0..TEXT).map(|index| (index ^ (index >> 8)) as u8));
    code
}

/// Checks that the engines agree, and that their registers do if the guest reaches its `hlt`.
fn agrees(code: &[u8]) -> Run {
    let all = run(code, b"");
    if all.outcome == Outcome::Halted {
        let registers: Vec<Registers> = machines(code, b"")
            .map(|mut machine| {
                machine.run().unwrap();
                machine.engine().registers().unwrap()
            })
            .collect();
        assert!(registers.iter().all(|other| *other == registers[0]), "{registers:#x?}");
    }
    all
}

const REP_OUTSB: &[u8] = &[0xf3, 0x6e];

#[test]
fn of_any_length() {
    for count in [0, 1, 2, 3, 4, 5, 6, 7, 100, 0xffff, 0x10000, 0x10001, 200_000] {
        for times in [1, 3] {
            let run = agrees(&image(0xe9, &[], 0x1000, count, REP_OUTSB, times));
            assert_eq!(run.output.len(), count as usize * times);
        }
    }
}

#[test]
fn to_diagnostics_and_to_ports_that_are_none() {
    assert_eq!(agrees(&image(0xea, &[], 0x1000, 1000, REP_OUTSB, 1)).diagnostics.len(), 1000);
    for port in [0x12, 0xe8, 0xf4, 0xf5] {
        assert_eq!(agrees(&image(port, &[], 0x1000, 1000, REP_OUTSB, 1)).output, b"");
        // out 0xe9, al: after two of them, `kvm` checks whether they continue.
        let behind_others = [&[0xe6, 0xe9, 0xe6, 0xe9], REP_OUTSB].concat();
        assert_eq!(agrees(&image(port, &[], 0x1000, 1000, &behind_others, 1)).output, [0; 2]);
    }
}

#[test]
fn up_to_the_end_of_ram_and_beyond() {
    let run = agrees(&image(0xe9, &[], DEFAULT_RAM_SIZE - 100, 100, REP_OUTSB, 2));
    assert_eq!((run.outcome, run.output.len()), (Outcome::Halted, 200));
    let run = agrees(&image(0xe9, &[], DEFAULT_RAM_SIZE - 100, 1000, REP_OUTSB, 1));
    assert!(matches!(run.outcome, Outcome::Fault(_)));
    assert_eq!(run.output.len(), 100);
}

#[test]
fn downwards_and_in_other_forms() {
    const STD: u8 = 0xfd;
    let run = agrees(&image(0xe9, &[STD], 0x1000 + 999, 1000, REP_OUTSB, 2));
    assert_eq!(run.output[..2], [(999 ^ 3) as u8, (998 ^ 3) as u8]);
    // repne; es:; by SI and CX.
    for instruction in [&[0xf2, 0x6e][..], &[0x26, 0xf3, 0x6e], &[0xf3, 0x26, 0x6e], &[0x67, 0xf3, 0x6e]] {
        assert_eq!(agrees(&image(0xe9, &[], 0x1000, 1000, instruction, 2)).output.len(), 2000);
    }
}

enum Segments {
    Ds,
    Es,
}

/// Code that loads a segment of 4 GiB that begins at 0x100.
#[rustfmt::skip]
fn with_segment(segment: Segments) -> Vec<u8> {
    let to = match segment {
        Segments::Ds => 0xd8,
        Segments::Es => 0xc0,
    };
    let mut code = vec![
        0x0f, 0x01, 0x15, 0x20, 0, 0, 0, //  0: lgdt [0x20]
        0xb8, 0x08, 0, 0, 0,             //  7: mov eax, 8
        0x8e, to,                        //  c: mov ds, eax
        0xeb, 0x28,                      //  e: jmp 0x38
    ];
    code.resize(0x20, 0);
    code.extend([0x0f, 0, 0x28, 0, 0, 0, 0, 0]); // the table: 16 bytes at 0x28
    code.extend([0; 8]);
    // A data segment (SDM volume 3, section 3.4.5).
    code.extend(0x00cf_9300_0100_ffff_u64.to_le_bytes());
    code
}

#[test]
fn from_a_segment_of_its_own() {
    let before = with_segment(Segments::Ds);
    let run = agrees(&image(0xe9, &before, 0x1000, 1000, REP_OUTSB, 2));
    assert_eq!(run.output[..2], [0x100_u32, 0x101].map(|index| (index ^ (index >> 8)) as u8));
}

#[test]
fn between_other_output() {
    // outsb; outsb; mov al, 'x'; out dx, al
    const MIXED: &[u8] = &[0xf3, 0x6e, 0x6e, 0x6e, 0xb0, b'x', 0xee];
    for (count, times) in [(1, 200), (5, 200), (300, 200)] {
        let run = agrees(&image(0xe9, &[], 0x1000, count, MIXED, times));
        assert_eq!(run.output.len(), (count as usize + 3) * times);
    }
}

const REP_INSB: &[u8] = &[0xf3, 0x6c];

/// mov edx, 0xe9; mov edi, ADDRESS; mov ecx, COUNT; the instruction, `times` times; hlt.
fn reading(before: &[u8], address: u32, count: u32, instruction: &[u8], times: usize) -> Vec<u8> {
    let mut code = before.to_vec();
    code.extend([0xba, 0xe9, 0, 0, 0]);
    for _ in 0..times {
        code.push(0xbf);
        code.extend(address.to_le_bytes());
        code.push(0xb9);
        code.extend(count.to_le_bytes());
        code.extend(instruction);
    }
    code.push(0xf4);
    code
}

/// Input in which no two neighbouring bytes are the same.
fn input(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index ^ (index >> 8)) as u8).collect()
}

/// Checks that the engines agree on the outcome, the registers and all of RAM. Returns the outcome.
fn leaves_the_same(code: &[u8], input: &[u8]) -> Outcome {
    let agreed = run(code, input).outcome;
    let left: Vec<(Registers, Vec<u8>)> = machines(code, input)
        .map(|mut machine| {
            machine.run().unwrap();
            let mut ram = vec![0; machine.engine().ram_size() as usize];
            machine.engine().read_ram(0, &mut ram);
            (machine.engine().registers().unwrap(), ram)
        })
        .collect();
    for (registers, ram) in &left {
        if agreed == Outcome::Halted {
            assert_eq!(*registers, left[0].0);
        }
        assert!(*ram == left[0].1, "RAM is not the same");
    }
    agreed
}

#[test]
fn input_of_any_length() {
    for count in [0, 1, 1023, 1024, 1025, 2048, 4096, 5000, 5120, 5121, 0xffff, 0x10000, 0x10001, 200_000] {
        // At the beginning of a page, and just before its end.
        for address in [0x2000, 0x1ffb] {
            let code = reading(&[], address, count, REP_INSB, 3);
            assert_eq!(leaves_the_same(&code, &input(3 * count as usize)), Outcome::Halted, "{count}");
        }
    }
}

#[test]
fn input_is_few_exits() {
    if std::env::var_os(WITHOUT_KVM).is_some() {
        return;
    }
    let code = reading(&[], 0x10000, 64 << 10, REP_INSB, 4);
    let mut machine = machine_on(EngineChoice::Kvm, &code, &input(256 << 10));
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
    let transfers = machine.stats().transfers(Port::Console, Direction::In);
    // The check comes after two exits of 1024 bytes, and from then on after one.
    assert_eq!((transfers.exits, transfers.bytes), (3 + 2 + 2 + 2, 256 << 10));
}

#[test]
fn input_of_other_ports() {
    // mov edx, 0xed: the arguments, of which there are none, again and again.
    let mut code = reading(&[], 0x2000, 100_000, REP_INSB, 2);
    code[1] = 0xed;
    assert_eq!(leaves_the_same(&code, &[]), Outcome::Halted);
}

#[test]
fn input_downwards_and_in_other_forms() {
    const STD: u8 = 0xfd;
    let bytes = input(20_000);
    let code = reading(&[STD], 0x9000, 10_000, REP_INSB, 2);
    assert_eq!(leaves_the_same(&code, &bytes), Outcome::Halted);
    // repne; es:; by DI and CX.
    for instruction in [&[0xf2, 0x6c][..], &[0x26, 0xf3, 0x6c], &[0xf3, 0x26, 0x6c], &[0x67, 0xf3, 0x6c]] {
        let code = reading(&[], 0x2000, 10_000, instruction, 2);
        assert_eq!(leaves_the_same(&code, &bytes), Outcome::Halted, "{instruction:x?}");
    }
}

#[test]
fn input_to_a_segment_of_its_own() {
    let code = reading(&with_segment(Segments::Es), 0x2000, 20_000, REP_INSB, 2);
    assert_eq!(leaves_the_same(&code, &input(40_000)), Outcome::Halted);
}

#[test]
fn input_up_to_the_end_of_ram_and_beyond() {
    let code = reading(&[], DEFAULT_RAM_SIZE - 10_000, 10_000, REP_INSB, 1);
    assert_eq!(leaves_the_same(&code, &input(10_000)), Outcome::Halted);
    let code = reading(&[], DEFAULT_RAM_SIZE - 10_000, 11_000, REP_INSB, 1);
    assert!(matches!(run(&code, &input(11_000)).outcome, Outcome::Fault(_)));
}

#[test]
fn input_to_memory_that_is_read_only() {
    let map = || {
        let read_only = Segment { start: 0x8000, end: 0x9000, writable: false };
        MemoryMap::from(MemorySize::default()).protecting(&[read_only]).unwrap()
    };
    let code = reading(&[], 0x2000, 0x8000, REP_INSB, 1);
    let machines =
        common::engines().iter().map(|engine| common::machine_with(*engine, map(), &code, &input(0x8000)));
    let outcome = common::agreed(machines, &code).outcome;
    assert!(format!("{outcome:?}").contains("ReadOnly"), "{outcome:?}");
}

#[test]
fn input_that_ends_in_the_middle() {
    for len in [0, 1, 1024, 3000, 20_000] {
        let code = reading(&[], 0x2000, 50_000, REP_INSB, 1);
        assert_eq!(run(&code, &input(len)).outcome, Outcome::EndOfInput);
    }
}
