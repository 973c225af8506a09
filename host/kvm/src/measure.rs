//! Measures how fast this KVM is: whether it runs the guest on the processor or emulates it cannot be asked for.

use std::time::{Duration, Instant};

use flatland_x86::{EngineError, Location, Position, Processor, Registers, Speed};

use super::exception_page::LOOP;
use super::{Kind, KvmEngine};

/// The instructions of a long loop. An emulating KVM takes half a millisecond for them.
const INSTRUCTIONS: u32 = 2_000;

/// Each time is the least of so many.
const ROUNDS: u32 = 3;

impl KvmEngine {
    /// See [`flatland_x86::Engine::measure`].
    pub(super) fn measure_speed(&mut self) -> Result<Speed, EngineError> {
        let (processor, position) = self.state()?;
        let times = self.time_loop(1).and_then(|short| Ok((short, self.time_loop(INSTRUCTIONS / 2)?)));
        self.set_state(&processor, position)?;
        let (short, long) = times?;
        let loop_time = long.saturating_sub(short).max(Duration::from_nanos(1));
        Ok(Speed {
            instruction: loop_time.as_secs_f64() / f64::from(INSTRUCTIONS),
            exit: short.as_secs_f64(),
        })
    }

    /// The time of a loop with this many iterations of two instructions, with the entry and the exit.
    fn time_loop(&mut self, iterations: u32) -> Result<Duration, EngineError> {
        let mut processor = Processor::at_entry(self.map.ram());
        processor.registers = Registers { eip: LOOP, ecx: iterations, ..processor.registers };
        let position = Position { location: Location::At(LOOP), was_reported: false };
        let mut least = Duration::MAX;
        for _ in 0..ROUNDS {
            self.set_state(&processor, position)?;
            let mut is_interrupted = false;
            let start = Instant::now();
            while let Kind::Interrupted = self.run_vcpu()? {
                is_interrupted = true;
            }
            least = least.min(start.elapsed());
            if is_interrupted {
                self.entrance.request_again();
            }
        }
        Ok(least)
    }
}
