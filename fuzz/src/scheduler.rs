//! Which input is worked on next.

use std::collections::{BTreeMap, HashSet};

use libafl::HasMetadata;
use libafl::corpus::{Corpus, CorpusId};
use libafl::feedbacks::MapIndexesMetadata;
use libafl::inputs::{BytesInput, HasMutatorBytes};
use libafl::schedulers::{QueueScheduler, Scheduler};
use libafl::state::{HasCorpus, HasRand};
use libafl_bolts::rands::Rand;

use crate::state::State;

/// A queue that mostly leaves out the inputs whose edges others take that are shorter and quicker.
///
/// LibAFL's `MinimizerScheduler` does this too, but chooses in the order of a hash map, which is another one in each
/// process. One seed is to do the same each time.
#[derive(Debug)]
pub struct Favored {
    queue: QueueScheduler,
    /// The best input for each edge, and how good it is: less is better.
    best: BTreeMap<usize, (u64, CorpusId)>,
    /// Inputs that together take all edges.
    favored: HashSet<CorpusId>,
    is_changed: bool,
}

/// How often another one is left out.
const LEFT_OUT: f64 = 0.95;

impl Favored {
    pub fn new() -> Self {
        Self {
            queue: QueueScheduler::new(),
            best: BTreeMap::new(),
            favored: HashSet::new(),
            is_changed: false,
        }
    }

    /// The edges that an input takes.
    fn edges(state: &State, id: CorpusId) -> Result<Vec<usize>, libafl::Error> {
        let testcase = state.corpus().get(id)?.borrow();
        Ok(testcase.metadata::<MapIndexesMetadata>()?.list.clone())
    }

    /// Chooses the best input for each edge that no other one takes that is chosen.
    fn choose(&mut self, state: &State) -> Result<(), libafl::Error> {
        self.favored.clear();
        let mut taken = HashSet::new();
        for (edge, (_, id)) in &self.best {
            if !taken.contains(edge) {
                taken.extend(Self::edges(state, *id)?);
                self.favored.insert(*id);
            }
        }
        Ok(())
    }
}

impl Scheduler<BytesInput, State> for Favored {
    fn on_add(&mut self, state: &mut State, id: CorpusId) -> Result<(), libafl::Error> {
        self.queue.on_add(state, id)?;
        let cost = {
            let testcase = state.corpus().get(id)?.borrow();
            let len = testcase.input().as_ref().map_or(0, |input| input.mutator_bytes().len() as u64);
            let instructions = testcase.exec_time().map_or(0, |time| time.as_millis() as u64);
            instructions.saturating_mul(len + 1)
        };
        for edge in Self::edges(state, id)? {
            let best = self.best.entry(edge).or_insert((u64::MAX, id));
            if cost < best.0 {
                *best = (cost, id);
                self.is_changed = true;
            }
        }
        Ok(())
    }

    fn next(&mut self, state: &mut State) -> Result<CorpusId, libafl::Error> {
        if std::mem::take(&mut self.is_changed) {
            self.choose(state)?;
        }
        loop {
            let id = self.queue.next(state)?;
            if self.favored.contains(&id) || !state.rand_mut().coinflip(LEFT_OUT) {
                return Ok(id);
            }
        }
    }

    fn set_current_scheduled(
        &mut self,
        state: &mut State,
        next: Option<CorpusId>,
    ) -> Result<(), libafl::Error> {
        self.queue.set_current_scheduled(state, next)
    }
}
