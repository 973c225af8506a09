//! `rep outsb`, of which KVM makes an exit for each byte and the engine `kvm` one of many: what is sent, how it ends and
//! what it leaves in the registers is what the soft engine says.

mod common;

use common::{Run, machines, run};
use flatland::Outcome;
use flatland::engine::{Engine, Registers};
use flatland_contract::memory::DEFAULT_RAM_SIZE;

/// RAM behind the code, in which no two neighbouring bytes are the same.
const TEXT: usize = 300 << 10;

/// mov edx, PORT; mov esi, ADDRESS; mov ecx, COUNT; and the instruction, so often; hlt; and the text from 0x1000 on.
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

/// The engines agree, of the registers too if it comes to its `hlt`.
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

#[test]
#[rustfmt::skip]
fn from_a_segment_of_its_own() {
    let mut before = vec![
        0x0f, 0x01, 0x15, 0x20, 0, 0, 0, //  0: lgdt [0x20]
        0xb8, 0x08, 0, 0, 0,             //  7: mov eax, 8
        0x8e, 0xd8,                      //  c: mov ds, eax
        0xeb, 0x28,                      //  e: jmp 0x38
    ];
    before.resize(0x20, 0);
    before.extend([0x0f, 0, 0x28, 0, 0, 0, 0, 0]); // the table: 16 bytes at 0x28
    before.extend([0; 8]);
    // A data segment of 4 GiB that begins at 0x100 (SDM volume 3, section 3.4.5).
    before.extend(0x00cf_9300_0100_ffff_u64.to_le_bytes());
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
