//! Measures Flatland beside two monitors in C, and prints a table: `cargo xtask bench` builds what is measured, and
//! calls this.
//!
//!     flatland-bench ROOT FLATLAND FLATLAND-TEST [--quick] [--json] [--against FLATLAND]
//!
//! This is a crate of its own so that only `cargo xtask bench` compiles it. It asserts nothing: a timing is not a
//! test.

mod cargo;
mod figures;
mod images;
mod machines;
mod processes;
mod rows;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, process};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The command line.
pub struct Options {
    /// The checkout.
    root: PathBuf,
    /// The program `flatland`, as users get it.
    flatland: PathBuf,
    /// The program `flatland-test`.
    runner: PathBuf,
    /// Few rounds, and no cold build.
    quick: bool,
    json: bool,
    /// Another flatland to measure beside this one, such as one from before a change.
    against: Option<PathBuf>,
}

impl Options {
    fn parse() -> Option<Self> {
        let mut args = env::args_os().skip(1);
        let mut path = || args.next().map(PathBuf::from);
        let (root, flatland, runner) = (path()?, path()?, path()?);
        let mut options = Self { root, flatland, runner, quick: false, json: false, against: None };
        while let Some(arg) = args.next() {
            match arg.to_str()? {
                "--quick" => options.quick = true,
                "--json" => options.json = true,
                "--against" => options.against = Some(args.next()?.into()),
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::parse() else {
        eprintln!("bench: call `cargo xtask bench [--quick] [--json] [--against FLATLAND]`");
        return ExitCode::from(2);
    };
    // The crate of tests and the new checkout cannot be inside this checkout.
    let elsewhere = env::temp_dir().join(format!("flatland-bench-{}", process::id()));
    let result = rows::measure_all(&options, &elsewhere);
    let _ = fs::remove_dir_all(&elsewhere);
    match result {
        Ok(rows) if options.json => println!("{:#}", figures::json(&rows)),
        Ok(rows) => print!("{}", figures::table(&rows)),
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
