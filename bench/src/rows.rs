//! The rows of the table: the contenders of each, their work, and the number of rounds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::{self, cargo};
use crate::figures::{Demand, Row};
use crate::processes::{compile, resident, system_calls, time, time_to_answer, time_to_first_byte};
use crate::{Options, Result, images, machines};

const PLAIN: &str = "plain C";
const BEST: &str = "best C";
const OURS: &str = "flatland";
const PUT_BACK: &str = "flatland, put back";

/// The name of a contender, and a function that measures it once.
type Measure<'a> = (&'static str, Box<dyn FnMut() -> Result<f64> + 'a>);

fn measure<'a>(name: &'static str, once: impl FnMut() -> Result<f64> + 'a) -> Measure<'a> {
    (name, Box::new(once))
}

fn at_most(times: f64, against: &'static str) -> Demand {
    Demand { of: OURS, against, times, more: 0.0 }
}

/// The programs to measure.
struct Bench<'a> {
    options: &'a Options,
    /// The folder of images and C monitors.
    folder: PathBuf,
    plain: PathBuf,
    best: PathBuf,
}

/// Builds what is measured, and measures row by row. `elsewhere` is a folder outside of the checkout.
pub fn measure_all(options: &Options, elsewhere: &Path) -> Result<Vec<Row>> {
    eprintln!("bench: building what is measured");
    fs::create_dir_all(elsewhere)?;
    let bench = Bench::prepare(options)?;
    let suite = cargo::build_suite(&options.root, &elsewhere.join("suite"))?;
    let mut rows = vec![
        bench.start()?,
        bench.first_byte()?,
        bench.conversation()?,
        bench.copy()?,
        bench.fresh_machines()?,
        bench.tests(&suite)?,
        bench.memory()?,
        bench.edit()?,
    ];
    if !options.quick {
        rows.push(bench.cold(&elsewhere.join("cold"))?);
    }
    match bench.system_calls() {
        Ok(row) => rows.push(row),
        Err(error) => eprintln!("bench: no system calls are counted: {error}"),
    }
    Ok(rows)
}

impl<'a> Bench<'a> {
    fn prepare(options: &'a Options) -> Result<Self> {
        let folder = options.root.join("target/bench");
        fs::create_dir_all(&folder)?;
        let (plain, best) = (folder.join("plain"), folder.join("best"));
        let sources = options.root.join("bench/c");
        compile(&sources.join("plain.c"), &plain, &[])?;
        // Link statically, as flatland is linked; dynamically if that fails.
        let source = sources.join("best.c");
        compile(&source, &best, &["-static"]).or_else(|_| compile(&source, &best, &[]))?;
        Ok(Self { options, folder, plain, best })
    }

    /// Writes an image to a file.
    fn image(&self, name: &str, code: &[u8]) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, code)?;
        Ok(path)
    }

    /// All programs that run an image.
    fn monitors(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let other = self.options.against.iter().map(|other| ("the other flatland", &**other));
        [(PLAIN, &*self.plain), (BEST, &*self.best), (OURS, &*self.options.flatland)].into_iter().chain(other)
    }

    /// Measures each of [`Self::monitors`] with this image.
    fn each<'b>(
        &'b self,
        image: &'b Path,
        once: impl Fn(&mut Command) -> Result<f64> + Copy + 'b,
    ) -> Vec<Measure<'b>> {
        let monitors = self.monitors();
        monitors
            .map(|(name, program)| measure(name, move || once(Command::new(program).arg(image))))
            .collect()
    }

    /// Measures all contenders in turns, so that a drift of the machine's speed affects all of them. A first turn is
    /// not counted, because it loads files into memory. `rounds` are the numbers for a full run and for a quick one.
    fn in_turns(
        &self,
        id: &'static str,
        title: &str,
        unit: &'static str,
        rounds: [usize; 2],
        mut measures: Vec<Measure<'_>>,
    ) -> Result<Row> {
        eprintln!("bench: {title}");
        let rounds = rounds[usize::from(self.options.quick)];
        if rounds > 1 {
            measures.iter_mut().try_for_each(|(_, measure)| measure().map(drop))?;
        }
        let mut contenders: Vec<_> = measures.iter().map(|(name, _)| (*name, Vec::new())).collect();
        for _ in 0..rounds {
            for ((_, measure), (_, samples)) in measures.iter_mut().zip(&mut contenders) {
                samples.push(measure()?);
            }
        }
        Ok(Row { id, title: title.into(), unit, contenders, demands: Vec::new() })
    }

    fn start(&self) -> Result<Row> {
        let title = "start to exit on one hlt";
        let row = self.beside_true("start", title, [500, 100], images::HALT, time)?;
        Ok(Row { demands: vec![at_most(1.15, PLAIN)], ..row })
    }

    fn first_byte(&self) -> Result<Row> {
        let title = "start to the first byte";
        self.beside_true("first-byte", title, [300, 60], images::ASK, time_to_first_byte)
    }

    /// Measures the monitors, and beside them a process that does nothing.
    fn beside_true(
        &self,
        id: &'static str,
        title: &str,
        rounds: [usize; 2],
        code: &[u8],
        time: fn(&mut Command) -> Result<f64>,
    ) -> Result<Row> {
        let image = self.image("start.bin", code)?;
        let once = move |command: &mut Command| Ok(time(command)? * 1e6);
        let mut measures = self.each(&image, once);
        measures.push(measure("/bin/true", || once(&mut Command::new("/bin/true"))));
        self.in_turns(id, title, "us", rounds, measures)
    }

    fn conversation(&self) -> Result<Row> {
        const BYTES: usize = 100_000;
        let title = "a byte in and a byte out (insb, outsb; 100,000 of them through pipes), each";
        let image = self.image("conversation.bin", images::CONVERSATION)?;
        let input = images::input(BYTES);
        let answers = images::answers(&input);
        let measures =
            self.each(&image, |command| Ok(time_to_answer(command, &input, &answers)? * 1e6 / BYTES as f64));
        let row = self.in_turns("conversation", title, "us", [12, 4], measures)?;
        Ok(Row { demands: vec![at_most(0.65, PLAIN)], ..row })
    }

    /// The plain monitor copies less: it has an exit for each byte, and would take half a minute for 4 MiB.
    fn copy(&self) -> Result<Row> {
        const BYTES: usize = 4 << 20;
        const PLAIN_BYTES: usize = 64 << 10;
        let title = "bulk copy (rep insb, rep outsb; 4 MiB, plain C 64 KiB), a byte";
        let image = self.image("copy.bin", images::COPY)?;
        let cat = self.options.root.join("target/guest/cat.bin");
        let input = &*images::input(BYTES);
        let ours_with_cat = ("flatland, the guest cat", &*self.options.flatland);
        let copies = self.monitors().map(|monitor| (monitor, &image)).chain([(ours_with_cat, &cat)]);
        let measures = copies.map(|((name, program), image)| {
            let bytes = &input[..if name == PLAIN { PLAIN_BYTES } else { BYTES }];
            measure(name, move || {
                let seconds = time_to_answer(Command::new(program).arg(image), bytes, bytes)?;
                Ok(seconds * 1e9 / bytes.len() as f64)
            })
        });
        let row = self.in_turns("copy", title, "ns", [10, 4], measures.collect())?;
        Ok(Row { demands: vec![at_most(1.0 / 25.0, PLAIN), at_most(1.2, BEST)], ..row })
    }

    /// The time that a C monitor takes for a machine, in microseconds, measured with `machines` of them.
    fn machine_in_c(program: &Path, image: &Path, machines: u32) -> Result<f64> {
        let seconds = time(Command::new(program).arg(image).arg(machines.to_string()))?;
        Ok(seconds * 1e6 / f64::from(machines))
    }

    fn fresh_machines(&self) -> Result<Row> {
        const MACHINES: u32 = 200;
        let title = "a fresh machine in one process, for one hlt (200 of them), each";
        let image = self.image("halt.bin", images::HALT)?;
        let measures = vec![
            measure(PLAIN, || Self::machine_in_c(&self.plain, &image, MACHINES)),
            measure(BEST, || Self::machine_in_c(&self.best, &image, MACHINES)),
            measure(OURS, || machines::fresh(MACHINES)),
            measure(PUT_BACK, || machines::put_back(MACHINES)),
        ];
        let row = self.in_turns("machine", title, "us", [20, 4], measures)?;
        Ok(Row { demands: vec![Demand { of: PUT_BACK, ..at_most(0.25, OURS) }], ..row })
    }

    fn tests(&self, suite: &Path) -> Result<Row> {
        let tests = cargo::TESTS;
        let title = format!("a test in the guest ({tests} trivial ones; C: machines for one hlt), each");
        let image = self.image("halt.bin", images::HALT)?;
        let run = |threads: &[&str]| {
            let mut command = Command::new(&self.options.runner);
            command.args(["--engine", "kvm"]).arg(suite).args(["--", "--quiet"]).args(threads);
            Ok(time(&mut command)? * 1e6 / f64::from(tests))
        };
        let measures = vec![
            measure(PLAIN, || Self::machine_in_c(&self.plain, &image, tests)),
            measure("flatland-test", || run(&[])),
            measure("flatland-test, one thread", || run(&["--test-threads=1"])),
        ];
        self.in_turns("tests", &title, "us", [20, 4], measures)
    }

    fn memory(&self) -> Result<Row> {
        let title = "resident memory (VmHWM), the guest waiting for input, 16 MiB of RAM";
        let image = self.image("ask.bin", images::ASK)?;
        let row = self.in_turns("memory", title, "KiB", [2, 2], self.each(&image, resident))?;
        Ok(Row { demands: vec![Demand { more: 2048.0, ..at_most(1.0, PLAIN) }], ..row })
    }

    fn edit(&self) -> Result<Row> {
        let root = &self.options.root;
        let hello = root.join("guest/src/bin/hello.rs");
        let build = "build --quiet --release --package flatland-contract";
        let run = || time(cargo(root, "xtask run hello").stderr(Stdio::null()));
        let measures = vec![
            measure("a cargo build, nothing to do", || time(&mut cargo(root, build))),
            measure("nothing changed", run),
            measure("an edit of hello.rs", || {
                cargo::touch(&hello)?;
                run()
            }),
        ];
        self.in_turns("edit", "cargo xtask run hello", "s", [10, 3], measures)
    }

    fn cold(&self, folder: &Path) -> Result<Row> {
        let title = "the first cargo xtask run hello in a new checkout (everything is compiled)";
        let measures = vec![measure(OURS, || cargo::cold(&self.options.root, folder))];
        self.in_turns("cold", title, "s", [1, 1], measures)
    }

    /// Counts the system calls that a longer conversation makes beyond those of a short one, so that calls made once
    /// do not count. The longer one has one more buffer of input.
    fn system_calls(&self) -> Result<Row> {
        const BYTES: [usize; 2] = [4 << 10, 68 << 10];
        let title = "system calls of the conversation's thread, for a byte in and a byte out";
        let image = self.image("conversation.bin", images::CONVERSATION)?;
        let log = self.folder.join("strace");
        let measures = self.monitors().map(|(name, program)| {
            measure(name, || {
                let [short, long] =
                    BYTES.map(|bytes| system_calls(program, &image, &images::input(bytes), &log));
                Ok((long? - short?) / (BYTES[1] - BYTES[0]) as f64)
            })
        });
        let row = self.in_turns("system-calls", title, "calls", [1, 1], measures.collect())?;
        Ok(Row { demands: vec![at_most(1.05, BEST)], ..row })
    }
}
