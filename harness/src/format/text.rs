//! `--format pretty` and `--format terse`.

use std::mem;

use flatland::report::Paint;

use super::{Printer, ignore_reason};
use crate::options::Options;
use crate::outcome::{Done, Outcome, Summary};
use crate::suite::{Expected, Test};

pub fn list<'a>(tests: impl Iterator<Item = &'a Test> + Clone, with_count: bool) -> String {
    let mut text: String = tests.clone().map(|test| format!("{}: test\n", test.name)).collect();
    if with_count {
        let count = tests.count();
        let (space, s) = (if count == 0 { "" } else { "\n" }, if count == 1 { "" } else { "s" });
        text += &format!("{space}{count} test{s}, 0 benchmarks\n");
    }
    text
}

/// What both formats have: the first line, the results at the end, and colours.
struct Results {
    paint: Paint,
    shuffle: Option<u64>,
    show_output: bool,
    successes: Vec<(String, String)>,
    failures: Vec<(String, String)>,
}

impl Results {
    fn new(options: &Options) -> Self {
        let Options { shuffle, show_output, .. } = *options;
        Self { paint: options.paint(), shuffle, show_output, successes: Vec::new(), failures: Vec::new() }
    }

    fn begin(&self, tests: usize) -> String {
        let s = if tests == 1 { "" } else { "s" };
        let seed = self.shuffle.map_or(String::new(), |seed| format!(" (shuffle seed: {seed})"));
        format!("\nrunning {tests} test{s}{seed}\n")
    }

    fn add(&mut self, test: &Test, done: Done) {
        match done.result {
            Outcome::Passed => self.successes.push((test.name.clone(), done.output)),
            Outcome::Failed(_) | Outcome::TimedOut(_) => self.failures.push((test.name.clone(), done.output)),
            Outcome::Ignored => {}
        }
    }

    fn end(&mut self, summary: &Summary) -> String {
        let mut text = String::new();
        if self.show_output {
            text += &section("successes", mem::take(&mut self.successes));
        }
        let Summary { passed, failed, ignored, filtered_out, time } = summary;
        let result = match failed {
            0 => self.paint.passed("ok"),
            _ => self.paint.failed("FAILED"),
        };
        if *failed > 0 {
            text += &section("failures", mem::take(&mut self.failures));
        }
        let seconds = time.as_secs_f64();
        text + &format!(
            "\ntest result: {result}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; \
             {filtered_out} filtered out; finished in {seconds:.2}s\n\n"
        )
    }
}

/// The tests of one kind, first with their output and then by name.
fn section(title: &str, mut tests: Vec<(String, String)>) -> String {
    let outputs: String = tests
        .iter()
        .filter(|(_, output)| !output.is_empty())
        .map(|(name, output)| format!("---- {name} stdout ----\n{output}\n"))
        .collect();
    let space = if outputs.is_empty() { "" } else { "\n" };
    tests.sort();
    let names: String = tests.iter().map(|(name, _)| format!("    {name}\n")).collect();
    format!("\n{title}:\n{space}{outputs}\n{title}:\n{names}")
}

/// A line for each test.
pub struct Pretty {
    results: Results,
    one_thread: bool,
    report_time: bool,
}

impl Pretty {
    pub fn new(options: &Options, one_thread: bool) -> Self {
        Self { results: Results::new(options), one_thread, report_time: options.report_time }
    }
}

fn announced(test: &Test) -> String {
    let mode = if matches!(test.expected, Expected::Panic(_)) { " - should panic" } else { "" };
    format!("test {}{mode} ... ", test.name)
}

impl Printer for Pretty {
    fn begin(&mut self, tests: usize) -> String {
        self.results.begin(tests)
    }

    fn started(&mut self, test: &Test) -> String {
        // Where several run at once, the line is written when its end is known.
        if self.one_thread { announced(test) } else { String::new() }
    }

    fn ended(&mut self, test: &Test, done: Done) -> String {
        let begin = if self.one_thread { String::new() } else { announced(test) };
        let paint = self.results.paint;
        let result = match &done.result {
            Outcome::Passed => paint.passed("ok"),
            Outcome::Failed(_) => paint.failed("FAILED"),
            Outcome::TimedOut(_) => paint.failed("FAILED (time limit exceeded)"),
            Outcome::Ignored => match ignore_reason(test) {
                Some(why) => paint.ignored(format!("ignored, {why}")),
                None => paint.ignored("ignored"),
            },
        };
        let time = match (&done.result, self.report_time) {
            (Outcome::Ignored, _) | (_, false) => String::new(),
            (_, true) => format!(" <{:.3}s>", done.time.as_secs_f64()),
        };
        self.results.add(test, done);
        format!("{begin}{result}{time}\n")
    }

    fn end(&mut self, summary: &Summary) -> String {
        self.results.end(summary)
    }
}

/// A character for each test.
pub struct Terse {
    results: Results,
    all: usize,
    ended: usize,
    column: usize,
    /// The last test that was ignored, and why.
    ignored: Option<(String, String)>,
}

impl Terse {
    pub fn new(options: &Options) -> Self {
        Self { results: Results::new(options), all: 0, ended: 0, column: 0, ignored: None }
    }

    fn progress(&mut self) -> String {
        self.column = 0;
        format!(" {}/{}\n", self.ended, self.all)
    }
}

impl Printer for Terse {
    fn begin(&mut self, tests: usize) -> String {
        self.all = tests;
        self.results.begin(tests)
    }

    fn started(&mut self, _: &Test) -> String {
        String::new()
    }

    fn ended(&mut self, test: &Test, done: Done) -> String {
        /// libtest's: a hundred columns hold this and the progress.
        const COLUMNS: usize = 87;
        let paint = self.results.paint;
        let result = match &done.result {
            Outcome::Passed => paint.passed("."),
            Outcome::Ignored => {
                self.ignored = ignore_reason(test).map(|why| (test.name.clone(), why.into()));
                paint.ignored("i")
            }
            // On a line of its own, with the name.
            Outcome::Failed(_) | Outcome::TimedOut(_) => {
                let before = if self.column == 0 { String::new() } else { self.progress() };
                self.ended += 1;
                self.results.add(test, done);
                return format!("{before}{} --- {}\n", test.name, paint.failed("FAILED"));
            }
        };
        self.ended += 1;
        self.column += 1;
        self.results.add(test, done);
        let end = if self.column == COLUMNS { self.progress() } else { String::new() };
        result + &end
    }

    fn end(&mut self, summary: &Summary) -> String {
        let ignored = self.ignored.take().filter(|_| self.all == 1);
        let why =
            ignored.map_or(String::new(), |(name, why)| format!("test: {name}, ignore_message: {why}\n\n"));
        self.results.end(summary) + &why
    }
}
