//! Measures Flatland beside two monitors in C, and prints a table: `cargo xtask bench` builds what is measured, and
//! calls this.
//!
//!     flatland-bench ROOT FLATLAND FLATLAND-TEST [--quick] [--json] [--page] [--against FLATLAND]
//!
//! A crate of its own, because nobody else should have to compile it. It asserts nothing: a timing is not a test.

mod cargo;
mod figures;
mod images;
mod json;
mod machines;
mod page;
mod picture;
mod processes;
mod progress;
mod rows;
mod syscalls;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, process};

use figures::Row;
use images::Images;
use progress::Progress;
use rows::Programs;
use syscalls::Counts;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is to be done, and with what.
pub struct Options {
    /// The checkout.
    root: PathBuf,
    /// The programs as people get them.
    flatland: PathBuf,
    runner: PathBuf,
    /// Few rounds, and no cold build.
    quick: bool,
    json: bool,
    page: bool,
    /// Another flatland to measure beside this one.
    against: Option<PathBuf>,
}

impl Options {
    fn parse() -> Option<Self> {
        let mut args = env::args_os().skip(1);
        let mut path = || args.next().map(PathBuf::from);
        let (root, flatland, runner) = (path()?, path()?, path()?);
        let mut options =
            Self { root, flatland, runner, quick: false, json: false, page: false, against: None };
        while let Some(arg) = args.next() {
            match arg.to_str()? {
                "--quick" => options.quick = true,
                "--json" => options.json = true,
                "--page" => options.page = true,
                "--against" => options.against = Some(args.next()?.into()),
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::parse() else {
        eprintln!("bench: call `cargo xtask bench [--quick] [--json] [--page] [--against FLATLAND]`");
        return ExitCode::from(2);
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    // A crate of tests and a new checkout cannot lie inside this one.
    let elsewhere = env::temp_dir().join(format!("flatland-bench-{}", process::id()));
    let result = measure(options, &elsewhere);
    let _ = fs::remove_dir_all(&elsewhere);
    let (rows, syscalls) = result?;
    if options.page {
        page::write(&options.root, &rows, &syscalls)?;
        eprintln!("bench: docs/speed.md and docs/speed.svg are written");
    }
    if options.json {
        print!("{}", json::text(&rows, &syscalls));
    } else {
        print!("{}", figures::table(&rows));
        match &syscalls {
            Ok(counts) => println!("system calls of the conversation: {}", counts.judge()),
            Err(message) => println!("system calls of the conversation: not counted: {message}"),
        }
    }
    Ok(())
}

fn measure(options: &Options, elsewhere: &Path) -> Result<(Vec<Row>, std::result::Result<Counts, String>)> {
    let Options { root, quick, .. } = options;
    let folder = root.join("target/bench");
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(elsewhere)?;
    let images = Images::write(&folder)?;
    let mut progress = Progress::new(if *quick { 10 } else { 11 });
    progress.next("building what is measured");
    let programs = Programs::prepare(options, &folder)?;
    let suite = cargo::build_suite(root, &elsewhere.join("suite"))?;
    let cat = root.join("target/guest/cat.bin");
    let rounds = |full: usize, few: usize| if *quick { few } else { full };
    let progress = &mut progress;
    let mut rows = vec![
        rows::start(&programs, &images, rounds(500, 100), progress)?,
        rows::first_byte(&programs, &images, rounds(300, 60), progress)?,
        rows::conversation(&programs, &images, rounds(12, 4), progress)?,
        rows::copy(&programs, &images, &cat, rounds(10, 4), progress)?,
        rows::fresh_machines(&programs, &images, rounds(20, 4), progress)?,
        rows::tests(&programs, &images, &options.runner, &suite, rounds(20, 4), progress)?,
        rows::memory(&programs, &images, progress)?,
        rows::edit(root, rounds(10, 3), progress)?,
    ];
    if !quick {
        rows.push(rows::cold(root, &elsewhere.join("cold"), progress)?);
    }
    progress.next("system calls of a conversation");
    let syscalls = Counts::take(&programs.flatland, &images.conversation, &folder);
    progress.end();
    Ok((rows, syscalls))
}
