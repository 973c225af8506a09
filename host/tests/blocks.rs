//! What a sink sees of the blocks that are executed: each instruction, as often and in the order as it is executed.

#[path = "common/random.rs"]
mod random;
#[path = "common/random_program.rs"]
mod random_program;
#[path = "common/random_run.rs"]
mod random_run;

use std::collections::BTreeMap;
use std::time::Duration;

use flatland::x86::{BlockCode, BlockSink};
use flatland::{EngineChoice, Event, Machine, MemorySize, Program, Wants, devices};
use iced_x86::{Decoder, DecoderOptions};
use random::{Random, seeds};
use random_program::{random_input, random_program};
use random_run::{run_and_go_back, run_with_random_stops};

/// The address of each instruction that was executed, in order.
#[derive(Debug, Default)]
struct Path {
    /// The addresses of the instructions of each block.
    blocks: Vec<Vec<u32>>,
    executed: Vec<u32>,
}

impl BlockSink for Path {
    fn decoded(&mut self, block: u32, code: &BlockCode) {
        assert_eq!(block as usize, self.blocks.len(), "it is the lowest number that is free");
        let decoder = Decoder::with_ip(32, code.bytes, code.address.into(), DecoderOptions::NONE);
        let addresses: Vec<_> = decoder.into_iter().map(|instruction| instruction.ip32()).collect();
        assert_eq!(addresses.len(), code.instructions as usize);
        self.blocks.push(addresses);
    }

    fn executed(&mut self, block: u32, instructions: u32) {
        assert!(instructions > 0);
        self.executed.extend(&self.blocks[block as usize][..instructions as usize]);
    }

    fn cleared(&mut self) {
        self.blocks.clear();
    }
}

fn machine(code: &[u8], input: &[u8]) -> Machine {
    let program = Program::from_bytes(code.to_vec()).unwrap();
    let builder = Machine::builder().engine(EngineChoice::Soft).memory(MemorySize::mib(1));
    let builder = builder
        .clock_device(devices::Clock::repeatable(Duration::from_secs(1)))
        .random_device(devices::Random::repeatable(1));
    builder.input(input.to_vec()).build(&program).unwrap()
}

/// The address of each instruction by steps: one is executed where the count grows.
fn path_by_steps(code: &[u8], input: &[u8]) -> Vec<u32> {
    let mut machine = machine(code, input);
    let mut path = Vec::new();
    loop {
        let count = machine.instructions().unwrap();
        let event = machine.resume(&Wants { steps: true, ..Wants::default() }).unwrap();
        if machine.instructions().unwrap() > count {
            path.push(machine.location().unwrap().inside().unwrap());
        }
        if let Event::Ended(_) = event {
            return path;
        }
    }
}

#[test]
fn each_instruction_is_seen_in_order_however_the_run_is_stopped() {
    let mut compared = 0;
    for seed in seeds(150) {
        let mut random = Random::new(seed ^ 15 << 32);
        let code = random_program(&mut random);
        let input = random_input(&mut random);
        let expected = path_by_steps(&code, &input);
        let mut machine = machine(&code, &input);
        machine.watch_blocks(Path::default()).unwrap();
        let breakpoint = *expected.get(random.below(expected.len().max(1) as u32) as usize).unwrap_or(&0);
        run_with_random_stops(&mut machine, &mut random, breakpoint);
        let seen: Path = machine.unwatch_blocks().unwrap();
        assert_eq!(seen.executed.len() as u64, machine.instructions().unwrap(), "seed {seed}");
        assert_eq!(
            seen.executed.len(),
            expected.len(),
            "seed {seed}: {:x?} {:x?}",
            seen.executed.last(),
            expected.last()
        );
        let differs = seen.executed.iter().zip(&expected).position(|(seen, expected)| seen != expected);
        if let Some(at) = differs {
            let around = at.saturating_sub(3)..expected.len().min(at + 4);
            panic!(
                "seed {seed}: at {at} {:x?} is not {:x?}",
                &seen.executed[around.clone()],
                &expected[around]
            );
        }
        compared += expected.len();
    }
    println!("{compared} instructions");
    assert!(compared > 1000);
}

#[test]
fn a_part_that_is_executed_again_is_not_seen_again() {
    let code = random_program(&mut Random::new(7));
    let expected = path_by_steps(&code, b"0123456789");
    assert!(expected.len() > 20);
    let mut machine = machine(&code, b"0123456789");
    machine.watch_blocks(Path::default()).unwrap();
    run_and_go_back(&mut machine);
    let seen: Path = machine.unwatch_blocks().unwrap();
    assert_eq!(seen.executed, expected);
}

/// Counts jumps by hand.
#[derive(Debug, Default)]
struct Jumps(BTreeMap<&'static str, u32>);

impl BlockSink for Jumps {
    fn decoded(&mut self, _: u32, _: &BlockCode) {}

    fn executed(&mut self, _: u32, _: u32) {
        *self.0.entry("executed").or_default() += 1;
    }

    fn jumped(&mut self) {
        *self.0.entry("jumped").or_default() += 1;
    }

    fn cleared(&mut self) {}
}

#[test]
fn a_sink_is_told_of_snapshots_and_gone_when_it_is_taken() {
    // 0: inc eax; 1: jmp 0
    let mut machine = machine(&[0x40, 0xeb, 0xfd], b"");
    let snapshot = machine.snapshot().unwrap();
    machine.watch_blocks(Jumps::default()).unwrap();
    let until = |count| Wants { instructions: Some(count), ..Wants::default() };
    machine.resume(&until(10)).unwrap();
    machine.restore(&snapshot, flatland::Streams::none()).unwrap();
    machine.resume(&until(10)).unwrap();
    assert!(machine.unwatch_blocks::<Path>().is_none(), "it is of another type");
    machine.watch_blocks(Jumps::default()).unwrap();
    machine.restore(&snapshot, flatland::Streams::none()).unwrap();
    machine.resume(&until(10)).unwrap();
    let seen: Jumps = machine.unwatch_blocks().unwrap();
    assert_eq!(seen.0, BTreeMap::from([("executed", 5), ("jumped", 1)]));
    assert!(machine.unwatch_blocks::<Jumps>().is_none());
}
