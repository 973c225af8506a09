//! What is shown while it fuzzes: a line that changes on a terminal, and a line now and then elsewhere.

use std::cell::Cell;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use flatland::words::shell_word;
use libafl::Error;
use libafl::monitors::Monitor;
use libafl::monitors::stats::{ClientStatsManager, UserStatsValue};
use libafl_bolts::ClientId;

/// How often the line on a terminal changes.
const ON_TERMINAL: Duration = Duration::from_millis(500);

/// How often there is a line elsewhere.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// What a campaign came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub runs: u64,
    pub time: Duration,
    pub edges: usize,
    pub corpus: usize,
    /// Those that are kept, of this and of earlier campaigns.
    pub findings: usize,
    /// Whether this one met any.
    pub has_found: bool,
}

/// Shows how it goes. A clone shares the summary.
#[derive(Clone, Debug)]
pub struct Screen {
    summary: Rc<Cell<Summary>>,
    corpus: PathBuf,
    findings: PathBuf,
    start: Instant,
    is_terminal: bool,
    shown: Instant,
    /// The edges and inputs that were known when there was something new, and when that was.
    newest: (u64, u64),
    since: Instant,
}

impl Screen {
    /// Counts what is in these folders: jobs share them.
    pub fn new(corpus: &Path, findings: &Path) -> Self {
        let now = Instant::now();
        Self {
            summary: Rc::default(),
            corpus: corpus.into(),
            findings: findings.into(),
            start: now,
            is_terminal: io::stdout().is_terminal(),
            shown: now,
            newest: (0, 0),
            since: now,
        }
    }
}

impl Screen {
    /// What it came to so far.
    pub fn summary(&self) -> Summary {
        let (corpus, findings) = (entries(&self.corpus), entries(&self.findings));
        Summary { corpus, findings, ..self.summary.get() }
    }
}

impl Monitor for Screen {
    fn display(&mut self, stats: &mut ClientStatsManager, _: &str, _: ClientId) -> Result<(), Error> {
        let edges = stats.client_stats().values().filter_map(|client| {
            match client.get_user_stats("edges")?.value() {
                UserStatsValue::Number(taken) => Some(*taken),
                _ => None,
            }
        });
        let edges = edges.max().unwrap_or_default();
        let total = stats.global_stats();
        let now = Instant::now();
        if (edges, total.corpus_size) != self.newest {
            self.newest = (edges, total.corpus_size);
            self.since = now;
        }
        self.summary.set(Summary {
            runs: total.total_execs,
            time: now - self.start,
            edges: edges as usize,
            has_found: total.objective_size > 0,
            ..Summary::default()
        });
        let pause = if self.is_terminal { ON_TERMINAL } else { ELSEWHERE };
        if now - self.shown < pause {
            return Ok(());
        }
        self.shown = now;
        let elapsed = now - self.start;
        let time = duration(elapsed);
        let runs = total.total_execs;
        let rate = (runs as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
        let (inputs, findings) = (entries(&self.corpus), entries(&self.findings));
        let ago = duration(now - self.since);
        match self.is_terminal {
            // The next line begins in the same place, so this one must not be longer than a terminal is wide.
            true => print(&format!(
                "\r\x1b[K{time}: {rate} runs/s, {edges} edges, {inputs} inputs, {findings} findings; new {ago} ago"
            )),
            false => print(&format!(
                "{time}: {runs} runs, {rate} a second; {edges} edges, {inputs} inputs, {findings} findings; last new one \
                 {ago} ago\n"
            )),
        }
        Ok(())
    }
}

/// How many entries a folder has. What is being written does not count.
fn entries(folder: &Path) -> usize {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| !name.as_encoded_bytes().starts_with(b".")).count()
}

/// A time for people.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A path as it is typed: relative to the current folder, if it is inside.
pub fn path(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_default();
    shell_word(path.strip_prefix(current).unwrap_or(path).as_os_str())
}

/// Prints a line of its own.
pub fn say(line: &str) {
    let clear = if io::stdout().is_terminal() { "\r\x1b[K" } else { "" };
    print(&format!("{clear}{line}\n"));
}

/// What cannot be shown does not end a campaign.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
