//! The loop of LibAFL around a parser.

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use flatland::words::shell_word;
use libafl::corpus::{Corpus, InMemoryCorpus, InMemoryOnDiskCorpus};
use libafl::events::SimpleEventManager;
use libafl::executors::{ExitKind, InProcessExecutor};
use libafl::feedbacks::{Feedback, MaxMapFeedback, StateInitializer};
use libafl::fuzzer::{Evaluator, Fuzzer, StdFuzzer};
use libafl::inputs::{BytesInput, HasMutatorBytes};
use libafl::monitors::NopMonitor;
use libafl::mutators::{HavocScheduledMutator, havoc_mutations};
use libafl::observers::{CanTrack, HitcountsMapObserver, StdMapObserver};
use libafl::schedulers::{IndexesLenTimeMinimizerScheduler, QueueScheduler};
use libafl::stages::StdMutationalStage;
use libafl::state::{HasCorpus, HasExecutions, HasMaxSize, StdState};
use libafl::{Error, HasObjective};
use libafl_bolts::Named;
use libafl_bolts::rands::StdRand;
use libafl_bolts::tuples::tuple_list;

use crate::counters::Counters;
use crate::targets::{self, Parser};
use crate::{Result, TIME_LIMIT};

/// How to fuzz, and how long.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Where inputs are kept: what was found for a parser in a folder of its name, and interesting ones in its `corpus`.
    pub folder: PathBuf,
    /// ELF files to begin with.
    pub elves: Vec<PathBuf>,
    pub seed: u64,
    pub time: Duration,
}

/// What the last panic said, wherever it was.
static PANIC: Mutex<Option<Panic>> = Mutex::new(None);

#[derive(Clone, Debug)]
struct Panic {
    /// The file's name and the line.
    place: String,
    message: String,
}

fn last_panic() -> MutexGuard<'static, Option<Panic>> {
    PANIC.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Campaign {
    /// Fuzzes a parser. Returns whether nothing was found.
    pub fn run(&self, parser: &Parser) -> Result<bool> {
        let name = parser.name;
        let mut counters = Counters::of_program()
            .ok_or("it was built without coverage: start it by `cargo xtask fuzz --parsers`")?;
        let folder = self.folder.join(name);
        let corpus = folder.join("corpus");
        fs::create_dir_all(&corpus)
            .map_err(|error| format!("cannot make `{}` ({error}): name another folder", corpus.display()))?;
        let mut inputs = Vec::new();
        for path in &self.elves {
            inputs.push(fs::read(path).map_err(|error| {
                format!("cannot read `{}` ({error}): name another ELF file", path.display())
            })?);
        }
        inputs = (parser.seeds)(inputs);
        let start = Instant::now();

        let map: *mut [u8] = Box::leak(vec![0; Counters::MOST].into_boxed_slice());
        // SAFETY: only this thread uses the map: the observer before and after each run, and `harness` at its end.
        let observer = unsafe { StdMapObserver::from_mut_ptr("edges", map.cast(), map.len()) };
        let observer = HitcountsMapObserver::new(observer).track_indices();
        let mut feedback = MaxMapFeedback::new(&observer);
        let mut objective = Found { parser: name, folder: folder.clone(), met: HashMap::new() };
        let mut state = StdState::new(
            StdRand::with_seed(self.seed),
            InMemoryOnDiskCorpus::no_meta(&corpus).map_err(said)?,
            InMemoryCorpus::<BytesInput>::new(),
            &mut feedback,
            &mut objective,
        )
        .map_err(said)?;
        state.set_max_size(parser.most);
        let scheduler = IndexesLenTimeMinimizerScheduler::new(&observer, QueueScheduler::new());
        let mut fuzzer = StdFuzzer::new(scheduler, feedback, objective);
        let mut manager = SimpleEventManager::new(NopMonitor::new());
        let mut harness = |input: &BytesInput| {
            counters.clear();
            let result = panic::catch_unwind(AssertUnwindSafe(|| (parser.run)(input.mutator_bytes())));
            // SAFETY: as above.
            counters.take(unsafe { &mut *map });
            match result {
                // Another thread may have panicked.
                Ok(()) if last_panic().is_none() => ExitKind::Ok,
                _ => ExitKind::Crash,
            }
        };
        let mut executor = InProcessExecutor::builder()
            .timeout(TIME_LIMIT)
            .harness(&mut harness)
            .observers(tuple_list!(observer))
            .fuzzer(&mut fuzzer)
            .state(&mut state)
            .event_mgr(&mut manager)
            .build()
            .map_err(said)?;
        // In place of LibAFL's, which ends the process.
        panic::set_hook(Box::new(|info| {
            let place = info
                .location()
                .map_or_else(String::new, |place| format!("{}-{}", place.file(), place.line()));
            let message = info.to_string().replace(":\n", ": ");
            *last_panic() = Some(Panic { place, message });
        }));

        inputs.extend(files(&corpus)?);
        for input in inputs {
            fuzzer
                .evaluate_input(&mut state, &mut executor, &mut manager, &BytesInput::new(input))
                .map_err(said)?;
        }
        if state.corpus().count() == 0 {
            return Err(format!("{name} fails on each input at the start: correct it first"));
        }
        let mutator = HavocScheduledMutator::new(havoc_mutations());
        let mut stages = tuple_list!(StdMutationalStage::new(mutator));
        while start.elapsed() < self.time {
            fuzzer.fuzz_one(&mut stages, &mut executor, &mut state, &mut manager).map_err(said)?;
        }
        targets::clean_up();
        let (runs, seconds) = (*state.executions(), start.elapsed().as_secs_f64());
        let found = fuzzer.objective().met.len();
        println!(
            "{name}: {runs} runs in {seconds:.0} s, {:.0} a second: {} edges, {} inputs, {found} findings in {}",
            runs as f64 / seconds,
            counters.known(),
            state.corpus().count(),
            folder.display(),
        );
        Ok(found == 0)
    }
}

/// The inputs of a corpus.
fn files(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let read = || -> io::Result<Vec<Vec<u8>>> {
        let mut paths =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        // LibAFL keeps what is its own under such names.
        paths.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
        paths.sort();
        paths.iter().map(fs::read).collect()
    };
    read().map_err(|error| format!("cannot read `{}` ({error}): remove it", folder.display()))
}

fn said(error: Error) -> String {
    format!("{error}: report it")
}

/// An objective: a parser has panicked, crashed or taken too long. Keeps the input, and says how to try it again.
struct Found {
    parser: &'static str,
    folder: PathBuf,
    /// The names of what this process has met, and how long the input is.
    met: HashMap<String, usize>,
}

impl Found {
    fn keep(&mut self, input: &[u8], exit: &ExitKind) -> io::Result<()> {
        let panic = last_panic().take();
        let (name, message) = match panic {
            Some(Panic { place, message }) => (format!("panic-{place}"), message),
            None if *exit == ExitKind::Timeout => {
                ("hang".into(), format!("it takes more than {} s", TIME_LIMIT.as_secs()))
            }
            None => ("crash".into(), "it ends the process".into()),
        };
        let name: String =
            name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
        // A shorter input that does the same is kept in its place.
        if self.met.get(&name).is_some_and(|len| *len <= input.len()) {
            return Ok(());
        }
        let path = self.folder.join(&name);
        fs::write(&path, input)?;
        if self.met.insert(name, input.len()).is_none() {
            let (parser, path) = (self.parser, shell_word(path.as_os_str()));
            println!("{parser}: {message}: `cargo xtask fuzz --parsers {parser} {path}` runs it again");
        }
        Ok(())
    }
}

impl Named for Found {
    fn name(&self) -> &Cow<'static, str> {
        &Cow::Borrowed("found")
    }
}

impl<S> StateInitializer<S> for Found {}

impl<EM, OT, S> Feedback<EM, BytesInput, OT, S> for Found {
    fn is_interesting(
        &mut self,
        _: &mut S,
        _: &mut EM,
        input: &BytesInput,
        _: &OT,
        exit: &ExitKind,
    ) -> Result<bool, Error> {
        if *exit == ExitKind::Ok {
            return Ok(false);
        }
        self.keep(input.mutator_bytes(), exit)
            .map(|()| true)
            .map_err(|error| Error::runtime(error.to_string()))
    }
}
