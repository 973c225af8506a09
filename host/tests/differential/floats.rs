//! Random programs of x87, MMX, SSE and SSE2, on the soft engine and on the processor that runs the test: general registers,
//! RAM, the exception that ends a program, and all registers of these units.
//!
//! Left out: transcendental functions and approximations, whose last bits are each processor's own (`functions`), and on AMD's
//! processors most of what is about FIP, FOP and FDP: there, FOP and FDP are of the last instruction that has them, and not
//! of the last exception as on Intel's and soft, and `fxsave` stores the three only while an exception is pending (AMD64
//! Architecture Programmer's Manual, volume 5, FXSAVE; X86_BUG_FXSAVE_LEAK of Linux).

use flatland::soft::SoftEngine;
use flatland::x86::{Engine, Fpu, Registers, cr4};
use iced_x86::{CpuidFeature, Instruction, Mnemonic, OpKind};

use super::case::{CODE, DATA, DATA_SIZE, STACK};
use super::processor::{AC, Processor, Signal, at_any_level, at_level_3, is_amd};
use super::random::{Random, seeds};
use super::subject::{Before, Bus, End, RAM, soft_engine, to_the_end};
use super::trace::decode;

/// Where the state lies that a program begins with, for `fxrstor`.
pub const AREA: u32 = 0x5000;
/// fxrstor [AREA]
const LOAD_AREA: [u8; 7] = [0x0f, 0xae, 0x0d, AREA as u8, (AREA >> 8) as u8, 0, 0];
/// The vector of #AC.
const ALIGNMENT_CHECK: u32 = 17;
/// The most instructions of a program.
const LENGTH: u32 = 16;

#[test]
fn random_programs_against_the_processor() {
    compare_programs(0);
}

#[test]
fn random_programs_with_alignment_checks_against_the_processor() {
    compare_programs(AC);
}

fn compare_programs(flags: u32) {
    let mut processor = Processor::default();
    let (mut compared, mut instructions) = (0_u32, 0);
    let mut different = Vec::new();
    for seed in seeds(1_000) {
        let mut program = Program::new(seed);
        program.before.registers.eflags |= flags;
        instructions += program.starts.len();
        compared += 1;
        if let Some(difference) = program.first_difference(&mut processor) {
            different.push(format!("FLATLAND_SEED={seed} FLATLAND_CASES=1: {difference}"));
        }
    }
    println!("{compared} programs with {instructions} instructions, {} different", different.len());
    different.truncate(20);
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// A program, and where each of its instructions begins.
struct Program {
    before: Before,
    starts: Vec<u32>,
}

impl Program {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut ram = vec![0xf4; RAM as usize];
        fill(&mut random, &mut ram[DATA as usize..][..DATA_SIZE as usize]);
        let area = area(&mut random);
        ram[AREA as usize..][..area.len()].copy_from_slice(&area);
        let mut code = LOAD_AREA.to_vec();
        let mut starts = Vec::new();
        for _ in 0..=random.below(LENGTH) {
            let start = CODE + code.len() as u32;
            let instruction = instruction(&mut random, start);
            if is_amd() && stores_pointers(&decode(&instruction, start)) {
                break;
            }
            starts.push(start);
            code.extend(instruction);
        }
        ram[CODE as usize..][..code.len()].copy_from_slice(&code);
        let registers = Registers {
            eax: random.number(),
            ebx: random.number(),
            ecx: random.number(),
            edx: random.number(),
            esi: random.number(),
            edi: DATA + random.below(DATA_SIZE - 16),
            ebp: random.number(),
            esp: STACK,
            eip: CODE,
            eflags: 2 | random.next() & 0x8d5,
        };
        Self { before: at_any_level(Before { registers, ram }), starts }
    }

    /// The first instruction after which the processor's state differs, and how.
    fn first_difference(&self, processor: &mut Processor) -> Option<String> {
        difference(processor, &self.before)?;
        let ends = self.starts.iter().skip(1).map(|next| Some(*next)).chain([None]);
        for (start, end) in self.starts.iter().zip(ends) {
            let mut shorter = self.before.clone();
            if let Some(end) = end {
                shorter.ram[end as usize] = 0xf4;
            }
            if let Some(difference) = difference(processor, &shorter) {
                let instruction = decode(&shorter.ram[*start as usize..], *start);
                return Some(format!("{:?}: {difference}", instruction.code()));
            }
        }
        Some("only together".into())
    }
}

/// The units after an instruction that begins with this state: of the soft engine, and of the processor.
pub fn both(processor: &mut Processor, area: &[u8], instruction: &[u8]) -> (Fpu, Fpu) {
    let mut ram = vec![0xf4; RAM as usize];
    ram[AREA as usize..][..area.len()].copy_from_slice(area);
    let code = [&LOAD_AREA[..], instruction].concat();
    ram[CODE as usize..][..code.len()].copy_from_slice(&code);
    let registers = Registers { esp: STACK, eip: CODE, eflags: 2, ..Registers::default() };
    let before = at_any_level(Before { registers, ram });
    let mut engine = soft_engine(&before);
    switch_on(&mut engine);
    to_the_end(&mut engine, &mut Bus::default()).expect("there are no stops");
    processor.signal(&before).expect("its process lives");
    let (state, _) = engine.processor().expect("it has a state");
    (state.fpu.map_or_else(Fpu::default, |fpu| *fpu), unpacked(processor.fpu()))
}

/// How the results of a case differ.
fn difference(processor: &mut Processor, before: &Before) -> Option<String> {
    let mut engine = soft_engine(before);
    switch_on(&mut engine);
    let mut bus = Bus::default();
    let end = to_the_end(&mut engine, &mut bus).expect("there are no stops");
    let (signal, ram) = processor.signal(before).expect("its process lives");
    let vector = match end {
        End::Halt => 13,
        End::Fault(fault) => match fault.kind {
            flatland::x86::FaultKind::Exception { vector, .. } => u32::from(vector),
            flatland::x86::FaultKind::OutsideRam { .. } => 14,
            _ => return Some(format!("{fault:?}")),
        },
        other => panic!("{other:?}"),
    };
    let is_not_aligned = vector == ALIGNMENT_CHECK || signal.vector == ALIGNMENT_CHECK;
    if is_not_aligned && let Some(instruction) = at_end(before, &signal) {
        // Whether #AC or #GP comes for an area that is not aligned is the processor's (SDM volume 2, FXSAVE). Where a store of an
        // MMX register is refused, Intel's have changed TOP, and no tags.
        let is_area = matches!(instruction.mnemonic(), Mnemonic::Fxsave | Mnemonic::Fxrstor);
        let is_mmx = (0..instruction.op_count()).any(|number| instruction.op_register(number).is_mm());
        if is_area || is_mmx && vector == signal.vector {
            return None;
        }
        // Whether these are checked is the processor's (SDM volume 3, section 7.15): by Intel's they are not, by AMD's they are.
        let is_unaligned_move =
            matches!(instruction.mnemonic(), Mnemonic::Movups | Mnemonic::Movupd | Mnemonic::Movdqu);
        // AMD's check where nothing is stored, because of an exception that is not masked.
        let goes_on = engine.registers().expect("it has registers").eip != signal.registers.eip;
        if goes_on && (is_unaligned_move || is_amd() && is_pending(&mut engine)) {
            return None;
        }
    }
    if vector != signal.vector {
        return Some(format!("{end:?} and vector {}", signal.vector));
    }
    let (state, _) = engine.processor().expect("it has a state");
    let mut ours = state.registers;
    if end == End::Halt {
        ours.eip -= 1;
    }
    let mut theirs = signal.registers;
    const COMPARED_FLAGS: u32 = 0x8d5;
    ours.eflags &= COMPARED_FLAGS;
    theirs.eflags &= COMPARED_FLAGS;
    if ours != theirs {
        return Some(format!("{ours:x?} and {theirs:x?}"));
    }
    let fpu = state.fpu.map_or_else(Fpu::default, |fpu| *fpu);
    if let Some(difference) = difference_of_units(&fpu, &unpacked(processor.fpu())) {
        return Some(difference);
    }
    let mut our_ram = vec![0; RAM as usize];
    engine.read_ram(0, &mut our_ram);
    // An exception's frame is on the stack of the operating system there.
    let has_frame = end != End::Halt;
    let is_frame = |at: usize| has_frame && ours.esp.wrapping_sub(at as u32 + 1) < 16;
    let at = (0..RAM as usize).find(|at| our_ram[*at] != ram[*at] && !is_frame(*at))?;
    let end = (RAM as usize).min(at + 16);
    Some(format!("RAM at {at:#x}: {:02x?} and {:02x?}", &our_ram[at..end], &ram[at..end]))
}

/// ES of the x87's status word.
const IS_PENDING: u16 = 1 << 7;

fn is_pending(engine: &mut SoftEngine) -> bool {
    let (state, _) = engine.processor().expect("it has a state");
    state.fpu.is_some_and(|fpu| fpu.status & IS_PENDING != 0)
}

/// The instruction of a program that an exception was reported at.
fn at_end(before: &Before, signal: &Signal) -> Option<Instruction> {
    let eip = signal.registers.eip;
    Some(decode(before.ram.get(eip as usize..)?, eip))
}

/// Switches SSE and its exceptions on, as the operating system of the test has.
fn switch_on(engine: &mut SoftEngine) {
    if engine.registers().expect("it has registers").eflags & AC != 0 {
        return at_level_3(engine);
    }
    let (mut state, position) = engine.processor().expect("it has a state");
    state.cr4 |= cr4::OSFXSR | cr4::OSXMMEXCPT;
    engine.set_processor(&state, position).expect("it can go on from there");
}

/// The state in FXSAVE's area.
fn unpacked(area: &[u8]) -> Fpu {
    let word = |at: usize| u16::from_le_bytes([area[at], area[at + 1]]);
    let doubleword = |at: usize| u32::from(word(at)) | u32::from(word(at + 2)) << 16;
    let registers = |at: usize| {
        std::array::from_fn(|number| area[at + 16 * number..][..16].try_into().expect("it has 16 bytes"))
    };
    Fpu {
        control: word(0),
        status: word(2),
        tags: area[4],
        opcode: word(6),
        instruction: doubleword(8).into(),
        data: doubleword(16).into(),
        st: registers(32),
        xmm: registers(160),
        mxcsr: doubleword(24),
    }
}

fn difference_of_units(ours: &Fpu, theirs: &Fpu) -> Option<String> {
    let hex = |bytes: &[u8; 16]| u128::from_le_bytes(*bytes);
    let pair = |name: &str, ours: u64, theirs: u64| {
        (ours != theirs).then(|| format!("{name}: {ours:#x} and {theirs:#x}"))
    };
    let has_instruction = !is_amd() || theirs.status & IS_PENDING != 0;
    let status = pair("status", ours.status.into(), theirs.status.into())
        .or_else(|| pair("control", ours.control.into(), theirs.control.into()))
        .or_else(|| pair("tags", ours.tags.into(), theirs.tags.into()))
        .or_else(|| pair("mxcsr", ours.mxcsr.into(), theirs.mxcsr.into()))
        .or_else(|| pair("FIP", ours.instruction, theirs.instruction).filter(|_| has_instruction))
        .or_else(|| pair("FOP", ours.opcode.into(), theirs.opcode.into()).filter(|_| !is_amd()))
        .or_else(|| pair("FDP", ours.data, theirs.data).filter(|_| !is_amd()));
    let registers = (0..8).find_map(|number| {
        let (a, b) = (&ours.st[number], &theirs.st[number]);
        (a != b).then(|| format!("st{number}: {:#x} and {:#x}", hex(a), hex(b)))
    });
    let vectors = (0..8).find_map(|number| {
        let (a, b) = (&ours.xmm[number], &theirs.xmm[number]);
        (a != b).then(|| format!("xmm{number}: {:#x} and {:#x}", hex(a), hex(b)))
    });
    let all: Vec<_> = [status, registers, vectors].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// A random instruction of these units.
fn instruction(random: &mut Random, address: u32) -> Vec<u8> {
    loop {
        let mut code = Vec::new();
        if random.one_in(3) {
            code.push(0xd8 | random.below(8) as u8);
        } else {
            code.extend(random.choose::<&[u8]>(&[&[], &[0x66], &[0xf2], &[0xf3]]).iter());
            code.extend([0x0f, random.next() as u8]);
        }
        let mod_rm = random.next() as u8;
        if random.one_in(2) {
            code.push(mod_rm | 0xc0);
        } else {
            code.push(mod_rm & 0x38 | 5);
            let offset = random.below(DATA_SIZE - 128);
            let offset = if random.one_in(16) { offset } else { offset & !15 };
            code.extend((DATA + offset).to_le_bytes());
        }
        code.push(random.next() as u8);
        let instruction = decode(&code, address);
        if is_compared(&instruction) {
            code.truncate(instruction.len());
            return code;
        }
    }
}

/// Whether an instruction stores FIP, FOP and FDP.
fn stores_pointers(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(instruction.mnemonic(), M::Fstenv | M::Fnstenv | M::Fsave | M::Fnsave | M::Fxsave)
}

fn is_compared(instruction: &Instruction) -> bool {
    use CpuidFeature as F;
    use Mnemonic as M;
    let is_of_these = |feature: &F| {
        matches!(
            feature,
            F::FPU | F::FPU287 | F::FPU387 | F::MMX | F::SSE | F::SSE2 | F::CMOV | F::FXSR | F::POPCNT
        )
    };
    let features = instruction.cpuid_features();
    let is_alone_cmov = features == [F::CMOV];
    !instruction.is_invalid()
        && !is_alone_cmov
        && features.iter().all(is_of_these)
        && !matches!(
            instruction.mnemonic(),
            M::Fsin | M::Fcos | M::Fsincos | M::Fptan | M::Fpatan | M::F2xm1 | M::Fyl2x | M::Fyl2xp1
        )
        && !matches!(instruction.mnemonic(), M::Rcpps | M::Rcpss | M::Rsqrtps | M::Rsqrtss)
        && (0..instruction.op_count()).all(|operand| instruction.op_kind(operand) != OpKind::FarBranch32)
}

/// Numbers of all formats, 16 bytes each.
fn fill(random: &mut Random, bytes: &mut [u8]) {
    for place in bytes.chunks_exact_mut(16) {
        match random.below(5) {
            0 => place
                .chunks_exact_mut(4)
                .for_each(|place| place.copy_from_slice(&single(random).to_le_bytes())),
            1 => place
                .chunks_exact_mut(8)
                .for_each(|place| place.copy_from_slice(&double(random).to_le_bytes())),
            2 => place[..10].copy_from_slice(&extended(random)),
            3 => place
                .chunks_exact_mut(4)
                .for_each(|place| place.copy_from_slice(&random.number().to_le_bytes())),
            _ => {
                // Decimal digits.
                place.iter_mut().for_each(|byte| *byte = (random.below(10) * 16 + random.below(10)) as u8);
                place[9] = random.next() as u8;
            }
        }
    }
}

/// A fraction of this many bits, often with few bits set or few clear.
fn fraction(random: &mut Random, bits: u32) -> u64 {
    let wide = |random: &mut Random| u64::from(random.next()) << 32 | u64::from(random.next());
    let value = match random.below(5) {
        0 => 0,
        1 => 1_u64.wrapping_shl(random.below(64)),
        2 => u64::MAX.wrapping_shl(random.below(64)),
        3 => u64::MAX.wrapping_shr(random.below(64)),
        _ => wide(random),
    };
    value & (u64::MAX >> (64 - bits))
}

/// An exponent's field, often at its limits or near that of 1.
fn exponent(random: &mut Random, bits: u32) -> u32 {
    let (most, one) = ((1 << bits) - 1, (1 << (bits - 1)) - 1);
    match random.below(8) {
        0 => 0,
        1 => most,
        2 => most - random.below(4),
        3 => random.below(64) & most,
        4 => random.next() & most,
        _ => (one + random.below(80)).wrapping_sub(40) & most,
    }
}

pub fn single(random: &mut Random) -> u32 {
    random.next() & 1 << 31 | exponent(random, 8) << 23 | fraction(random, 23) as u32
}

fn double(random: &mut Random) -> u64 {
    u64::from(random.next() & 1) << 63 | u64::from(exponent(random, 11)) << 52 | fraction(random, 52)
}

pub fn extended(random: &mut Random) -> [u8; 10] {
    let head = (random.next() & 0x8000 | exponent(random, 15)) as u16;
    let is_usual = !random.one_in(10);
    let has_integer = if is_usual { head & 0x7fff != 0 } else { random.one_in(2) };
    let significand = fraction(random, 63) | u64::from(has_integer) << 63;
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&significand.to_le_bytes());
    bytes[8..].copy_from_slice(&head.to_le_bytes());
    bytes
}

/// The state at the start, as FXRSTOR takes it.
pub fn area(random: &mut Random) -> [u8; 288] {
    let mut area = [0; 288];
    let masks = |random: &mut Random| if random.one_in(4) { random.next() & 0x3f } else { 0x3f };
    let control = (masks(random) | random.next() & 0xf00 | 0x40) as u16;
    // Exceptions that are not masked would end the program at once.
    let status = (random.next() as u16 & 0x7f00)
        | if random.one_in(4) { random.next() as u16 & control & 0x3f } else { 0 };
    let tags = match random.below(4) {
        0 => random.next() as u8,
        1 => 0,
        _ => (random.next() | random.next()) as u8,
    };
    let modes = if random.one_in(2) { 0 } else { random.next() & 0xe040 };
    let mxcsr = masks(random) << 7 | modes | random.next() & 0x3f;
    area[..2].copy_from_slice(&control.to_le_bytes());
    area[2..4].copy_from_slice(&status.to_le_bytes());
    area[4] = tags;
    area[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    for place in area[32..160].chunks_exact_mut(16) {
        place[..10].copy_from_slice(&extended(random));
    }
    fill(random, &mut area[160..]);
    area
}
