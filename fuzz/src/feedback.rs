//! What makes an input worth keeping, beside new edges.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs;
use std::hash::Hasher;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use libafl::Error;
use libafl::corpus::Testcase;
use libafl::events::{Event, EventFirer, EventWithStats};
use libafl::executors::ExitKind;
use libafl::feedbacks::{Feedback, StateInitializer};
use libafl::inputs::{BytesInput, HasMutatorBytes};
use libafl::monitors::stats::{AggregatorOps, UserStats, UserStatsValue};
use libafl::state::HasExecutions;
use libafl_bolts::Named;

use crate::executor::Seen;

/// An objective: a run ended as none before.
pub struct NewFinding(pub Rc<RefCell<Seen>>);

impl Named for NewFinding {
    fn name(&self) -> &Cow<'static, str> {
        &Cow::Borrowed("finding")
    }
}

impl<S> StateInitializer<S> for NewFinding {}

impl<EM, OT, S> Feedback<EM, BytesInput, OT, S> for NewFinding {
    fn is_interesting(
        &mut self,
        _: &mut S,
        _: &mut EM,
        _: &BytesInput,
        _: &OT,
        _: &ExitKind,
    ) -> Result<bool, Error> {
        Ok(self.0.borrow().is_new)
    }
}

/// Lets no run that ended badly into the corpus: it would end there again. Writes those that come into it to a folder.
pub struct EndedWell {
    pub seen: Rc<RefCell<Seen>>,
    pub corpus: PathBuf,
}

impl Named for EndedWell {
    fn name(&self) -> &Cow<'static, str> {
        &Cow::Borrowed("ended well")
    }
}

impl<S> StateInitializer<S> for EndedWell {}

impl<EM: EventFirer<BytesInput, S>, OT, S: HasExecutions> Feedback<EM, BytesInput, OT, S> for EndedWell {
    fn is_interesting(
        &mut self,
        _: &mut S,
        _: &mut EM,
        _: &BytesInput,
        _: &OT,
        exit: &ExitKind,
    ) -> Result<bool, Error> {
        Ok(*exit == ExitKind::Ok)
    }

    fn append_metadata(
        &mut self,
        state: &mut S,
        manager: &mut EM,
        _: &OT,
        testcase: &mut Testcase<BytesInput>,
    ) -> Result<(), Error> {
        // An instruction takes the place of a millisecond: the scheduler prefers the same inputs each time.
        testcase.set_exec_time(Duration::from_millis(self.seen.borrow().instructions));
        let edges =
            UserStats::new(UserStatsValue::Number(self.seen.borrow().edges as u64), AggregatorOps::Max);
        let event = Event::UpdateUserStats { name: "edges".into(), value: edges, phantom: PhantomData };
        manager.fire(state, EventWithStats::with_current_time(event, *state.executions()))?;
        let Some(input) = testcase.input() else { return Ok(()) };
        keep(&self.corpus, input.mutator_bytes()).map_err(Error::runtime)
    }
}

/// Writes an input to a folder, under a name that is made of its bytes.
pub fn keep(folder: &Path, input: &[u8]) -> crate::Result<()> {
    let mut hasher = twox_hash::XxHash3_64::with_seed(0);
    hasher.write(input);
    let path = folder.join(format!("{:016x}", hasher.finish()));
    if path.exists() {
        return Ok(());
    }
    // Somebody else may read the folder meanwhile.
    let unfinished = folder.join(format!(".{:016x}.{}", hasher.finish(), std::process::id()));
    let written = fs::write(&unfinished, input).and_then(|()| fs::rename(&unfinished, &path));
    written.map_err(|error| {
        format!("cannot write `{}` ({error}): name another folder with --corpus", path.display())
    })
}
