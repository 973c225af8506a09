//! The loop of LibAFL around a guest.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libafl::corpus::{Corpus, InMemoryCorpus};
use libafl::events::{EventFirer, EventReceiver, ProgressReporter, SendExiting};
use libafl::feedbacks::MaxMapFeedback;
use libafl::fuzzer::{Evaluator, Fuzzer, StdFuzzer};
use libafl::generators::RandBytesGenerator;
use libafl::inputs::BytesInput;
use libafl::mutators::{HavocScheduledMutator, Tokens, havoc_mutations, tokens_mutations};
use libafl::stages::StdMutationalStage;
use libafl::state::{HasCorpus, HasExecutions, HasMaxSize, StdState};
use libafl::{HasMetadata, feedback_and_fast};
use libafl_bolts::rands::StdRand;
use libafl_bolts::tuples::{Merge, tuple_list};

use crate::compare::Compare;
use crate::executor::GuestExecutor;
use crate::feedback::{EndedWell, NewFinding};
use crate::scheduler::Favored;
use crate::state::State;
use crate::target::{Settings, Target};
use crate::{Result, screen};

/// How to fuzz, and how long.
#[derive(Clone, Debug)]
pub struct Campaign {
    pub settings: Settings,
    /// Where inputs are read from at the start, and the interesting ones are kept.
    pub corpus: PathBuf,
    /// Further folders or files to begin with.
    pub seeds: Vec<PathBuf>,
    pub findings: PathBuf,
    /// AFL's format: a line for each token, `name="value"`.
    pub dictionary: Option<PathBuf>,
    pub seed: u64,
    pub max_len: usize,
    pub runs: Option<u64>,
    pub time: Option<Duration>,
}

/// Whether somebody wants it to end.
pub static IS_STOPPED: AtomicBool = AtomicBool::new(false);

/// Ctrl-C ends a campaign in good order.
pub fn stop_at_interrupt() {
    // Where there is no Ctrl-C, there are the limits.
    let _ = ctrlc::set_handler(|| IS_STOPPED.store(true, Ordering::Relaxed));
}

impl Campaign {
    /// Fuzzes until a limit is reached, or [`IS_STOPPED`].
    pub fn run<EM>(&self, manager: &mut EM) -> Result<()>
    where
        EM: EventFirer<BytesInput, State>
            + EventReceiver<BytesInput, State>
            + ProgressReporter<State>
            + SendExiting,
    {
        let start = Instant::now();
        let mut executor = GuestExecutor::new(Target::open(&self.settings)?, self.findings.clone())?;
        let seen = executor.seen();

        let edges = MaxMapFeedback::new(executor.map());
        let ended_well = EndedWell { seen: seen.clone(), corpus: self.corpus.clone() };
        let mut feedback = feedback_and_fast!(ended_well, edges);
        let mut objective = NewFinding(seen.clone());
        let mut state = StdState::new(
            StdRand::with_seed(self.seed),
            InMemoryCorpus::new(),
            InMemoryCorpus::new(),
            &mut feedback,
            &mut objective,
        )
        .map_err(said)?;
        state.set_max_size(self.max_len);
        if let Some(path) = &self.dictionary {
            let tokens = Tokens::from_file(path)
                .map_err(|error| format!("`{}` is no dictionary: {error}", path.display()))?;
            state.add_metadata(tokens);
        }
        let mut fuzzer = StdFuzzer::new(Favored::new(), feedback, objective);
        self.load(&mut fuzzer, &mut executor, &mut state, manager)?;

        let changes = || HavocScheduledMutator::new(havoc_mutations().merge(tokens_mutations()));
        let compare = Compare::new(Target::open(&self.settings)?, changes())?;
        let mut stages = tuple_list!(compare, StdMutationalStage::new(changes()));
        while !IS_STOPPED.load(Ordering::Relaxed)
            && self.runs.is_none_or(|runs| *state.executions() < runs)
            && self.time.is_none_or(|time| start.elapsed() < time)
        {
            manager.maybe_report_progress(&mut state, Duration::from_secs(1)).map_err(said)?;
            fuzzer.fuzz_one(&mut stages, &mut executor, &mut state, manager).map_err(said)?;
            seen.borrow_mut().said.drain(..).for_each(|line| screen::say(&line));
        }
        manager.report_progress(&mut state).map_err(said)
    }

    /// Runs what there is to begin with.
    fn load<EM, Z>(
        &self,
        fuzzer: &mut Z,
        executor: &mut GuestExecutor,
        state: &mut State,
        manager: &mut EM,
    ) -> Result<()>
    where
        Z: Evaluator<GuestExecutor, EM, BytesInput, State>,
        EM: EventFirer<BytesInput, State>,
    {
        for path in std::iter::once(&self.corpus).chain(&self.seeds) {
            for file in files(path)? {
                let mut input = fs::read(&file)
                    .map_err(|error| format!("cannot read `{}` ({error}): remove it", file.display()))?;
                input.truncate(self.max_len);
                fuzzer.evaluate_input(state, executor, manager, &BytesInput::new(input)).map_err(said)?;
            }
        }
        if state.corpus().count() == 0 {
            let most = NonZero::new(self.max_len.min(32)).unwrap_or(NonZero::<usize>::MIN);
            state
                .generate_initial_inputs(fuzzer, executor, &mut RandBytesGenerator::new(most), manager, 16)
                .map_err(said)?;
        }
        if state.corpus().count() == 0 {
            return Err(
                "the guest ended badly on each input at the start: give one that it takes with --seeds"
                    .into(),
            );
        }
        Ok(())
    }
}

/// The files in a folder and in its folders, or the file itself, sorted by their paths. What is not there has none.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let cannot_read = |error| format!("cannot read `{}` ({error}): name another one", path.display());
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Ok(vec![path.to_owned()]),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot_read(error)),
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot_read)? {
        let entry = entry.map_err(cannot_read)?;
        // Other fuzzers keep what is theirs under such names.
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.extend(files(&path)?);
    }
    Ok(all)
}

fn said(error: libafl::Error) -> String {
    error.to_string()
}
