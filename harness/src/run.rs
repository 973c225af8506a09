//! Chooses tests and runs them on several threads, as libtest does.

use std::fs::File;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use crate::format;
use crate::options::{Ignored, Options};
use crate::outcome::{Done, Outcome, Summary};
use crate::suite::{Expected, Test};

/// Whether a test has one of these in its name, or is one of them.
pub fn is_named(name: &str, filters: &[String], exact: bool) -> bool {
    filters.iter().any(|filter| if exact { name == filter } else { name.contains(filter.as_str()) })
}

/// Removes the tests that are not asked for, and puts the others in order.
pub fn choose<T>(tests: &mut Vec<(Test, T)>, options: &Options) {
    let Options { filters, skip, exact, ignored, exclude_should_panic, .. } = options;
    tests.retain(|(test, _)| {
        (filters.is_empty() || is_named(&test.name, filters, *exact))
            && !is_named(&test.name, skip, *exact)
            && (*ignored != Ignored::Only || test.ignored.is_some())
            && !(*exclude_should_panic && matches!(test.expected, Expected::Panic(_)))
    });
    tests.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    if let Some(seed) = options.shuffle {
        shuffle(tests, seed);
    }
}

/// Fisher and Yates' shuffle with the numbers of SplitMix64.
fn shuffle<T>(tests: &mut [T], mut seed: u64) {
    for len in (2..=tests.len()).rev() {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        tests.swap(len - 1, ((mixed ^ (mixed >> 31)) % len as u64) as usize);
    }
}

enum Event {
    Started,
    Ended(Done),
}

/// Runs these tests, and writes what becomes of them to standard output. An error is one sentence.
pub fn run<T: Sync>(
    tests: &[(Test, T)],
    filtered_out: usize,
    options: &Options,
    run_one: impl Fn(&Test, &T) -> Done + Sync,
) -> Result<Summary, String> {
    let begun = Instant::now();
    let mut summary = Summary { filtered_out, ..Summary::default() };
    let threads = match options.threads {
        Some(count) => count,
        None => thread::available_parallelism().map_or(1, Into::into),
    };
    let mut log = options.log_file.as_deref().map(Log::create).transpose()?;
    let mut printer = format::printer(options, threads == 1);
    write(&printer.begin(tests.len()));
    let is_ignored =
        |test: &Test| options.only_benchmarks || (test.ignored.is_some() && options.ignored == Ignored::None);
    let end_of = |(test, with): &(Test, T)| match is_ignored(test) {
        true => Done::without_output(Outcome::Ignored),
        false => caught(|| run_one(test, with)),
    };
    let mut tell = |index: usize, event| {
        let test = &tests[index].0;
        let Event::Ended(done) = event else {
            write(&printer.started(test));
            return Ok(());
        };
        match done.result {
            Outcome::Passed => summary.passed += 1,
            Outcome::Failed(_) | Outcome::TimedOut(_) => summary.failed += 1,
            Outcome::Ignored => summary.ignored += 1,
        }
        let logged = log.as_mut().map_or(Ok(()), |log| log.add(test, &done));
        write(&printer.ended(test, done));
        logged
    };
    if threads == 1 {
        // What a test writes itself stands between its name and its result.
        for (index, test) in tests.iter().enumerate() {
            tell(index, Event::Started)?;
            let done = end_of(test);
            let is_last = options.fail_fast && done.result.failure().is_some();
            tell(index, Event::Ended(done))?;
            if is_last {
                break;
            }
        }
    } else {
        on_threads(threads, tests, options.fail_fast, end_of, tell)?;
    }
    summary.time = begun.elapsed();
    write(&printer.end(&summary));
    Ok(summary)
}

/// Runs these tests on several threads, and tells of them on this one.
fn on_threads<T: Sync>(
    threads: usize,
    tests: &[T],
    fail_fast: bool,
    end_of: impl Fn(&T) -> Done + Sync,
    mut tell: impl FnMut(usize, Event) -> Result<(), String>,
) -> Result<(), String> {
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = |events: mpsc::Sender<(usize, Event)>| {
        while !is_over.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(test) = tests.get(index) else { break };
            // Nobody receives it if the log cannot be written, and then this was the last test.
            let _ = events.send((index, Event::Started));
            let done = end_of(test);
            let is_last = fail_fast && done.result.failure().is_some();
            let is_sent = events.send((index, Event::Ended(done))).is_ok();
            if is_last || !is_sent {
                is_over.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        let (sender, events) = mpsc::channel();
        for _ in 0..threads.min(tests.len()) {
            let (sender, work) = (sender.clone(), &work);
            scope.spawn(move || work(sender));
        }
        drop(sender);
        events.into_iter().try_for_each(|(index, event)| tell(index, event))
    })
}

/// A panic of the host is a failure of one test, and the others go on.
fn caught(run: impl FnOnce() -> Done) -> Done {
    let begun = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Done::not_run("flatland-test itself panicked: report its message above"));
    Done { time: begun.elapsed(), ..done }
}

/// Writes to standard output at once.
pub fn write(text: &str) {
    let mut stdout = io::stdout().lock();
    // A write error cannot be reported anywhere.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// The file of `--logfile`: a line for each test.
struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    fn create(path: &Path) -> Result<Self, String> {
        let file = File::create(path).map_err(|error| cannot_write(path, &error))?;
        Ok(Self { path: path.into(), file })
    }

    fn add(&mut self, test: &Test, done: &Done) -> Result<(), String> {
        let result = match &done.result {
            Outcome::Passed => "ok".into(),
            Outcome::Failed(_) => "failed".into(),
            Outcome::TimedOut(_) => "failed (time limit exceeded)".into(),
            Outcome::Ignored => match test.ignored.as_deref() {
                Some(why) if !why.is_empty() => format!("ignored: {why}"),
                _ => "ignored".to_owned(),
            },
        };
        let written = writeln!(self.file, "{result} {}", test.name);
        written.map_err(|error| cannot_write(&self.path, &error))
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write `{}` ({error}): give --logfile another file", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_an_order_of_all() {
        let order = |seed| {
            let mut numbers: Vec<_> = (0..100).collect();
            shuffle(&mut numbers, seed);
            numbers
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
        let mut sorted = order(7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
