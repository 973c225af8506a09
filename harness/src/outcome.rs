//! What becomes of a test, and of all of them.

use std::path::PathBuf;
use std::time::Duration;

/// How a test has ended.
#[derive(Debug)]
pub struct Done {
    pub result: Outcome,
    /// What the test has sent, and for a failure the host's report; unless it has been written already.
    pub output: String,
    pub time: Duration,
    /// The recording of a failure.
    pub recording: Option<PathBuf>,
}

impl Done {
    /// A test that has sent nothing.
    pub fn without_output(result: Outcome) -> Self {
        Self { result, output: String::new(), time: Duration::ZERO, recording: None }
    }

    /// A test that the host could not run.
    pub fn not_run(why: &str) -> Self {
        Self { output: format!("{why}\n"), ..Self::without_output(Outcome::Failed(why.into())) }
    }
}

/// What has become of a test.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// In one line.
    Failed(String),
    /// In one line.
    TimedOut(String),
    Ignored,
}

impl Outcome {
    /// Why the test has not passed.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Outcome::Failed(why) | Outcome::TimedOut(why) => Some(why),
            Outcome::Passed | Outcome::Ignored => None,
        }
    }
}

/// The numbers of a run.
#[derive(Debug, Default)]
pub struct Summary {
    pub passed: usize,
    pub failed: usize,
    pub ignored: usize,
    pub filtered_out: usize,
    pub time: Duration,
}
