//! The soft engine against KVM, one instruction at a time: the same registers, flags and memory before, the same
//! after. Flags that the manual leaves undefined are not compared.
//!
//! Where KVM cannot run an instruction there is nothing to compare; without /dev/kvm there is nothing to do.

use flatland::MemorySize;
use flatland::engine::kvm::KvmEngine;
use flatland::engine::soft::SoftEngine;
use flatland::engine::{Engine, Exit, Registers};
use flatland::fault::FaultKind;

const CF: u32 = 1 << 0;
const PF: u32 = 1 << 2;
const AF: u32 = 1 << 4;
const ZF: u32 = 1 << 6;
const SF: u32 = 1 << 7;
const DF: u32 = 1 << 10;
const OF: u32 = 1 << 11;
const STATUS: u32 = CF | PF | AF | ZF | SF | OF;
const ALL: u32 = STATUS | DF;

/// Where the instruction, its operands and the stack are.
const CODE: u32 = 0x1000;
const DATA: u32 = 0x4000;
const DATA_SIZE: usize = 0x200;

/// How a register operand, or one in memory, is chosen after the opcode.
#[derive(Clone, Copy)]
enum Operands {
    /// None.
    Implicit,
    /// A ModRM byte, anything.
    ModRm,
    /// A ModRM byte with these bits in its reg field.
    Group(u8),
    /// The low three bits of the opcode.
    InOpcode,
}

/// Opcode, operands, bytes of immediate (4 follows the operand size), and the flags that are defined.
type Template = (&'static [u8], Operands, usize, u32);

use Operands::{Group, Implicit, InOpcode, ModRm};

const NO_AF: u32 = ALL & !AF;

const TEMPLATES: &[Template] = &[
    (&[0x00], ModRm, 0, ALL),
    (&[0x01], ModRm, 0, ALL),
    (&[0x02], ModRm, 0, ALL),
    (&[0x03], ModRm, 0, ALL),
    (&[0x04], Implicit, 1, ALL),
    (&[0x05], Implicit, 4, ALL),
    (&[0x08], ModRm, 0, NO_AF),
    (&[0x0b], ModRm, 0, NO_AF),
    (&[0x10], ModRm, 0, ALL),
    (&[0x11], ModRm, 0, ALL),
    (&[0x13], ModRm, 0, ALL),
    (&[0x18], ModRm, 0, ALL),
    (&[0x19], ModRm, 0, ALL),
    (&[0x1b], ModRm, 0, ALL),
    (&[0x21], ModRm, 0, NO_AF),
    (&[0x28], ModRm, 0, ALL),
    (&[0x29], ModRm, 0, ALL),
    (&[0x2b], ModRm, 0, ALL),
    (&[0x30], ModRm, 0, NO_AF),
    (&[0x33], ModRm, 0, NO_AF),
    (&[0x38], ModRm, 0, ALL),
    (&[0x39], ModRm, 0, ALL),
    (&[0x3d], Implicit, 4, ALL),
    (&[0x40], InOpcode, 0, ALL),
    (&[0x48], InOpcode, 0, ALL),
    (&[0x50], InOpcode, 0, ALL),
    (&[0x58], InOpcode, 0, ALL),
    (&[0x60], Implicit, 0, ALL),
    (&[0x61], Implicit, 0, ALL),
    (&[0x68], Implicit, 4, ALL),
    (&[0x69], ModRm, 4, CF | OF | DF),
    (&[0x6a], Implicit, 1, ALL),
    (&[0x6b], ModRm, 1, CF | OF | DF),
    (&[0x80], ModRm, 1, NO_AF),
    (&[0x81], ModRm, 4, NO_AF),
    (&[0x83], ModRm, 1, NO_AF),
    (&[0x84], ModRm, 0, NO_AF),
    (&[0x85], ModRm, 0, NO_AF),
    (&[0x86], ModRm, 0, ALL),
    (&[0x87], ModRm, 0, ALL),
    (&[0x88], ModRm, 0, ALL),
    (&[0x89], ModRm, 0, ALL),
    (&[0x8a], ModRm, 0, ALL),
    (&[0x8b], ModRm, 0, ALL),
    (&[0x8d], ModRm, 0, ALL),
    (&[0x8c], Group(3), 0, ALL),
    (&[0x8f], Group(0), 0, ALL),
    (&[0x90], InOpcode, 0, ALL),
    (&[0x98], Implicit, 0, ALL),
    (&[0x99], Implicit, 0, ALL),
    (&[0x9c], Implicit, 0, ALL),
    (&[0x9e], Implicit, 0, ALL),
    (&[0x9f], Implicit, 0, ALL),
    (&[0xa4], Implicit, 0, ALL),
    (&[0xa5], Implicit, 0, ALL),
    (&[0xa6], Implicit, 0, ALL),
    (&[0xa7], Implicit, 0, ALL),
    (&[0xaa], Implicit, 0, ALL),
    (&[0xab], Implicit, 0, ALL),
    (&[0xac], Implicit, 0, ALL),
    (&[0xad], Implicit, 0, ALL),
    (&[0xae], Implicit, 0, ALL),
    (&[0xaf], Implicit, 0, ALL),
    (&[0xf3, 0xa4], Implicit, 0, ALL),
    (&[0xf3, 0xa5], Implicit, 0, ALL),
    (&[0xf3, 0xab], Implicit, 0, ALL),
    (&[0xf3, 0xa6], Implicit, 0, ALL),
    (&[0xf2, 0xae], Implicit, 0, ALL),
    (&[0xa8], Implicit, 1, NO_AF),
    (&[0xb0], InOpcode, 1, ALL),
    (&[0xb8], InOpcode, 4, ALL),
    (&[0xc6], Group(0), 1, ALL),
    (&[0xc7], Group(0), 4, ALL),
    (&[0xc9], Implicit, 0, ALL),
    (&[0xd7], Implicit, 0, ALL),
    (&[0xf5], Implicit, 0, ALL),
    (&[0xf6], Group(0), 1, NO_AF),
    (&[0xf6], Group(2), 0, ALL),
    (&[0xf7], Group(2), 0, ALL),
    (&[0xf6], Group(3), 0, ALL),
    (&[0xf7], Group(3), 0, ALL),
    (&[0xf6], Group(4), 0, CF | OF | DF),
    (&[0xf7], Group(4), 0, CF | OF | DF),
    (&[0xf6], Group(5), 0, CF | OF | DF),
    (&[0xf7], Group(5), 0, CF | OF | DF),
    (&[0xf6], Group(6), 0, DF),
    (&[0xf7], Group(6), 0, DF),
    (&[0xf6], Group(7), 0, DF),
    (&[0xf7], Group(7), 0, DF),
    (&[0xf8], Implicit, 0, ALL),
    (&[0xf9], Implicit, 0, ALL),
    (&[0xfc], Implicit, 0, ALL),
    (&[0xfd], Implicit, 0, ALL),
    (&[0xfe], Group(0), 0, ALL),
    (&[0xff], Group(1), 0, ALL),
    (&[0xff], Group(6), 0, ALL),
    (&[0x27], Implicit, 0, ALL & !OF),
    (&[0x2f], Implicit, 0, ALL & !OF),
    (&[0x37], Implicit, 0, CF | AF | DF),
    (&[0x3f], Implicit, 0, CF | AF | DF),
    // KVM's instruction emulator sets SF, ZF and PF by something else than AL.
    (&[0xd4], Implicit, 1, DF),
    (&[0xd5], Implicit, 1, DF),
    (&[0x0f, 0x40], ModRm, 0, ALL),
    (&[0x0f, 0x47], ModRm, 0, ALL),
    (&[0x0f, 0x4c], ModRm, 0, ALL),
    (&[0x0f, 0x4f], ModRm, 0, ALL),
    (&[0x0f, 0x90], ModRm, 0, ALL),
    (&[0x0f, 0x92], ModRm, 0, ALL),
    (&[0x0f, 0x96], ModRm, 0, ALL),
    (&[0x0f, 0x9a], ModRm, 0, ALL),
    (&[0x0f, 0x9e], ModRm, 0, ALL),
    (&[0x0f, 0xa3], ModRm, 0, CF | ZF | DF),
    (&[0x0f, 0xab], ModRm, 0, CF | ZF | DF),
    (&[0x0f, 0xb3], ModRm, 0, CF | ZF | DF),
    (&[0x0f, 0xbb], ModRm, 0, CF | ZF | DF),
    (&[0x0f, 0xba], Group(4), 1, CF | ZF | DF),
    (&[0x0f, 0xba], Group(7), 1, CF | ZF | DF),
    (&[0x0f, 0xaf], ModRm, 0, CF | OF | DF),
    (&[0x0f, 0xb0], ModRm, 0, ALL),
    (&[0x0f, 0xb1], ModRm, 0, ALL),
    (&[0x0f, 0xb6], ModRm, 0, ALL),
    (&[0x0f, 0xb7], ModRm, 0, ALL),
    (&[0x0f, 0xbe], ModRm, 0, ALL),
    (&[0x0f, 0xbf], ModRm, 0, ALL),
    (&[0x0f, 0xbc], ModRm, 0, ZF | DF),
    (&[0x0f, 0xbd], ModRm, 0, ZF | DF),
    (&[0x0f, 0xc0], ModRm, 0, ALL),
    (&[0x0f, 0xc1], ModRm, 0, ALL),
    (&[0x0f, 0xc7], Group(1), 0, ALL),
    (&[0x0f, 0xc8], InOpcode, 0, ALL),
];

/// Shifts: which flags are defined depends on the count.
const SHIFTS: &[(&[u8], bool)] = &[
    (&[0xc0], true),
    (&[0xc1], true),
    (&[0xd0], false),
    (&[0xd1], false),
    (&[0xd2], false),
    (&[0xd3], false),
    (&[0x0f, 0xa4], true),
    (&[0x0f, 0xa5], false),
    (&[0x0f, 0xac], true),
    (&[0x0f, 0xad], false),
];

/// xorshift32.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.next() % limit
    }

    /// Numbers at the edges, often.
    fn number(&mut self) -> u32 {
        const EDGES: [u32; 12] =
            [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
        match self.below(3) {
            0 => EDGES[self.below(12) as usize],
            1 => self.below(256),
            _ => self.next(),
        }
    }
}

/// A ModRM byte, and what follows it: a register, or an address in the data.
fn mod_rm(random: &mut Random, reg: u8, code: &mut Vec<u8>) {
    match random.below(4) {
        0 | 1 => code.push(0xc0 | reg << 3 | random.below(8) as u8),
        2 => {
            code.push(reg << 3 | 5); // [disp32]
            code.extend((DATA + random.below(0x100)).to_le_bytes());
        }
        _ => {
            code.extend([0x40 | reg << 3 | 4, 0x73, 0x10]); // [ebx+esi*2+0x10]
        }
    }
}

struct Case {
    code: Vec<u8>,
    registers: Registers,
    data: Vec<u8>,
    flags: u32,
}

fn case(random: &mut Random) -> Case {
    let mut code = Vec::new();
    let word = random.below(4) == 0;
    if word {
        code.push(0x66);
    }
    let mut registers = Registers {
        eax: random.number(),
        ebx: DATA + random.below(16),
        ecx: random.number(),
        edx: random.number(),
        esi: random.below(16),
        edi: random.number(),
        ebp: random.number(),
        esp: DATA + 0x100,
        eip: CODE,
        eflags: 2 | random.next() & STATUS,
    };
    let flags;
    if random.below(4) == 0 {
        let &(opcode, immediate) = &SHIFTS[random.below(SHIFTS.len() as u32) as usize];
        code.extend(opcode);
        let reg = random_reg(random);
        mod_rm(random, reg, &mut code);
        let count = random.below(40) as u8;
        let by_cl = opcode[0] | 1 == 0xd3 || opcode[opcode.len() - 1] & 0xf7 == 0xa5;
        let count = if immediate {
            code.push(count);
            count
        } else if by_cl {
            registers.ecx = u32::from(count);
            count
        } else {
            1
        };
        let bits = if opcode.len() == 1 && opcode[0] & 1 == 0 {
            8
        } else if word {
            16
        } else {
            32
        };
        // A count above the size leaves everything undefined, which differs between processors.
        flags = match count & 31 {
            0 => ALL,
            1 => NO_AF,
            count if u32::from(count) < bits => NO_AF & !OF,
            _ if opcode.len() == 2 => return case(random),
            _ => DF,
        };
    } else {
        let (opcode, operands, immediate, defined) = TEMPLATES[random.below(TEMPLATES.len() as u32) as usize];
        if opcode.iter().any(|byte| matches!(byte, 0xa4..=0xa7 | 0xaa..=0xaf))
            && opcode.len() <= 2
            && opcode[0] != 0x0f
        {
            registers.esi = DATA + random.below(64);
            registers.edi = DATA + 0x40 + random.below(64);
            registers.ecx = random.below(16);
            registers.eflags |= if random.below(4) == 0 { DF } else { 0 };
        }
        if opcode == [0x0f, 0xc8] {
            // Of a word the result is undefined.
            code.clear();
        }
        if opcode == [0xc9] {
            registers.ebp = DATA + random.below(0x100);
        }
        code.extend(&opcode[..opcode.len() - 1]);
        let last = opcode[opcode.len() - 1];
        match operands {
            Implicit => code.push(last),
            InOpcode => code.push(last | random.below(8) as u8),
            Group(reg) => {
                code.push(last);
                mod_rm(random, reg, &mut code);
            }
            ModRm => {
                code.push(last);
                let reg = random_reg(random);
                mod_rm(random, reg, &mut code);
            }
        }
        // Bit strings reach far.
        if matches!(opcode, [0x0f, 0xa3 | 0xab | 0xb3 | 0xbb]) {
            for register in [
                &mut registers.eax,
                &mut registers.ecx,
                &mut registers.edx,
                &mut registers.ebp,
                &mut registers.edi,
            ] {
                *register %= 0x200;
            }
        }
        let immediate = if immediate == 4 && word { 2 } else { immediate };
        code.extend(&random.number().to_le_bytes()[..immediate]);
        flags = defined;
    }
    code.push(0xf4);
    let data = (0..DATA_SIZE).map(|_| random.number() as u8).collect();
    Case { code, registers, data, flags }
}

fn random_reg(random: &mut Random) -> u8 {
    random.below(8) as u8
}

#[derive(Debug, PartialEq)]
struct After {
    end: String,
    registers: Registers,
    data: Vec<u8>,
}

/// `None` where the engine cannot run it.
fn run(engine: &mut impl Engine, case: &Case) -> Option<After> {
    engine.write_ram(CODE, &case.code);
    engine.write_ram(DATA, &case.data);
    engine.set_registers(&case.registers).unwrap();
    let end = match engine.run().unwrap() {
        Exit::Fault(fault) if matches!(fault.kind, FaultKind::Unsupported { .. }) => return None,
        Exit::Fault(fault) => format!("{:?}", fault.kind),
        exit => format!("{exit:?}"),
    };
    let mut registers = engine.registers().unwrap();
    registers.eflags &= case.flags;
    let mut data = vec![0; DATA_SIZE];
    engine.read_ram(DATA, &mut data);
    if end != "Halt" {
        // KVM's exception has pushed its frame.
        data = Vec::new();
    }
    Some(After { end, registers, data })
}

#[test]
fn one_instruction_at_a_time() {
    let ram = "64K".parse::<MemorySize>().unwrap();
    if let Err(error) = KvmEngine::new(ram) {
        println!("not compared: {error}");
        return;
    }
    let cases = std::env::var("FLATLAND_CASES").map_or(300, |cases| cases.parse().unwrap());
    let mut random = Random(0x2545_f491);
    let (mut compared, mut failures) = (0, 0);
    for _ in 0..cases {
        let case = case(&mut random);
        let mut soft = SoftEngine::new(ram);
        let Some(ours) = run(&mut soft, &case) else { panic!("{:02x?} is not supported", case.code) };
        let mut kvm = KvmEngine::new(ram).unwrap();
        let Some(theirs) = run(&mut kvm, &case) else { continue };
        compared += 1;
        if ours != theirs {
            failures += 1;
            println!("{:02x?}\n before {:x?}", case.code, case.registers);
            println!(
                " soft {} {:x?}\n kvm  {} {:x?}",
                ours.end, ours.registers, theirs.end, theirs.registers
            );
            if let Some(at) = ours.data.iter().zip(&theirs.data).position(|(ours, theirs)| ours != theirs) {
                println!(" data differs at {:#x}", DATA as usize + at);
            }
        }
    }
    println!("{compared} of {cases} compared");
    assert_eq!(failures, 0);
}
