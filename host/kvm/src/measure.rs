//! Measures how fast this KVM is: whether it runs the guest on the processor or emulates it cannot be asked for.

use std::time::{Duration, Instant};

use flatland_x86::{EngineError, Location, Position, Processor, Registers, Speed};

use super::exception_page::LOOP;
use super::registers::kvm_regs_of;
use super::{Kind, KvmEngine};

/// The instructions of a long loop. An emulating KVM takes half a millisecond for them.
const INSTRUCTIONS: u32 = 2_000;

/// Each time is the least of so many, or of as many as this time is enough for.
const ROUNDS: u32 = 3;
const MOST: Duration = Duration::from_millis(3);

impl KvmEngine {
    /// See [`flatland_x86::Engine::measure`].
    pub(super) fn measure_speed(&mut self) -> Result<Speed, EngineError> {
        // Now, as long as they are this vCPU's.
        self.reset_msrs()?;
        let (processor, position) = self.state()?;
        let times = self.times(&processor);
        self.set_state(&processor, position)?;
        let (short, long) = times?;
        let loop_time = long.saturating_sub(short).max(Duration::from_nanos(1));
        Ok(Speed {
            instruction: loop_time.as_secs_f64() / f64::from(INSTRUCTIONS),
            exit: short.as_secs_f64(),
        })
    }

    /// The times of a loop of one iteration and of a long one, with the entry and the exit.
    fn times(&mut self, now: &Processor) -> Result<(Duration, Duration), EngineError> {
        // The model-specific registers do not matter, and take long to reset.
        let entry = Processor { msrs: now.msrs.clone(), ..Processor::at_entry(self.map.ram()) };
        self.set_state(&entry, Position { location: Location::At(LOOP), was_reported: false })?;
        let mut least = |iterations: u32| {
            let registers = Registers { eip: LOOP, ecx: iterations, ..entry.registers };
            let (mut least, mut left) = (Duration::MAX, MOST);
            for _ in 0..ROUNDS {
                self.set_kvm_regs(&kvm_regs_of(&registers))?;
                let time = self.time_run()?;
                (least, left) = (least.min(time), left.saturating_sub(time));
                if left.is_zero() {
                    break;
                }
            }
            Ok(least)
        };
        // The first run of all takes longer.
        least(1)?;
        Ok((least(1)?, least(INSTRUCTIONS / 2)?))
    }

    /// Runs to the `hlt`.
    fn time_run(&mut self) -> Result<Duration, EngineError> {
        let mut is_interrupted = false;
        let start = Instant::now();
        while let Kind::Interrupted = self.run_vcpu()? {
            is_interrupted = true;
        }
        let time = start.elapsed();
        if is_interrupted {
            self.entrance.request_again();
        }
        Ok(time)
    }
}
