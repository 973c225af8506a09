//! Runs that move between the two engines at random, compared with the soft engine alone.

use flatland::MemoryMap;
use flatland::kvm::{GuestRam, KvmEngine};
use flatland::soft::SoftEngine;
use flatland::x86::{DebugStop, End as Ended, Engine, Exit, Settled, Stops};

use super::random::{Random, seeds};
use super::random_streams::Streams;
use super::subject::{After, Before, Bus, End, Kvm, MOST_INSTRUCTIONS, Soft, Subject, after, ram_size, set};
use super::verdict::Tally;

/// KVM and the soft engine with the same RAM. A case begins on one of them, and moves after a few instructions.
struct Moved {
    random: Random,
    moves: u64,
}

impl Subject for Moved {
    /// What is known of KVM is true of a run that is on KVM half of the time.
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn run(&mut self, before: &Before) -> After {
        let map = MemoryMap::from(ram_size());
        let ram = GuestRam::new(map.ram()).expect("there is memory");
        // SAFETY: of the two engines only one runs at a time, and the other one is used in `set_processor` only.
        let kvm = unsafe { KvmEngine::with_ram(map.clone(), ram.clone()) };
        let mut kvm = kvm.unwrap_or_else(|error| panic!("this test needs KVM, and {error}"));
        // SAFETY: as above.
        let mut soft = SoftEngine::with_ram(map, unsafe { ram.share() });
        let mut engines: [&mut dyn Engine; 2] = [&mut kvm, &mut soft];
        if self.random.one_in(2) {
            engines.reverse();
        }
        set(&mut *engines[0], before);
        let mut bus = Bus::default();
        let mut left = MOST_INSTRUCTIONS;
        let end = loop {
            let (steps, exits) = (self.random.below(12) + 1, self.random.below(4) + 1);
            match run_for(&mut *engines[0], &mut bus, steps, exits, &mut left) {
                Some(end) => break end,
                None if left == 0 => break End::Endless,
                None => {}
            }
            let [from, to] = &mut engines;
            let Settled { sent, end, stop: _ } = from.settle(usize::MAX).expect("it settles");
            sent.iter().for_each(|sent| bus.note(sent.port, sent.width, false, &sent.data));
            match end {
                Some(Ended::Halt) => break End::Halt,
                Some(Ended::Fault(fault)) => break End::Fault(fault),
                None => {}
            }
            let (processor, position) = from.processor().expect("it gives its state");
            to.ram_was_written();
            to.set_processor(&processor, position).expect("the other one takes it");
            engines.reverse();
            self.moves += 1;
        };
        after(&mut *engines[0], end, bus)
    }
}

/// Runs for so many steps or exits, and counts the steps down. `None` if the case goes on.
fn run_for(
    engine: &mut (impl Engine + ?Sized),
    bus: &mut Bus,
    steps: u32,
    exits: u32,
    left: &mut u64,
) -> Option<End> {
    // Not step by step when it is about exits: they have shortcuts then.
    let by_steps = !steps.is_multiple_of(7);
    engine.set_stops(&Stops { step: by_steps, ..Stops::default() }).expect("both step");
    let (mut done, mut exited) = (0, 0);
    while done < steps && exited < exits && *left > 0 {
        match engine.run().expect("the engine can do its work") {
            Exit::In { port, width, data } => {
                bus.input(port, width, data);
                exited += 1;
            }
            Exit::Out { port, width, data } => {
                bus.note(port, width, false, data);
                exited += 1;
            }
            Exit::Halt => return Some(End::Halt),
            Exit::Fault(fault) => return Some(End::Fault(fault)),
            Exit::Interrupted => return Some(End::Lost),
            Exit::Debug(stop) => {
                assert_eq!(stop, DebugStop::Step);
                done += 1;
                *left -= 1;
            }
        }
        if bus.bytes > super::subject::MOST_TRANSFERRED {
            return Some(End::Endless);
        }
    }
    None
}

/// Flags that the manual leaves undefined are not compared: the two engines compute them differently.
#[test]
fn random_streams_that_move() {
    if Kvm::to_compare_with().is_none() {
        return;
    }
    let streams = Streams::that_suit(&mut Kvm);
    let mut moved = Moved { random: Random::new(1), moves: 0 };
    let mut tally = Tally::default();
    for seed in seeds(60) {
        tally.case(seed, &streams.stream(seed), &mut Soft, &mut moved);
    }
    println!("{} moves", moved.moves);
    tally.finish("(f) streams of random valid instructions that move between soft and kvm, and soft alone");
}
