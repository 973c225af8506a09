//! A stage that puts one operand of a comparison into the input where it finds the other.

use libafl::corpus::CorpusId;
use libafl::events::EventFirer;
use libafl::fuzzer::Evaluator;
use libafl::inputs::{BytesInput, HasMutatorBytes};
use libafl::mutators::token_mutations::I2SRandReplaceBinonly;
use libafl::mutators::{HavocScheduledMutator, I2SRandReplace, MutationResult, Mutator};
use libafl::observers::cmp::CmpValuesMetadata;
use libafl::stages::{Restartable, Stage};
use libafl::state::HasCurrentTestcase;
use libafl::{Error, HasMetadata};
use libafl_bolts::tuples::{tuple_list, tuple_list_type};

use crate::comparisons;
use crate::state::State;
use crate::target::Target;

type Operands = HavocScheduledMutator<tuple_list_type!(I2SRandReplace, I2SRandReplaceBinonly)>;

/// The operands are those of the input itself at first, and of mutations of it. A checksum that matches is one that a mutation
/// breaks, and that the comparison repairs.
pub struct Compare<M> {
    target: Target,
    operands: Operands,
    mutator: M,
}

/// How often the operands of the input itself are tried.
const OF_INPUT: usize = 64;

/// How many mutations of it are looked at, and how often the operands of each are tried.
const MUTATIONS: usize = 4;
const OF_MUTATION: usize = 4;

impl<M> Compare<M> {
    /// The mutator makes the mutations.
    pub fn new(mut target: Target, mutator: M) -> crate::Result<Self> {
        target.machine().watch_comparisons(true).map_err(|error| error.to_string())?;
        let operands = HavocScheduledMutator::with_max_stack_pow(
            tuple_list!(I2SRandReplace::new(), I2SRandReplaceBinonly::new()),
            2,
        );
        Ok(Self { target, operands, mutator })
    }

    /// Runs this input with operands of its comparisons put in place of others.
    fn replace<E, EM, Z>(
        &mut self,
        input: &BytesInput,
        times: usize,
        (fuzzer, executor, state, manager): (&mut Z, &mut E, &mut State, &mut EM),
    ) -> Result<(), Error>
    where
        EM: EventFirer<BytesInput, State>,
        Z: Evaluator<E, EM, BytesInput, State>,
    {
        let list = comparisons::of(&mut self.target, input.mutator_bytes()).map_err(Error::runtime)?;
        state.add_metadata(CmpValuesMetadata { list });
        for _ in 0..times {
            let mut replaced = input.clone();
            if self.operands.mutate(state, &mut replaced)? == MutationResult::Mutated {
                let (_, id): (_, Option<CorpusId>) =
                    fuzzer.evaluate_filtered(state, executor, manager, &replaced)?;
                Mutator::<BytesInput, _>::post_exec(&mut self.operands, state, id)?;
            }
        }
        Ok(())
    }
}

impl<E, EM, M, Z> Stage<E, EM, State, Z> for Compare<M>
where
    EM: EventFirer<BytesInput, State>,
    M: Mutator<BytesInput, State>,
    Z: Evaluator<E, EM, BytesInput, State>,
{
    fn perform(
        &mut self,
        fuzzer: &mut Z,
        executor: &mut E,
        state: &mut State,
        manager: &mut EM,
    ) -> Result<(), Error> {
        let input = state.current_input_cloned()?;
        // The first time that an input is worked on, the second, the fourth, and so on: it takes longer than a run.
        let is_due = (state.current_testcase()?.scheduled_count() + 1).is_power_of_two();
        if is_due {
            self.replace(&input, OF_INPUT, (fuzzer, executor, state, manager))?;
        }
        for _ in 0..MUTATIONS {
            let mut mutated = input.clone();
            if self.mutator.mutate(state, &mut mutated)? == MutationResult::Mutated {
                self.replace(&mutated, OF_MUTATION, (fuzzer, executor, state, manager))?;
            }
        }
        Ok(())
    }
}

impl<M> Restartable<State> for Compare<M> {
    fn should_restart(&mut self, _: &mut State) -> Result<bool, Error> {
        Ok(true)
    }

    fn clear_progress(&mut self, _: &mut State) -> Result<(), Error> {
        Ok(())
    }
}
