//! LibAFL's state of a campaign.

use libafl::corpus::InMemoryCorpus;
use libafl::inputs::BytesInput;
use libafl::state::StdState;
use libafl_bolts::rands::StdRand;

/// What is known of the inputs so far.
pub type State = StdState<InMemoryCorpus<BytesInput>, BytesInput, StdRand, InMemoryCorpus<BytesInput>>;
