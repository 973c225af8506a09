//! A guest as LibAFL's executor.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use libafl::executors::{Executor, ExitKind, HasObservers};
use libafl::inputs::{BytesInput, HasMutatorBytes};
use libafl::observers::{CanTrack, ExplicitTracking, StdMapObserver};
use libafl::state::HasExecutions;
use libafl_bolts::tuples::RefIndexable;

use crate::Result;
use crate::edges::Edges;
use crate::findings::{Findings, Names};
use crate::target::{Bad, Target};

/// The map of edges.
pub type Map = ExplicitTracking<StdMapObserver<'static, u8, false>, true, false>;

/// What an executor sees of a run.
pub type Observers = (Map, ());

/// Runs a guest, and keeps what it finds.
pub struct GuestExecutor {
    target: Target,
    observers: Observers,
    names: Names,
    findings: Findings,
    seen: Rc<RefCell<Seen>>,
}

/// What the feedbacks ask of the last run.
#[derive(Debug, Default)]
pub struct Seen {
    /// Whether it ended as no run before.
    pub is_new: bool,
    /// How many edges are known.
    pub edges: usize,
    /// How many instructions the run had.
    pub instructions: u64,
    /// What is to be said of the findings, in order.
    pub said: Vec<String>,
}

impl GuestExecutor {
    pub fn new(mut target: Target, findings: PathBuf) -> Result<Self> {
        let size = target.map_size();
        target.watch(Edges::new(size))?;
        let symbols = target.program().symbols().map_err(|error| error.to_string())?;
        let map = StdMapObserver::owned("edges and depths", vec![0; size]).track_indices();
        Ok(Self {
            target,
            observers: (map, ()),
            names: Names::new(symbols),
            findings: Findings::new(findings),
            seen: Rc::default(),
        })
    }

    /// What the feedbacks ask.
    pub fn seen(&self) -> Rc<RefCell<Seen>> {
        self.seen.clone()
    }

    /// The map of the edges of a run.
    pub fn map(&self) -> &Map {
        &self.observers.0
    }

    fn run(&mut self, input: &[u8]) -> Result<ExitKind> {
        let outcome = self.target.run(input)?;
        let edges = self.target.sink::<Edges>();
        edges.take(self.observers.0.as_mut());
        let mut seen = self.seen.borrow_mut();
        seen.edges = edges.known();
        seen.is_new = false;
        seen.instructions = self.target.machine().instructions().unwrap_or_default();
        let Some(bad) = Bad::of(&outcome) else { return Ok(ExitKind::Ok) };
        let name = self.names.of(bad, &outcome, &mut self.target)?;
        if self.findings.is_new(&name) {
            seen.is_new = true;
            seen.said.extend(self.findings.keep(&name, input, &mut self.target, &mut self.names)?);
        }
        self.target.sink::<Edges>().forget();
        Ok(if bad == Bad::Hang { ExitKind::Timeout } else { ExitKind::Crash })
    }
}

impl HasObservers for GuestExecutor {
    type Observers = Observers;

    fn observers(&self) -> RefIndexable<&Observers, Observers> {
        RefIndexable::from(&self.observers)
    }

    fn observers_mut(&mut self) -> RefIndexable<&mut Observers, Observers> {
        RefIndexable::from(&mut self.observers)
    }
}

impl<EM, S: HasExecutions, Z> Executor<EM, BytesInput, S, Z> for GuestExecutor {
    fn run_target(
        &mut self,
        _: &mut Z,
        state: &mut S,
        _: &mut EM,
        input: &BytesInput,
    ) -> Result<ExitKind, libafl::Error> {
        *state.executions_mut() += 1;
        self.run(input.mutator_bytes()).map_err(libafl::Error::runtime)
    }
}
