//! The options of libtest, as `cargo test` has them behind its `--`. What needs nightly and `-Z unstable-options` there
//! needs neither here.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use flatland::report::{Colors, Paint};

/// What is asked for.
#[derive(Debug, Default)]
pub struct Options {
    /// Only tests with one of these in their names; all, if there is none.
    pub filters: Vec<String>,
    /// No tests with one of these in their names.
    pub skip: Vec<String>,
    /// Filters are whole names.
    pub exact: bool,
    pub ignored: Ignored,
    pub exclude_should_panic: bool,
    /// Benchmarks instead of tests, of which a guest has none: each test is ignored.
    pub only_benchmarks: bool,
    pub list: bool,
    pub format: Format,
    /// The output of tests that pass is shown, too.
    pub show_output: bool,
    /// Output is not shown at the end, but written when a test has ended.
    pub no_capture: bool,
    /// `None` is what CARGO_TERM_COLOR says.
    pub colors: Option<Colors>,
    pub report_time: bool,
    pub fail_fast: bool,
    /// How many tests run at once.
    pub threads: Option<usize>,
    /// The tests run in an order that this number makes.
    pub shuffle: Option<u64>,
    pub log_file: Option<PathBuf>,
}

/// Which of the ignored tests run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ignored {
    #[default]
    None,
    Too,
    Only,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Pretty,
    Terse,
    Json,
    Junit,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    Tests(Options),
    Help,
}

/// What `--help` prints.
pub const HELP: &str = "\
Usage, behind a command for tests in guests: [FILTER] -- [OPTIONS] [FILTERS]

Runs the tests with a FILTER in their names, or all. Options are libtest's:
  --list                 list the tests
  --exact                a FILTER is a whole name
  --skip FILTER          leave out tests with FILTER in their names; may be repeated
  --ignored              run only ignored tests
  --include-ignored      run ignored tests, too
  --exclude-should-panic leave out tests that should panic
  --test, --bench        run only tests, or only benchmarks, of which there are none here
  --test-threads N       run N tests at once: as many as there are processors by default
  --fail-fast            begin no more tests after a failure
  --shuffle              run the tests in random order
  --shuffle-seed SEED    run them in the order that SEED makes
  --no-capture           write what a test sends when it has ended, and not only if it fails
  --show-output          show what tests have sent that passed
  --report-time          say how long each test took
  --format FORMAT        pretty, terse, json or junit: libtest's formats
  -q, --quiet            the same as --format=terse
  --color WHEN           auto, always or never (default: what CARGO_TERM_COLOR says, or auto)
  --logfile PATH         write a line for each test to PATH, too
  -Z unstable-options    allowed, and not needed
  -h, --help             print this

These variables are libtest's, too: RUST_TEST_THREADS, RUST_TEST_NOCAPTURE, RUST_TEST_SHUFFLE, RUST_TEST_SHUFFLE_SEED.
";

impl Asked {
    /// Reads the arguments behind the `--`. An error is one sentence.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Options::default();
        let mut shuffle = false;
        let mut arguments = arguments.into_iter();
        let mut only_filters = false;
        while let Some(argument) = arguments.next() {
            let argument = argument.into_string().map_err(|argument| {
                format!("`{}` is not UTF-8, as names of tests are: correct it", argument.display())
            })?;
            if only_filters || !argument.starts_with('-') || argument == "-" {
                options.filters.push(argument);
                continue;
            }
            let (name, given) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None if argument.starts_with("-Z") && argument.len() > 2 => {
                    ("-Z", Some(argument[2..].into()))
                }
                None => (&*argument, None),
            };
            let has_value = given.is_some();
            let mut text = || match given.clone() {
                Some(value) => Ok(value),
                None => {
                    let next = arguments.next().and_then(|value| value.into_string().ok());
                    next.ok_or_else(|| format!("{name} needs a value: {HINT}"))
                }
            };
            match name {
                "--skip" => options.skip.push(text()?),
                "--test-threads" => options.threads = Some(threads(name, &text()?)?),
                "--shuffle-seed" => options.shuffle = Some(number(name, &text()?)?),
                "--logfile" => options.log_file = Some(text()?.into()),
                "--format" => options.format = one_of(name, &text()?, &FORMATS)?,
                "--color" => options.colors = Some(one_of(name, &text()?, &COLORS)?),
                "-Z" => one_of(name, &text()?, &[("unstable-options", ())])?,
                _ if has_value && FLAGS.contains(&name) => {
                    return Err(format!("{name} takes no value: leave it out"));
                }
                "--" => only_filters = true,
                "-h" | "--help" => return Ok(Self::Help),
                "--list" => options.list = true,
                "--exact" => options.exact = true,
                "--ignored" | "--include-ignored" => {
                    let ignored = if name == "--ignored" { Ignored::Only } else { Ignored::Too };
                    if ![Ignored::None, ignored].contains(&options.ignored) {
                        return Err(
                            "--ignored runs only what --include-ignored runs too: leave one out".into()
                        );
                    }
                    options.ignored = ignored;
                }
                "--exclude-should-panic" => options.exclude_should_panic = true,
                "--bench" => options.only_benchmarks = true,
                // Each test has a machine of its own, so there is nothing to do for the second.
                "--test" | "--force-run-in-process" => {}
                "--fail-fast" => options.fail_fast = true,
                "--shuffle" => shuffle = true,
                "--nocapture" | "--no-capture" => options.no_capture = true,
                "--show-output" => options.show_output = true,
                "--report-time" => options.report_time = true,
                "-q" | "--quiet" => options.format = Format::Terse,
                "--ensure-time" => {
                    return Err(
                        "--ensure-time is not here: a test has its limit with `#[timeout(SECONDS)]`".into()
                    );
                }
                _ => return Err(format!("there is no option `{name}` of tests: {HINT}")),
            }
        }
        options.take_environment(shuffle)?;
        Ok(Self::Tests(options))
    }
}

const HINT: &str = "`--help` in its place lists what there is";

/// The options without a value.
const FLAGS: [&str; 20] = [
    "-h",
    "--help",
    "-q",
    "--quiet",
    "--list",
    "--exact",
    "--ignored",
    "--include-ignored",
    "--exclude-should-panic",
    "--test",
    "--bench",
    "--force-run-in-process",
    "--fail-fast",
    "--shuffle",
    "--nocapture",
    "--no-capture",
    "--show-output",
    "--report-time",
    "--ensure-time",
    "--",
];

const FORMATS: [(&str, Format); 4] =
    [("pretty", Format::Pretty), ("terse", Format::Terse), ("json", Format::Json), ("junit", Format::Junit)];

const COLORS: [(&str, Colors); 3] =
    [("auto", Colors::Auto), ("always", Colors::Always), ("never", Colors::Never)];

impl Options {
    /// The colours of what is written to standard output.
    pub fn paint(&self) -> Paint {
        match (self.format, self.colors.unwrap_or_else(Colors::from_environment)) {
            (Format::Json | Format::Junit, _) | (_, Colors::Never) => Paint::PLAIN,
            (_, Colors::Always) => Paint::COLOURED,
            // What tests write themselves may be anything.
            _ if self.no_capture => Paint::PLAIN,
            _ => Paint::for_stream(&io::stdout()),
        }
    }

    /// What libtest reads from the environment. The command line wins.
    fn take_environment(&mut self, shuffle: bool) -> Result<(), String> {
        let is_on = |name| env::var_os(name).is_some_and(|value| value != "0");
        let value = |name| env::var(name).ok();
        self.no_capture |= is_on("RUST_TEST_NOCAPTURE");
        if let (None, Some(count)) = (self.threads, value("RUST_TEST_THREADS")) {
            self.threads = Some(threads("RUST_TEST_THREADS", &count)?);
        }
        if let (None, Some(seed)) = (self.shuffle, value("RUST_TEST_SHUFFLE_SEED")) {
            self.shuffle = Some(number("RUST_TEST_SHUFFLE_SEED", &seed)?);
        }
        if self.shuffle.is_none() && (shuffle || is_on("RUST_TEST_SHUFFLE")) {
            let seed = getrandom::u64();
            self.shuffle = Some(seed.map_err(|error| {
                format!("there are no random numbers for --shuffle ({error}): give it --shuffle-seed SEED")
            })?);
        }
        Ok(())
    }
}

fn number<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{name} `{text}` is no number here ({error}): give another"))
}

fn threads(name: &str, text: &str) -> Result<usize, String> {
    match number(name, text)? {
        0 => Err(format!("{name} `0` would run no test: give at least 1")),
        count => Ok(count),
    }
}

fn one_of<T: Copy>(name: &str, text: &str, all: &[(&str, T)]) -> Result<T, String> {
    let found = all.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let words: Vec<_> = all.iter().map(|(word, _)| *word).collect();
        format!("{name} `{text}` is not there: give {}", words.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, String> {
        Asked::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_are_libtests() {
        let line = "a --exact -q --skip b --skip=c --test-threads=3 -Zunstable-options -Z unstable-options \
                    --shuffle-seed 7 --no-capture -- --list";
        let Ok(Asked::Tests(options)) = parse(line) else { panic!("{line}") };
        assert_eq!(
            (options.filters, options.skip, options.threads, options.shuffle, options.format),
            (
                vec!["a".into(), "--list".into()],
                vec!["b".into(), "c".into()],
                Some(3),
                Some(7),
                Format::Terse
            )
        );
        assert!(options.exact && options.no_capture && !options.list);
        // The help has each option that there is.
        for flag in FLAGS.iter().filter(|flag| !["--", "--nocapture", "--ensure-time"].contains(flag)) {
            assert!(HELP.contains(flag) || *flag == "--force-run-in-process", "{flag}");
        }
    }

    #[test]
    fn wrong_options_are_one_sentence() {
        for (line, message) in [
            ("--frob", "there is no option `--frob` of tests: `--help` in its place lists what there is"),
            ("--list=1", "--list takes no value: leave it out"),
            ("--skip", "--skip needs a value: `--help` in its place lists what there is"),
            ("--format xml", "--format `xml` is not there: give pretty, terse, json, junit"),
            ("-Zno", "-Z `no` is not there: give unstable-options"),
            ("--test-threads=0", "--test-threads `0` would run no test: give at least 1"),
            (
                "--test-threads many",
                "--test-threads `many` is no number here (invalid digit found in string): give another",
            ),
            (
                "--ignored --include-ignored",
                "--ignored runs only what --include-ignored runs too: leave one out",
            ),
            ("--ensure-time", "--ensure-time is not here: a test has its limit with `#[timeout(SECONDS)]`"),
        ] {
            assert_eq!(parse(line).err().as_deref(), Some(message), "{line}");
        }
    }
}
