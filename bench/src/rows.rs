//! The rows of the table: the contenders of each, their work, and the number of rounds.

mod recordings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::{self, cargo};
use crate::figures::{Demand, Row};
use crate::processes::{
    check_other, compile, resident, system_calls, time, time_to_answer, time_to_first_byte,
};
use crate::{Options, Result, images, machines};
use flatland::EngineChoice;

const PLAIN: &str = "plain C";
const BEST: &str = "best C";
/// With the default engine, which moves.
const OURS: &str = "flatland";
const KVM: &str = "flatland --engine kvm";
const SOFT: &str = "flatland --engine soft";
const PUT_BACK: &str = "flatland, put back";
const TESTS: &str = "flatland-test";
const TESTS_ON_SOFT: &str = "flatland-test --engine soft";

/// The name of a contender, and a function that measures it once.
type Measure<'a> = (&'static str, Box<dyn FnMut() -> Result<f64> + 'a>);

fn measure<'a>(name: &'static str, once: impl FnMut() -> Result<f64> + 'a) -> Measure<'a> {
    (name, Box::new(once))
}

fn at_most(times: f64, against: &'static [&'static str]) -> Demand {
    Demand { of: OURS, against, times, more: 0.0 }
}

/// A program that runs an image.
#[derive(Clone, Copy)]
struct Monitor<'a> {
    name: &'static str,
    program: &'a Path,
    options: &'static [&'static str],
}

impl Monitor<'_> {
    fn command(&self, image: &Path) -> Command {
        let mut command = Command::new(self.program);
        command.args(self.options).arg(image);
        command
    }
}

/// The work for a contender that is much slower than others: what is measured is scaled to the whole work.
#[derive(Clone, Copy)]
struct Part {
    contender: &'static str,
    part: f64,
}

impl Part {
    /// For a title. Empty for the whole.
    fn in_words(self) -> String {
        let Self { contender, part } = self;
        // 0 is the part of somebody who cannot do it at all.
        match part > 0.0 && part < 1.0 {
            true => format!(", {contender} 1/{:.0} of it", 1.0 / part),
            false => String::new(),
        }
    }
}

/// How fast the engines by name compute, in seconds for an iteration of [`images::COMPUTE`]. Infinite if they cannot.
struct Computing {
    kvm: f64,
    soft: f64,
}

impl Computing {
    /// The part of a computation of this many seconds on the faster engine that takes the other one no longer than
    /// `most` seconds, or all of it.
    fn part(&self, contender: &'static str, seconds: f64, most: f64) -> Part {
        let own = if contender == KVM { self.kvm } else { self.soft };
        Part { contender, part: (most / (seconds * own / self.better())).min(1.0) }
    }

    fn better(&self) -> f64 {
        self.kvm.min(self.soft)
    }

    /// The iterations that take the faster engine this many seconds.
    fn iterations(&self, seconds: f64) -> f64 {
        seconds / self.better()
    }
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
    let computing = bench.computing();
    let mut rows = vec![
        bench.start()?,
        bench.first_byte()?,
        bench.conversation()?,
        bench.short_conversation()?,
        bench.computation(&computing)?,
        bench.alternation(&computing)?,
        bench.copy()?,
        bench.recorded_conversation()?,
        bench.recorded_copy()?,
        bench.recording_size()?,
        bench.fresh_machines()?,
        bench.many_runs()?,
        bench.tests(&suite)?,
        bench.memory()?,
        bench.edit()?,
    ];
    if !options.quick {
        rows.push(bench.cold(&elsewhere.join("cold"))?);
    }
    rows.push(bench.system_calls()?);
    Ok(rows)
}

impl<'a> Bench<'a> {
    fn prepare(options: &'a Options) -> Result<Self> {
        // Later it would only not be measured, as a monitor without KVM.
        options.against.iter().try_for_each(|other| check_other(other))?;
        let folder = options.root.join("target/bench");
        fs::create_dir_all(&folder)?;
        let (plain, best) = (folder.join("plain"), folder.join("best"));
        let sources = options.root.join("bench/c");
        let source = sources.join("best.c");
        // Link statically, as flatland is linked; dynamically if that fails.
        let compiled = compile(&sources.join("plain.c"), &plain, &[])
            .and_then(|()| compile(&source, &best, &["-static"]).or_else(|_| compile(&source, &best, &[])));
        if let Err(error) = compiled {
            eprintln!("bench: {error}");
            // Programs of another time are not what is to be measured.
            [&plain, &best].map(fs::remove_file).into_iter().for_each(drop);
        }
        Ok(Self { options, folder, plain, best })
    }

    /// Writes an image to a file.
    fn image(&self, name: &str, code: &[u8]) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, code)?;
        Ok(path)
    }

    /// All programs that run an image, with the engine that they take by themselves.
    fn monitors(&self) -> impl Iterator<Item = Monitor<'_>> {
        let other = self.options.against.iter().map(|other| ("the other flatland", &**other));
        let all = [(PLAIN, &*self.plain), (BEST, &*self.best), (OURS, &*self.options.flatland)];
        all.into_iter().chain(other).map(|(name, program)| Monitor { name, program, options: &[] })
    }

    /// flatland with the default engine.
    fn ours(&self) -> Monitor<'_> {
        Monitor { name: OURS, program: &self.options.flatland, options: &[] }
    }

    /// flatland with each engine by name, which does not move.
    fn by_name(&self) -> [Monitor<'_>; 2] {
        let program = &*self.options.flatland;
        [(KVM, &["--engine", "kvm"]), (SOFT, &["--engine", "soft"])].map(|(name, options)| Monitor {
            name,
            program,
            options,
        })
    }

    /// flatland with the default engine, and with each by name.
    fn engines(&self) -> impl Iterator<Item = Monitor<'_>> {
        self.monitors().filter(|monitor| ![PLAIN, BEST].contains(&monitor.name)).chain(self.by_name())
    }

    /// Measures each of these with this image.
    fn each<'b>(
        image: &'b Path,
        monitors: impl Iterator<Item = Monitor<'b>>,
        once: impl Fn(&mut Command) -> Result<f64> + Copy + 'b,
    ) -> Vec<Measure<'b>> {
        monitors.map(|monitor| measure(monitor.name, move || once(&mut monitor.command(image)))).collect()
    }

    /// Measures all contenders in turns, so that a drift of the machine's speed affects all of them. A first turn is
    /// not counted, because it loads files into memory. Who fails in the first turn, such as on a machine without KVM,
    /// is not measured. `rounds` are the numbers for a full run and for a quick one.
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
        let mut contenders: Vec<_> = measures.iter().map(|(name, _)| (*name, Vec::new())).collect();
        let uncounted = usize::from(rounds > 1);
        let mut is_measured = vec![true; measures.len()];
        for turn in 0..uncounted + rounds {
            let all = measures.iter_mut().zip(&mut contenders).zip(&mut is_measured);
            for (((name, measure), (_, samples)), is_measured) in all.filter(|(_, is_measured)| **is_measured)
            {
                match measure() {
                    Ok(_) if turn < uncounted => {}
                    Ok(sample) => samples.push(sample),
                    Err(error) if turn == 0 => {
                        eprintln!("bench: {name} is not measured: {}", error.to_string().trim_end());
                        *is_measured = false;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Row { id, title: title.into(), unit, contenders, demands: Vec::new() })
    }

    fn start(&self) -> Result<Row> {
        let title = "start to exit on one hlt";
        let row = self.beside_true("start", title, [500, 100], images::HALT, time)?;
        Ok(Row { demands: vec![at_most(1.15, &[PLAIN])], ..row })
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
        let mut measures = Self::each(&image, self.monitors(), once);
        measures.push(measure("/bin/true", || once(&mut Command::new("/bin/true"))));
        self.in_turns(id, title, "us", rounds, measures)
    }

    fn conversation(&self) -> Result<Row> {
        const BYTES: usize = 100_000;
        let title = "a byte in and a byte out (insb, outsb; 100,000 of them through pipes), each";
        let image = self.image("conversation.bin", images::CONVERSATION)?;
        let input = images::input(BYTES);
        let answers = images::answers(&input);
        let monitors = self.monitors().chain(self.by_name());
        let measures = Self::each(&image, monitors, |command| {
            Ok(time_to_answer(command, &input, &answers)? * 1e6 / BYTES as f64)
        });
        let row = self.in_turns("conversation", title, "us", [12, 4], measures)?;
        Ok(Row {
            demands: vec![at_most(0.05, &[PLAIN]), Demand { of: KVM, ..at_most(0.65, &[PLAIN]) }],
            ..row
        })
    }

    /// What a person or a script sees of it. The run stayed on KVM before engines moved.
    fn short_conversation(&self) -> Result<Row> {
        let title = "start, 100 bytes in and 100 out (insb, outsb), end";
        let image = self.image("conversation.bin", images::CONVERSATION)?;
        let input = images::input(100);
        let answers = images::answers(&input);
        let once = |command: &mut Command| Ok(time_to_answer(command, &input, &answers)? * 1e6);
        let measures = Self::each(&image, self.engines(), once);
        let row = self.in_turns("short-conversation", title, "us", [300, 60], measures)?;
        Ok(Row { demands: vec![at_most(1.0, &[KVM])], ..row })
    }

    /// Times the engines by name with more and more iterations, until the time is long enough to be of the iterations.
    fn computing(&self) -> Computing {
        const ENOUGH: f64 = 0.1;
        let time = |monitor: Monitor| -> Result<f64> {
            let image = self.image("compute.bin", images::COMPUTE)?;
            let mut iterations = 20_000;
            loop {
                let (input, answer) = (images::compute_input(iterations), images::compute_answer(iterations));
                let mut seconds = f64::INFINITY;
                // Noise only adds time.
                for _ in 0..3 {
                    let once = time_to_answer(&mut monitor.command(&image), &input, &answer)?;
                    seconds = seconds.min(once);
                }
                if seconds >= ENOUGH || iterations > u32::MAX / 4 {
                    return Ok(seconds / f64::from(iterations));
                }
                iterations *= 4;
            }
        };
        let [kvm, soft] = self.by_name().map(|monitor| time(monitor).unwrap_or(f64::INFINITY));
        Computing { kvm, soft }
    }

    /// The engine that is much slower computes less, so that it takes about as long. That is KVM where it emulates.
    fn computation(&self, computing: &Computing) -> Result<Row> {
        /// The time on the soft engine.
        const SECONDS: [f64; 2] = [2.0, 1.0];
        let seconds = SECONDS[usize::from(self.options.quick)];
        let iterations = seconds / computing.soft;
        let on_better = iterations * computing.better();
        let part = computing.part(KVM, on_better, seconds);
        let title = format!(
            "computing without an exit, 4 instructions ({:.0} million times{}), each",
            iterations / 1e6,
            part.in_words()
        );
        let image = self.image("compute.bin", images::COMPUTE)?;
        let measures = self.engines().map(|monitor| {
            let iterations = if monitor.name == KVM { iterations * part.part } else { iterations };
            let iterations = iterations.clamp(1.0, u32::MAX.into()) as u32;
            let (input, answer) = (images::compute_input(iterations), images::compute_answer(iterations));
            let mut command = monitor.command(&image);
            measure(monitor.name, move || {
                Ok(time_to_answer(&mut command, &input, &answer)? * 1e9 / f64::from(iterations))
            })
        });
        let row = self.in_turns("computation", &title, "ns", [6, 3], measures.collect())?;
        Ok(Row { demands: vec![at_most(1.1, &[KVM, SOFT])], ..row })
    }

    /// The engines by name do a part of one round where all rounds would take them long.
    fn alternation(&self, computing: &Computing) -> Result<Row> {
        const ROUNDS: u32 = 20;
        const BYTES: f64 = 10_000.0;
        const COMPUTING: f64 = 0.05;
        /// The most for a contender, in seconds.
        const MOST: f64 = 1.0;
        let parts = [KVM, SOFT].map(|name| computing.part(name, COMPUTING * f64::from(ROUNDS), 4.0 * MOST));
        let parts = parts.map(|part| match part.part < 1.0 {
            true => Part {
                part: computing.part(part.contender, COMPUTING, MOST).part / f64::from(ROUNDS),
                ..part
            },
            false => part,
        });
        let title = format!(
            "computing for 50 ms on the better engine, then 10,000 bytes in and out ({ROUNDS} times{}), each",
            parts.map(Part::in_words).concat()
        );
        let image = self.image("alternate.bin", images::ALTERNATE)?;
        let measures = self.engines().map(|monitor| {
            let part = parts.iter().find(|part| part.contender == monitor.name).map_or(1.0, |part| part.part);
            let rounds = if part < 1.0 { 1 } else { ROUNDS };
            let part_of_round = part * f64::from(ROUNDS / rounds);
            let number = |whole: f64| (whole * part_of_round).clamp(1.0, u32::MAX.into()) as u32;
            let (iterations, bytes) = (number(computing.iterations(COMPUTING)), number(BYTES));
            let input = images::alternate_input(iterations, bytes, rounds);
            let answers = images::alternate_answers(iterations, bytes, rounds);
            let done = f64::from(rounds) * f64::from(bytes) / BYTES;
            let mut command = monitor.command(&image);
            measure(monitor.name, move || Ok(time_to_answer(&mut command, &input, &answers)? * 1e3 / done))
        });
        let row = self.in_turns("alternation", &title, "ms", [4, 3], measures.collect())?;
        Ok(Row { demands: vec![at_most(1.15, &[KVM, SOFT])], ..row })
    }

    /// The plain monitor copies less: it has an exit for each byte, and would take half a minute for 4 MiB.
    fn copy(&self) -> Result<Row> {
        const BYTES: usize = 4 << 20;
        const PLAIN_BYTES: usize = 64 << 10;
        let title = "bulk copy (rep insb, rep outsb; 4 MiB, plain C 64 KiB), a byte";
        let image = self.image("copy.bin", images::COPY)?;
        let cat = self.options.root.join("target/guest/cat.bin");
        let input = &*images::input(BYTES);
        let ours = Monitor { name: "flatland, the guest cat", program: &self.options.flatland, options: &[] };
        let monitors = self.monitors().chain(self.by_name());
        let copies = monitors.map(|monitor| (monitor, &image)).chain([(ours, &cat)]);
        let measures = copies.map(|(monitor, image)| {
            let bytes = &input[..if monitor.name == PLAIN { PLAIN_BYTES } else { BYTES }];
            measure(monitor.name, move || {
                let seconds = time_to_answer(&mut monitor.command(image), bytes, bytes)?;
                Ok(seconds * 1e9 / bytes.len() as f64)
            })
        });
        let row = self.in_turns("copy", title, "ns", [10, 4], measures.collect())?;
        Ok(Row { demands: vec![at_most(1.0 / 25.0, &[PLAIN]), at_most(1.2, &[BEST])], ..row })
    }

    /// The time that a C monitor takes for a machine, in microseconds, measured with `machines` of them.
    fn machine_in_c(program: &Path, image: &Path, machines: u32) -> Result<f64> {
        let seconds = time(Command::new(program).arg(image).arg(machines.to_string()))?;
        Ok(seconds * 1e6 / f64::from(machines))
    }

    fn fresh_machines(&self) -> Result<Row> {
        const MACHINES: u32 = 200;
        let title = "a fresh machine on KVM in one process, for one hlt (200 of them), each";
        let image = self.image("halt.bin", images::HALT)?;
        let measures = vec![
            measure(PLAIN, || Self::machine_in_c(&self.plain, &image, MACHINES)),
            measure(BEST, || Self::machine_in_c(&self.best, &image, MACHINES)),
            measure(OURS, || machines::fresh(MACHINES)),
            measure(PUT_BACK, || machines::put_back(MACHINES)),
        ];
        let row = self.in_turns("machine", title, "us", [20, 4], measures)?;
        Ok(Row { demands: vec![Demand { of: PUT_BACK, ..at_most(0.25, &[OURS]) }], ..row })
    }

    /// KVM does fewer: putting it back takes about a hundred times as long.
    fn many_runs(&self) -> Result<Row> {
        const RUNS: u32 = 20_000;
        const RUNS_ON_KVM: u32 = 500;
        /// 300,000 runs a second.
        const MOST: f64 = 3.33;
        let title =
            "a byte in and a byte out from a snapshot, by the library (20,000 times, on KVM 500), each";
        let measures = vec![
            measure(OURS, || machines::many_runs(EngineChoice::Auto, RUNS)),
            measure(KVM, || machines::many_runs(EngineChoice::Kvm, RUNS_ON_KVM)),
            measure(SOFT, || machines::many_runs(EngineChoice::Soft, RUNS)),
        ];
        let row = self.in_turns("many-runs", title, "us", [20, 4], measures)?;
        Ok(Row { demands: vec![Demand { more: MOST, ..at_most(0.0, &[]) }], ..row })
    }

    fn tests(&self, suite: &Path) -> Result<Row> {
        let tests = cargo::TESTS;
        let title = format!("a test in the guest ({tests} trivial ones; C: machines for one hlt), each");
        let image = self.image("halt.bin", images::HALT)?;
        let run = |engine: &[&str], options: &[&str]| {
            let mut command = Command::new(&self.options.runner);
            command.args(engine).arg(suite).args(["--", "--quiet"]).args(options);
            Ok(time(&mut command)? * 1e6 / f64::from(tests))
        };
        let measures = vec![
            measure(PLAIN, || Self::machine_in_c(&self.plain, &image, tests)),
            measure(TESTS, || run(&[], &[])),
            measure("flatland-test --engine kvm", || run(&["--engine", "kvm"], &[])),
            measure(TESTS_ON_SOFT, || run(&["--engine", "soft"], &[])),
            measure("flatland-test, one thread", || run(&[], &["--test-threads=1"])),
        ];
        let row = self.in_turns("tests", &title, "us", [20, 4], measures)?;
        Ok(Row { demands: vec![Demand { of: TESTS, ..at_most(1.2, &[TESTS_ON_SOFT]) }], ..row })
    }

    fn memory(&self) -> Result<Row> {
        let title = "resident memory (VmHWM), the guest waiting for input, 16 MiB of RAM";
        let image = self.image("ask.bin", images::ASK)?;
        let row =
            self.in_turns("memory", title, "KiB", [2, 2], Self::each(&image, self.monitors(), resident))?;
        Ok(Row { demands: vec![Demand { more: 2048.0, ..at_most(1.0, &[PLAIN]) }], ..row })
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
        let measures = self.monitors().map(|Monitor { name, program, .. }| {
            measure(name, || {
                let [short, long] =
                    BYTES.map(|bytes| system_calls(program, &image, &images::input(bytes), &log));
                Ok((long? - short?) / (BYTES[1] - BYTES[0]) as f64)
            })
        });
        let row = self.in_turns("system-calls", title, "calls", [1, 1], measures.collect())?;
        Ok(Row { demands: vec![at_most(1.05, &[BEST])], ..row })
    }
}
