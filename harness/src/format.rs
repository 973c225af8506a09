//! What is written of tests: libtest's formats.

mod json;
mod junit;
mod text;

use crate::options::{Format, Options};
use crate::outcome::{Done, Summary};
use crate::suite::Test;

/// Tells of a run. Each function returns what is to be written to standard output now.
pub trait Printer {
    /// So many tests are chosen.
    fn begin(&mut self, tests: usize) -> String;
    /// A test begins.
    fn started(&mut self, test: &Test) -> String;
    /// A test has ended, whichever began last.
    fn ended(&mut self, test: &Test, done: Done) -> String;
    /// All tests have ended.
    fn end(&mut self, summary: &Summary) -> String;
}

/// The printer that is asked for. With one thread the test that ends is always the one that began last.
pub fn printer(options: &Options, one_thread: bool) -> Box<dyn Printer> {
    match options.format {
        Format::Pretty => Box::new(text::Pretty::new(options, one_thread)),
        Format::Terse => Box::new(text::Terse::new(options)),
        Format::Json => Box::new(json::Json::new(options)),
        Format::Junit => Box::new(junit::Junit::new(options)),
    }
}

/// What `--list` writes.
pub fn list<'a>(tests: impl Iterator<Item = &'a Test> + Clone, format: Format) -> String {
    match format {
        Format::Json => json::list(tests),
        Format::Pretty | Format::Terse | Format::Junit => text::list(tests, format != Format::Terse),
    }
}

/// Why a test is ignored, if that is said.
fn ignore_reason(test: &Test) -> Option<&str> {
    test.ignored.as_deref().filter(|why| !why.is_empty())
}
