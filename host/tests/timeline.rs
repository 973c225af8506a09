//! Going back in time: each point of the past is what it was when the run was there first.

#[path = "common/random.rs"]
mod random;
#[path = "common/random_program.rs"]
mod random_program;

use std::time::Duration;

use flatland::timeline::{Register, Target, Timeline};
use flatland::x86::{Location, Registers, WatchKind, Watchpoint};
use flatland::{EngineChoice, Event, Machine, MemorySize, Program, Stopped, Wants, devices, observe};
use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, OpAccess};
use random::{Random, seeds};
use random_program::{DATA, DATA_SIZE, random_input, random_program};

fn machine(code: &[u8], input: &[u8]) -> Machine {
    let builder = Machine::builder().engine(EngineChoice::Soft).memory(MemorySize::mib(1));
    let program = Program::from_bytes(code.to_vec()).unwrap();
    let builder = builder
        .clock_device(devices::Clock::repeatable(Duration::from_secs(1)))
        .random_device(devices::Random::repeatable(1));
    builder.arguments(["one", "two"]).input(input.to_vec()).build(&program).unwrap()
}

/// A point of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Point {
    count: u64,
    registers: Registers,
    data: Vec<u8>,
}

fn point(machine: &mut Machine) -> Point {
    let mut data = vec![0; DATA_SIZE as usize];
    machine.read_ram(DATA, &mut data);
    Point { count: machine.instructions().unwrap(), registers: machine.registers().unwrap(), data }
}

/// A step of the run that is executed once, and only forward: the point before it, and whether it made the watched
/// access.
struct Step {
    before: Point,
    hits: bool,
}

/// Executes a program once, step by step. Returns the steps, the point at the end and the output.
fn forward(code: &[u8], input: &[u8], watch: Watchpoint) -> (Vec<Step>, Point, Vec<u8>) {
    let mut machine = machine(code, input);
    let wants = Wants { steps: true, watchpoints: vec![watch], ..Wants::default() };
    let mut steps = Vec::new();
    loop {
        let before = point(&mut machine);
        match machine.resume(&wants).unwrap() {
            Event::Stopped(Stopped { watchpoint, .. }) => {
                steps.push(Step { before, hits: watchpoint.is_some() });
            }
            Event::Ended(_) => {
                // A repeated instruction whose input ends is given up in its middle.
                machine.snapshot().unwrap();
                let end = point(&mut machine);
                if end != before {
                    steps.push(Step { before, hits: false });
                }
                return (steps, end, machine.streams().output.bytes().to_vec());
            }
            event => panic!("{event:?}"),
        }
    }
}

/// A point by its index among the steps. The last one is the present.
struct Run {
    code: Vec<u8>,
    points: Vec<Point>,
    hits: Vec<bool>,
    now: usize,
}

impl Run {
    fn check(&self, machine: &mut Machine, what: &str) {
        let came = point(machine);
        let expected = &self.points[self.now];
        assert_eq!((came.count, came.registers), (expected.count, expected.registers), "{what}");
        assert!(came.data == expected.data, "{what}: memory at {}", came.count);
    }

    fn first_with(&self, count: u64) -> usize {
        self.points.partition_point(|point| point.count < count)
    }
}

/// Whether the instruction there writes this register in any case.
fn always_writes(code: &[u8], address: u32, register: Register) -> bool {
    let instruction =
        Decoder::with_ip(32, &code[address as usize..], address.into(), DecoderOptions::NONE).decode();
    if register.name() == "eflags" {
        return instruction.rflags_modified() != 0;
    }
    let mut factory = InstructionInfoFactory::new();
    factory.info(&instruction).used_registers().iter().any(|used| {
        let name = format!("{:?}", used.register().full_register32()).to_lowercase();
        name == register.name() && matches!(used.access(), OpAccess::Write | OpAccess::ReadWrite)
    })
}

const BASE: u64 = 40;

/// One random move, compared with the forward run.
fn move_randomly(
    random: &mut Random,
    timeline: &mut Timeline,
    machine: &mut Machine,
    run: &mut Run,
    watch: Watchpoint,
) -> &'static str {
    let last = run.points.len() - 1;
    let breakpoint = run.points[random.below(last as u32 + 1) as usize].registers.eip;
    let what = match random.below(7) {
        0 => {
            let count = u64::from(random.below(run.points[last].count as u32 + 2));
            timeline.go_to(machine, count).unwrap();
            run.now = if count >= run.points[last].count { last } else { run.first_with(count) };
            "go_to"
        }
        1 | 2 => {
            assert_eq!(timeline.step_back(machine).unwrap(), run.now > 0);
            run.now = run.now.saturating_sub(1);
            "step_back"
        }
        3 => {
            let wants = Wants { steps: true, ..Wants::default() };
            let event = timeline.resume_in_the_past(machine, &wants).unwrap();
            // The end of a run is no step, and comes with the last one.
            assert!(event.is_some() == (run.now < last) || run.now + 1 == last);
            run.now = last.min(run.now + 1);
            "step"
        }
        4 => {
            let wants = Wants { breakpoints: vec![breakpoint], watchpoints: vec![watch], ..Wants::default() };
            let event = timeline.resume_in_the_past(machine, &wants).unwrap();
            let next = (run.now + 1..=last)
                .find(|&at| run.points[at].registers.eip == breakpoint || run.hits[at - 1]);
            match next {
                // The end of a run is no stop, and it may lie at a breakpoint.
                Some(next) if next != last => assert!(event.is_some(), "{next} of {last}"),
                _ => {}
            }
            run.now = next.unwrap_or(last);
            "continue"
        }
        5 => {
            let target = Target::Stops { breakpoints: vec![breakpoint], watchpoints: vec![watch] };
            let found = timeline.find(machine, target).unwrap();
            run.check(machine, "find");
            let expected =
                (0..run.now).rfind(|&at| run.points[at].registers.eip == breakpoint || run.hits[at]);
            assert_eq!(found.is_some(), expected.is_some(), "back to {expected:?} from {}", run.now);
            if let (Some(found), Some(expected)) = (found, expected) {
                timeline.go_to_found(machine, &found).unwrap();
                run.now = expected;
            }
            "back to a stop"
        }
        _ => {
            let register = Register::ALL[random.below(9) as usize];
            let found = timeline.find(machine, Target::Register(register)).unwrap();
            let value = |at: usize| register.value(&run.points[at].registers);
            let writes = |at: usize| {
                let is_executed = run.points[at].count < run.points[at + 1].count;
                is_executed && always_writes(&run.code, run.points[at].registers.eip, register)
            };
            let expected = (0..run.now).rfind(|&at| value(at) != value(at + 1) || writes(at));
            assert_eq!(
                found.map(|found| found.instruction),
                expected.map(|at| Location::At(run.points[at].registers.eip)),
                "{}",
                register.name()
            );
            if let (Some(found), Some(expected)) = (found, expected) {
                timeline.go_to_found(machine, &found).unwrap();
                run.now = expected;
            }
            "back to the writer of a register"
        }
    };
    run.check(machine, what);
    what
}

#[test]
fn random_moves_come_to_what_the_run_was() {
    let mut moves = 0;
    for seed in seeds(60) {
        let mut random = Random::new(seed ^ BASE << 32);
        let code = random_program(&mut random);
        let input = random_input(&mut random);
        let watch = Watchpoint {
            address: DATA + random.below(DATA_SIZE - 256),
            len: random.below(256) + 1,
            kind: [WatchKind::Write, WatchKind::Access][random.below(2) as usize],
        };
        let (steps, end, output) = forward(&code, &input, watch);
        let mut points: Vec<_> = steps.iter().map(|step| step.before.clone()).collect();
        let hits: Vec<_> = steps.iter().map(|step| step.hits).chain([false]).collect();
        points.push(end);

        let mut machine = machine(&code, &input);
        let mut timeline = Timeline::new(&mut machine).unwrap();
        timeline.set_spacing(u64::from(random.below(300)) + 1);
        if seed % 3 == 0 {
            timeline.set_bound(64 << 10);
        }
        observe(&mut machine, &mut [&mut timeline]).unwrap();
        machine.snapshot().unwrap();
        let mut run = Run { code, now: points.len() - 1, points, hits };
        let mut trail = Vec::new();
        for _ in 0..40 {
            trail.push(format!("{}", run.now));
            let what = move_randomly(&mut random, &mut timeline, &mut machine, &mut run, watch);
            trail.push(what.into());
            moves += 1;
        }
        assert_eq!(machine.streams().output.bytes(), output, "nothing is sent again: {trail:?}");
        if seed % 3 == 0 {
            // The bound holds for all but the first, the last and the newest.
            assert!(timeline.bytes() < (64 << 10) + 3 * (1 << 20), "{}", timeline.bytes());
        }
    }
    println!("{moves} moves");
    assert_eq!(moves % 40, 0);
}
