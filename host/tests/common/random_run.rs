//! Runs that are stopped, and go back, as a debugger makes them.

use flatland::timeline::Timeline;
use flatland::{Event, Machine, Wants, observe};

use super::random::Random;

/// Runs to the end, and stops at random: at the breakpoint, after a step, at a transfer, or at a count of instructions.
pub fn run_with_random_stops(machine: &mut Machine, random: &mut Random, breakpoint: u32) {
    let mut count = 0;
    loop {
        count += u64::from(random.below(300)) + 1;
        let wants = match random.below(4) {
            0 => Wants { breakpoints: vec![breakpoint], ..Wants::default() },
            1 => Wants { steps: true, ..Wants::default() },
            2 => Wants { transfers: true, ..Wants::default() },
            _ => Wants { instructions: Some(count), ..Wants::default() },
        };
        if let Event::Ended(_) = machine.resume(&wants).unwrap() {
            return;
        }
        count = machine.instructions().unwrap();
    }
}

/// Runs to the end, and goes back on the way: a part is executed again.
pub fn run_and_go_back(machine: &mut Machine) {
    let mut timeline = Timeline::new(machine).unwrap();
    machine.resume(&Wants { instructions: Some(15), ..Wants::default() }).unwrap();
    timeline.go_to(machine, 3).unwrap();
    timeline.step_back(machine).unwrap();
    observe(machine, &mut [&mut timeline]).unwrap();
}
