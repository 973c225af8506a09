//! Where a run is, 400 times a second: a profile of a run whose instructions are not shown, such as one on KVM.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use flatland_machine::{Event, Machine, RunError, Wants};
use flatland_program::Symbols;

use crate::backtrace::{Backtrace, Start};
use crate::instruction::reader;
use crate::{Observer, Verdict};

/// Looks 400 times a second where the run is, and which calls led there.
pub struct Sampler {
    symbols: Option<Symbols>,
    next: Option<Instant>,
    samples: HashMap<Sample, u64>,
    /// How many have no known beginning.
    broken: u64,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Sampler").field("samples", &self.samples.len()).finish_non_exhaustive()
    }
}

/// Where the run was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sample {
    /// The guest's address, and those of the calls that led there, the innermost first.
    pub addresses: Box<[u32]>,
    /// After how many of them some are left out.
    pub gap: Option<usize>,
}

impl Sampler {
    /// The time between two samples. Where KVM emulates, the guest's thread takes 50 us for one, which is 2 % of this.
    pub const INTERVAL: Duration = Duration::from_micros(2500);
    /// The most different samples. Of others only the address is kept, and of still others nothing.
    const MOST: usize = 1 << 16;

    /// Follows calls better with the symbols of the program.
    pub fn new(symbols: Option<Symbols>) -> Self {
        Self { symbols, next: None, samples: HashMap::new(), broken: 0 }
    }

    /// The symbols that it was made with.
    pub fn symbols(&self) -> Option<&Symbols> {
        self.symbols.as_ref()
    }

    /// Each sample, and how often the run was there.
    pub fn samples(&self) -> impl Iterator<Item = (&Sample, u64)> {
        self.samples.iter().map(|(sample, count)| (sample, *count))
    }

    /// How many samples have no known beginning: their calls could not be followed up to the program's start.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    fn sample(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        let registers = machine.registers()?;
        let start = Start::of(&registers, self.symbols());
        let walk = Backtrace::walk(&start, &reader(machine.engine()));
        self.broken += u64::from(walk.broken.is_some());
        let gap = walk.left_out.map(|(after, _)| after);
        let mut sample = Sample { addresses: walk.addresses.into(), gap };
        if self.samples.len() >= Self::MOST && !self.samples.contains_key(&sample) {
            sample = Sample { addresses: [registers.eip].into(), gap: None };
            if self.samples.len() >= 2 * Self::MOST && !self.samples.contains_key(&sample) {
                sample = Sample { addresses: [].into(), gap: None };
            }
        }
        *self.samples.entry(sample).or_default() += 1;
        Ok(())
    }
}

impl Observer for Sampler {
    fn wants(&self) -> Wants {
        let next = self.next.map(|next| next.saturating_duration_since(Instant::now()));
        Wants { clock: Some(next.unwrap_or(Self::INTERVAL)), ..Wants::default() }
    }

    fn observe(&mut self, machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
        let now = Instant::now();
        let next = *self.next.get_or_insert(now);
        if *event == Event::Clock && now >= next {
            self.sample(machine)?;
            self.next = Some((next + Self::INTERVAL).max(now + Self::INTERVAL / 2));
        }
        Ok(Verdict::Continue)
    }
}
