//! The rows of the table: who does what, how often.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::figures::{Contender, Demand, Most, Row};
use crate::images::{self, Images};
use crate::processes::{compile, resident, time, time_to_answer, time_to_first_byte};
use crate::progress::Progress;
use crate::{Options, Result, machines};

pub const PLAIN: &str = "plain C";
pub const BEST: &str = "best C";
pub const OURS: &str = "flatland";
const OTHER: &str = "the other flatland";
const PUT_BACK: &str = "flatland, put back";
const FLOOR: &str = "/bin/true";

/// What it takes to measure one contender once.
type Measure<'a> = (&'static str, Box<dyn FnMut() -> Result<f64> + 'a>);

/// The programs that are run.
pub struct Programs {
    pub plain: PathBuf,
    pub best: PathBuf,
    pub flatland: PathBuf,
    /// Another flatland to compare with, such as one of before a change.
    other: Option<PathBuf>,
}

impl Programs {
    /// Compiles the C monitors.
    pub fn prepare(options: &Options, folder: &Path) -> Result<Self> {
        let programs = Self {
            plain: folder.join("plain"),
            best: folder.join("best"),
            flatland: options.flatland.clone(),
            other: options.against.clone(),
        };
        let sources = options.root.join("bench/c");
        compile(&sources.join("plain.c"), &programs.plain, &[])?;
        // Without a dynamic linker, as flatland is built; with one where there is no other way.
        let source = sources.join("best.c");
        compile(&source, &programs.best, &["-static"]).or_else(|_| compile(&source, &programs.best, &[]))?;
        Ok(programs)
    }

    fn monitors(&self) -> Vec<(&'static str, &Path)> {
        let other = self.other.iter().map(|other| (OTHER, other.as_path()));
        [(PLAIN, self.plain.as_path()), (BEST, &self.best), (OURS, &self.flatland)]
            .into_iter()
            .chain(other)
            .collect()
    }
}

/// Everybody in turn, so that a machine whose speed drifts slows all of them; the first turn is not counted, because
/// files come into memory in it.
pub fn in_turns(
    progress: &Progress,
    what: &str,
    rounds: usize,
    mut measures: Vec<Measure<'_>>,
) -> Result<Vec<Contender>> {
    let mut contenders: Vec<_> =
        measures.iter().map(|(name, _)| Contender { name, samples: Vec::with_capacity(rounds) }).collect();
    // Where a turn takes seconds, what a file takes does not matter.
    if rounds > 10 {
        measures.iter_mut().try_for_each(|(_, measure)| measure().map(drop))?;
    }
    for round in 1..=rounds {
        progress.round(what, round, rounds);
        for ((_, measure), contender) in measures.iter_mut().zip(&mut contenders) {
            contender.samples.push(measure()?);
        }
    }
    Ok(contenders)
}

fn on(program: &Path, image: &Path) -> Command {
    let mut command = Command::new(program);
    // Messages are the person's, such as one that KVM cannot be used.
    command.arg(image);
    command
}

fn at_most(times: f64, against: &'static str) -> Demand {
    Demand { of: OURS, against, most: Most::Times(times) }
}

pub fn start(programs: &Programs, images: &Images, rounds: usize, progress: &mut Progress) -> Result<Row> {
    let title = "start to exit on one hlt";
    progress.next(title);
    let mut measures: Vec<Measure<'_>> = Vec::new();
    for (name, program) in programs.monitors() {
        measures.push((name, Box::new(|| Ok(time(&mut on(program, &images.halt))? * 1e6))));
    }
    measures.push((FLOOR, Box::new(|| Ok(time(&mut Command::new("/bin/true"))? * 1e6))));
    let contenders = in_turns(progress, title, rounds, measures)?;
    Ok(Row {
        id: "start",
        title: title.into(),
        unit: "us",
        contenders,
        demands: vec![at_most(1.15, PLAIN)],
        rate_of: None,
    })
}

pub fn first_byte(
    programs: &Programs,
    images: &Images,
    rounds: usize,
    progress: &mut Progress,
) -> Result<Row> {
    let title = "start to the first byte";
    progress.next(title);
    let mut measures: Vec<Measure<'_>> = Vec::new();
    for (name, program) in programs.monitors() {
        measures.push((name, Box::new(|| Ok(time_to_first_byte(&mut on(program, &images.ask))? * 1e6))));
    }
    measures.push((FLOOR, Box::new(|| Ok(time_to_first_byte(&mut Command::new("/bin/true"))? * 1e6))));
    let contenders = in_turns(progress, title, rounds, measures)?;
    Ok(Row {
        id: "first-byte",
        title: title.into(),
        unit: "us",
        contenders,
        demands: Vec::new(),
        rate_of: None,
    })
}

pub fn conversation(
    programs: &Programs,
    images: &Images,
    rounds: usize,
    progress: &mut Progress,
) -> Result<Row> {
    const BYTES: usize = 100_000;
    let title = "a byte in and a byte out (insb, outsb; 100,000 of them through pipes), each";
    progress.next(title);
    let input = images::input(BYTES);
    let answers: Vec<u8> = input.iter().map(|byte| byte.wrapping_add(1)).collect();
    let (input, answers) = (&input, &answers);
    let mut measures: Vec<Measure<'_>> = Vec::new();
    for (name, program) in programs.monitors() {
        let measure = move || {
            let seconds = time_to_answer(&mut on(program, &images.conversation), input, answers)?;
            Ok(seconds * 1e6 / BYTES as f64)
        };
        measures.push((name, Box::new(measure)));
    }
    let contenders = in_turns(progress, title, rounds, measures)?;
    let demands = vec![at_most(0.65, PLAIN)];
    Ok(Row { id: "conversation", title: title.into(), unit: "us", contenders, demands, rate_of: None })
}

/// The plain monitor leaves the guest for each byte, and would take half a minute for as much as the others.
pub fn copy(
    programs: &Programs,
    images: &Images,
    cat: &Path,
    rounds: usize,
    progress: &mut Progress,
) -> Result<Row> {
    const BYTES: usize = 4 << 20;
    const PLAIN_BYTES: usize = 64 << 10;
    let title = "bulk copy (rep insb, rep outsb; 4 MiB, plain C 64 KiB), a byte";
    progress.next(title);
    let input = images::input(BYTES);
    let input = &input;
    let mut measures: Vec<Measure<'_>> = Vec::new();
    let mut copies = |name: &'static str, program: &Path, image: &Path, len: usize| {
        let (program, image) = (program.to_owned(), image.to_owned());
        let measure = move || {
            let bytes = &input[..len];
            Ok(time_to_answer(&mut on(&program, &image), bytes, bytes)? * 1e9 / len as f64)
        };
        measures.push((name, Box::new(measure)));
    };
    for (name, program) in programs.monitors() {
        copies(name, program, &images.copy, if name == PLAIN { PLAIN_BYTES } else { BYTES });
    }
    copies("flatland, the guest cat", &programs.flatland, cat, BYTES);
    let contenders = in_turns(progress, title, rounds, measures)?;
    let demands = vec![at_most(1.0 / 25.0, PLAIN), at_most(1.2, BEST)];
    Ok(Row { id: "copy", title: title.into(), unit: "ns", contenders, demands, rate_of: None })
}

pub fn fresh_machines(
    programs: &Programs,
    images: &Images,
    rounds: usize,
    progress: &mut Progress,
) -> Result<Row> {
    const MACHINES: u32 = 200;
    let title = "a fresh machine in one process, for one hlt (200 of them), each";
    progress.next(title);
    let mut measures: Vec<Measure<'_>> = Vec::new();
    for (name, program) in [(PLAIN, &programs.plain), (BEST, &programs.best)] {
        let measure = || {
            let seconds = time(on(program, &images.halt).arg(MACHINES.to_string()))?;
            Ok(seconds * 1e6 / f64::from(MACHINES))
        };
        measures.push((name, Box::new(measure)));
    }
    measures.push((OURS, Box::new(|| machines::fresh(MACHINES))));
    measures.push((PUT_BACK, Box::new(|| machines::put_back(MACHINES))));
    let contenders = in_turns(progress, title, rounds, measures)?;
    let demands = vec![Demand { of: PUT_BACK, against: OURS, most: Most::Times(0.25) }];
    Ok(Row { id: "machine", title: title.into(), unit: "us", contenders, demands, rate_of: Some("runs") })
}

pub fn memory(programs: &Programs, images: &Images, progress: &mut Progress) -> Result<Row> {
    let title = "resident memory (VmHWM), the guest waiting for input, 16 MiB of RAM";
    progress.next(title);
    let mut measures: Vec<Measure<'_>> = Vec::new();
    for (name, program) in programs.monitors() {
        measures.push((name, Box::new(|| resident(&mut on(program, &images.ask)))));
    }
    let contenders = in_turns(progress, title, 2, measures)?;
    let demands = vec![Demand { of: OURS, against: PLAIN, most: Most::More(2048.0) }];
    Ok(Row { id: "memory", title: title.into(), unit: "KiB", contenders, demands, rate_of: None })
}

pub fn tests(
    programs: &Programs,
    images: &Images,
    runner: &Path,
    suite: &Path,
    rounds: usize,
    progress: &mut Progress,
) -> Result<Row> {
    let tests = crate::cargo::TESTS;
    let title = format!("a test in the guest ({tests} trivial ones; C: machines for one hlt), each");
    progress.next(&title);
    let each = |seconds: f64| seconds * 1e6 / tests as f64;
    let run = |threads: &'static [&str]| {
        move || {
            let mut command = Command::new(runner);
            command.args(["--engine", "kvm"]).arg(suite).args(["--", "--quiet"]).args(threads);
            Ok(each(time(&mut command)?))
        }
    };
    let mut measures: Vec<Measure<'_>> = Vec::new();
    let machines = || Ok(each(time(on(&programs.plain, &images.halt).arg(tests.to_string()))?));
    measures.push((PLAIN, Box::new(machines)));
    measures.push(("flatland-test", Box::new(run(&[]))));
    measures.push(("flatland-test, one thread", Box::new(run(&["--test-threads=1"]))));
    let contenders = in_turns(progress, &title, rounds, measures)?;
    Ok(Row { id: "tests", title, unit: "us", contenders, demands: Vec::new(), rate_of: Some("tests") })
}

pub fn edit(root: &Path, rounds: usize, progress: &mut Progress) -> Result<Row> {
    let title = "cargo xtask run hello";
    progress.next(title);
    let hello = root.join("guest/src/bin/hello.rs");
    let run = || time(crate::cargo::cargo(root, "xtask run hello").stderr(Stdio::null()));
    run()?; // not counted: everything is built
    let build = "build --quiet --release --package flatland-contract";
    let measures: Vec<Measure<'_>> = vec![
        ("a cargo build, nothing to do", Box::new(|| time(&mut crate::cargo::cargo(root, build)))),
        ("nothing changed", Box::new(run)),
        (
            "an edit of hello.rs",
            Box::new(|| {
                crate::cargo::touch(&hello)?;
                run()
            }),
        ),
    ];
    let contenders = in_turns(progress, title, rounds, measures)?;
    Ok(Row { id: "edit", title: title.into(), unit: "s", contenders, demands: Vec::new(), rate_of: None })
}

pub fn cold(root: &Path, folder: &Path, progress: &mut Progress) -> Result<Row> {
    let title = "the first cargo xtask run hello in a new checkout (everything is compiled)";
    progress.next(title);
    let contenders = vec![Contender { name: OURS, samples: vec![crate::cargo::cold(root, folder)?] }];
    Ok(Row { id: "cold", title: title.into(), unit: "s", contenders, demands: Vec::new(), rate_of: None })
}
