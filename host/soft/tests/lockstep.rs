//! The translator against the interpreter: random programs, each executed by both, must leave the same behind.

#![cfg(all(feature = "translate", unix, target_arch = "x86_64"))]

#[path = "../../tests/common/random.rs"]
mod random;

use flatland_soft::SoftEngine;
use flatland_x86::{Engine, MemorySize, Registers, Stops};
use random::{Random, seeds};

const RAM: u32 = 0x2000;
const CODE: u32 = 0x800;

/// A number, often an address at which something is the matter.
fn number(random: &mut Random) -> u32 {
    match random.below(8) {
        0 => random.next(),
        1 => random.below(16),
        2 => RAM - random.below(8),
        3 => CODE - 4 + random.below(68),
        4 => 0_u32.wrapping_sub(random.below(8)),
        5 => *random.choose(&[0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX]),
        _ => random.below(RAM),
    }
}

/// The operand bytes of an instruction with a register and a register or memory.
fn operands(random: &mut Random, code: &mut Vec<u8>, reg: u32) {
    let (form, rm) = (*random.choose(&[0, 1, 2, 3, 3, 3]), random.below(8));
    code.push((form << 6 | reg << 3 | rm) as u8);
    if form == 3 {
        return;
    }
    let mut has_base = rm != 5;
    if rm == 4 {
        let sib = random.below(256);
        code.push(sib as u8);
        has_base = sib & 7 != 5;
    }
    match form {
        0 if !has_base => code.extend(number(random).to_le_bytes()),
        1 => code.push(random.next() as u8),
        2 => {
            let displacement = if random.below(2) == 0 { number(random) } else { random.below(64) };
            code.extend(displacement.to_le_bytes());
        }
        _ => {}
    }
}

fn instruction(random: &mut Random, code: &mut Vec<u8>) {
    let reg = random.below(8);
    match random.below(17) {
        0..=4 => {
            let opcode = *random.choose(&[
                0x01, 0x03, 0x09, 0x0b, 0x11, 0x13, 0x19, 0x1b, 0x21, 0x23, 0x29, 0x2b, 0x31, 0x33, 0x39,
                0x3b, 0x85, 0x89, 0x8b, 0x87,
            ]);
            code.push(opcode);
            operands(random, code, reg);
        }
        5 => {
            code.push(*random.choose(&[0x89, 0x8b]));
            operands(random, code, reg);
        }
        6 => {
            code.push(0x8d);
            let at = code.len();
            operands(random, code, reg);
            if code[at] >= 0xc0 {
                code[at - 1] = 0x89;
            }
        }
        7 => {
            code.extend([0x0f, *random.choose(&[0xb6, 0xb7, 0xbe, 0xbf, 0xaf, 0x44, 0x92, 0x4c])]);
            operands(random, code, reg);
        }
        8 => {
            code.push(*random.choose(&[0xd1, 0xd3, 0xff, 0xfe]));
            let reg = reg & 1 | *random.choose(&[0, 4]) & if code.last() >= Some(&0xfe) { 0 } else { 7 };
            operands(random, code, reg);
        }
        9 => {
            code.push(*random.choose(&[0x81, 0x83, 0xc7, 0xf7]));
            let opcode = code[code.len() - 1];
            operands(random, code, if opcode == 0xc7 || opcode == 0xf7 { 0 } else { reg });
            match opcode {
                0x83 => code.push(random.next() as u8),
                _ => code.extend(number(random).to_le_bytes()),
            }
        }
        10 => {
            code.push(0xf7);
            let reg = *random.choose(&[2, 3, 4, 5, 6]);
            operands(random, code, reg);
        }
        11 | 12 => code.push(*random.choose(&[0x40, 0x48]) | reg as u8),
        13 => {
            code.push(0xb8 | reg as u8);
            code.extend(number(random).to_le_bytes());
        }
        14 => code.push(*random.choose(&[0x50, 0x58]) | reg as u8),
        15 => code.extend(*random.choose(&[
            [0x0f, 0x31],
            [0x99, 0x90],
            [0xf8, 0xf9],
            [0x9c, 0x58],
            [0x9f, 0x9e],
        ])),
        // A few bytes forward, into whatever that is.
        _ => code.extend([0x70 | random.below(16) as u8, random.below(12) as u8]),
    }
}

fn engine(translate_after: Option<u32>) -> SoftEngine {
    let mut engine = SoftEngine::new(MemorySize::from_bytes(RAM.into()).unwrap());
    engine.translate_after(translate_after);
    engine
}

/// What a run leaves behind.
fn run(
    engine: &mut SoftEngine,
    ram: &[u8],
    registers: &Registers,
    limit: u64,
) -> (String, Registers, u64, Vec<u8>) {
    let (state, position) = SoftEngine::new(MemorySize::from_bytes(RAM.into()).unwrap()).processor().unwrap();
    engine.set_processor(&state, position).unwrap();
    let count = engine.instructions().unwrap();
    engine.write_ram(0, ram);
    engine.set_registers(registers).unwrap();
    engine.set_stops(&Stops { instructions: Some(count + limit), ..Stops::default() }).unwrap();
    let exit = format!("{:?}", engine.run().unwrap());
    let mut after = vec![0; RAM as usize];
    engine.read_ram(0, &mut after);
    let location = format!("{exit} at {:?}", engine.location().unwrap());
    (location, engine.registers().unwrap(), engine.instructions().unwrap(), after)
}

/// 20,000 programs, or as many as `FLATLAND_CASES` says.
#[test]
fn random_programs_leave_the_same_behind() {
    let (mut interpreter, mut translator) = (engine(None), engine(Some(1)));
    let (mut cases, mut loops) = (0, 0);
    for seed in seeds(20_000) {
        let random = &mut Random::new(seed);
        let mut code = Vec::new();
        for _ in 0..1 + random.below(12) {
            instruction(random, &mut code);
        }
        // Once more, on a condition.
        let back = -(code.len() as i32 + 6);
        code.extend([0x0f, 0x80 | random.below(16) as u8]);
        code.extend(back.to_le_bytes());
        code.push(0xf4);
        let mut ram: Vec<u8> = (0..RAM).map(|_| random.next() as u8).collect();
        ram[CODE as usize..][..code.len()].copy_from_slice(&code);
        let [eax, ebx, ecx, edx, esi, edi, ebp, esp] = [(); 8].map(|()| number(random));
        let eflags = random.next() & 0x8d5 | 2;
        let registers = Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip: CODE, eflags };
        let limit = random.choose(&[3, 40, 400]) + u64::from(random.below(40));
        let expected = run(&mut interpreter, &ram, &registers, limit);
        let actual = run(&mut translator, &ram, &registers, limit);
        assert!(
            actual == expected,
            "seed {seed}: {code:02x?}\nfrom {registers:x?}\n{:x?}, not\n{:x?}",
            (&actual.0, &actual.1, actual.2),
            (&expected.0, &expected.1, expected.2),
        );
        cases += 1;
        loops += u64::from(expected.0.contains("InstructionLimit"));
    }
    assert!(loops * 20 > cases, "of {cases} only {loops} came to their limit");
}

/// A loop that counts, loads, stores and adds: each limit ends it at that instruction, with the interpreter's registers.
#[test]
fn each_limit_in_a_loop_is_exact() {
    let code = [
        0x03, 0x05, 0x00, 0x01, 0x00, 0x00, // add eax, [0x100]
        0x89, 0x83, 0x00, 0x02, 0x00, 0x00, // mov [ebx + 0x200], eax
        0x11, 0xc2, // adc edx, eax
        0x41, // inc ecx
        0x75, 0xef, // jnz
        0xf4, // hlt
    ];
    let mut ram = vec![0; RAM as usize];
    ram[CODE as usize..][..code.len()].copy_from_slice(&code);
    ram[0x100..0x104].copy_from_slice(&0x9e37_79b9_u32.to_le_bytes());
    let registers = Registers { eip: CODE, eflags: 2, ..Registers::default() };
    let (mut interpreter, mut translator) = (engine(None), engine(Some(1)));
    for limit in 0..10_000 {
        let expected = run(&mut interpreter, &ram, &registers, limit);
        let actual = run(&mut translator, &ram, &registers, limit);
        assert!(actual == expected, "limit {limit}: {:x?}, not {:x?}", actual.1, expected.1);
        assert_eq!(expected.2, limit);
    }
}

/// Stores that come nearer, until one begins on a line without code and ends in the loop's first byte: `mov eax` becomes
/// `mov ecx`.
#[test]
fn a_store_across_lines_changes_code() {
    let code = [
        0xb8, 0x05, 0x00, 0x00, 0x00, // mov eax, 5
        0x89, 0x1f, // mov [edi], ebx
        0x47, // inc edi
        0x49, // dec ecx
        0x75, 0xf5, // jnz
        0xf4, // hlt
    ];
    let mut ram = vec![0; RAM as usize];
    ram[CODE as usize..][..code.len()].copy_from_slice(&code);
    let (ebx, edi) = (0xb9 << 24, CODE - 13);
    let registers = Registers { ebx, edi, ecx: 1000, eip: CODE, eflags: 2, ..Registers::default() };
    let changed = 10 * 5 + 2;
    for limit in 0..changed + 20 {
        let [expected, actual] =
            [None, Some(1)].map(|after| run(&mut engine(after), &ram, &registers, limit));
        assert!(actual == expected, "limit {limit}: {actual:x?}, not {expected:x?}");
        if limit == changed + 4 {
            assert_eq!(expected.1.ecx, 5);
        }
    }
}
