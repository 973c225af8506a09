//! What the soft engine shows of comparisons: the operands that steps and registers tell, and no other run.

#[path = "common/random.rs"]
mod random;
#[path = "common/random_program.rs"]
mod random_program;

use std::collections::HashMap;
use std::time::Duration;

use flatland::x86::instruction::{Read, decode, value};
use flatland::x86::{Comparison, Operands, Registers};
use flatland::{EngineChoice, Event, Machine, MemorySize, Program, Wants, devices};
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use random::{Random, seeds};
use random_program::{random_input, random_program};

fn machine(code: &[u8], input: &[u8]) -> Machine {
    let program = Program::from_bytes(code.to_vec()).unwrap();
    let builder = Machine::builder().engine(EngineChoice::Soft).memory(MemorySize::mib(1));
    let builder = builder
        .clock_device(devices::Clock::repeatable(Duration::from_secs(1)))
        .random_device(devices::Random::repeatable(1));
    builder.input(input.to_vec()).build(&program).unwrap()
}

/// What is compared, by looking before each step. An instruction that is repeated is one.
fn by_steps(code: &[u8], input: &[u8]) -> Vec<Comparison> {
    let mut machine = machine(code, input);
    let mut times = HashMap::<u32, u8>::new();
    let mut comparisons = Vec::new();
    let mut repeated = None;
    loop {
        let registers = machine.registers().unwrap();
        let read = |address, bytes: &mut [u8]| machine.read_ram(address, bytes);
        let instruction = decode(registers.eip, &read).map(|(instruction, _)| instruction);
        let count = machine.instructions();
        if let Some(instruction) = instruction
            && repeated != Some((registers.eip, count))
            && let Some(operands) = operands(&instruction, &registers, &read)
        {
            let times = times.entry(registers.eip).or_default();
            *times += u8::from(*times <= Comparison::OF_EACH);
            if *times <= Comparison::OF_EACH && comparisons.len() < Comparison::AT_MOST {
                comparisons.push(Comparison { address: registers.eip, operands });
            }
        }
        // A repetition is counted when it is through.
        repeated = Some((registers.eip, count));
        if let Event::Ended(_) = machine.resume(&Wants { steps: true, ..Wants::default() }).unwrap() {
            return comparisons;
        }
    }
}

fn operands(instruction: &Instruction, registers: &Registers, read: Read) -> Option<Operands> {
    match instruction.mnemonic() {
        Mnemonic::Cmp | Mnemonic::Sub | Mnemonic::Xor | Mnemonic::Test => {}
        Mnemonic::Cmpsb | Mnemonic::Cmpsw | Mnemonic::Cmpsd => {
            let repeats = instruction.has_repe_prefix() || instruction.has_repne_prefix();
            let count = if repeats { registers.ecx as usize } else { 1 };
            let len = count.saturating_mul(instruction.memory_size().size()).min(Comparison::MOST);
            let text = |address| {
                let mut bytes = [0; Comparison::MOST];
                (len > 0 && read(address, &mut bytes[..len]) == len).then_some(bytes)
            };
            let (first, second) = (text(registers.esi)?, text(registers.edi)?);
            return Some(Operands::Bytes { len: len as u8, first, second });
        }
        _ => return None,
    }
    let is_register = |operand| instruction.op_kind(operand) == OpKind::Register;
    let (one, two) = (instruction.op0_register(), instruction.op1_register());
    if is_register(0) && is_register(1) && one == two || one == Register::ESP {
        return None;
    }
    let width = if is_register(0) { one.size() } else { instruction.memory_size().size() };
    let operand = |operand| match instruction.op_kind(operand) {
        OpKind::Register => value(instruction.op_register(operand), registers),
        OpKind::Memory => {
            let part = |register, _, _| value(register, registers).map(u64::from);
            let address = instruction.virtual_address(operand, 0, part)? as u32;
            let mut bytes = [0; 4];
            (read(address, &mut bytes[..width]) == width).then(|| u32::from_le_bytes(bytes))
        }
        _ => Some(instruction.immediate(operand) as u32),
    };
    let is_constant = !matches!(instruction.op_kind(1), OpKind::Register | OpKind::Memory);
    let part = u32::MAX >> (32 - 8 * width);
    let (first, second) = (operand(0)? & part, operand(1)? & part);
    Some(Operands::Numbers { width: width as u8, first, second, is_constant })
}

#[test]
fn operands_are_those_that_registers_and_memory_tell_and_the_run_is_the_same() {
    let mut compared = 0;
    for seed in seeds(300) {
        let mut random = Random::new(seed ^ 16 << 32);
        let code = random_program(&mut random);
        let input = random_input(&mut random);
        let mut plain = machine(&code, &input);
        let mut watched = machine(&code, &input);
        watched.watch_comparisons(true).unwrap();
        assert_eq!(plain.run().unwrap(), watched.run().unwrap(), "seed {seed}");
        assert_eq!(plain.instructions(), watched.instructions(), "seed {seed}");
        assert_eq!(plain.registers().unwrap(), watched.registers().unwrap(), "seed {seed}");
        let ram = |machine: &Machine| {
            let mut ram = vec![0; 1 << 20];
            machine.read_ram(0, &mut ram);
            ram
        };
        assert!(ram(&plain) == ram(&watched), "seed {seed}");
        let seen = watched.take_comparisons();
        let expected = by_steps(&code, &input);
        let differs = seen.iter().zip(&expected).position(|(seen, expected)| seen != expected);
        let at = differs.unwrap_or(seen.len().min(expected.len()));
        assert!(seen == expected, "seed {seed}: at {at} {:x?} is not {:x?}", seen.get(at), expected.get(at));
        compared += seen.len();
        assert_eq!(watched.take_comparisons(), []);
    }
    println!("{compared} comparisons");
    assert!(compared > 1000);
}

#[test]
fn an_instruction_is_seen_so_often_and_after_that_anew() {
    // mov ecx, 100; 5: cmp ecx, 7; loop 5; in al, 0xe9; jmp 0
    let code = [0xb9, 100, 0, 0, 0, 0x83, 0xf9, 7, 0xe2, 0xfb, 0xe4, 0xe9, 0xeb, 0xf2];
    let mut machine = machine(&code, b"");
    machine.watch_comparisons(true).unwrap();
    for _ in 0..2 {
        let start = machine.snapshot().unwrap();
        machine.run().unwrap();
        let seen = machine.take_comparisons();
        assert_eq!(seen.len(), usize::from(Comparison::OF_EACH));
        let operands = Operands::Numbers { width: 4, first: 100, second: 7, is_constant: true };
        assert_eq!(seen[0], Comparison { address: 5, operands });
        machine.restore(&start, flatland::Streams::none()).unwrap();
    }
    machine.watch_comparisons(false).unwrap();
    machine.run().unwrap();
    assert_eq!(machine.take_comparisons(), []);
}
