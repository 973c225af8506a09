//! What a fuzzer has found: told apart by what happened and where, and kept so that it can be worked on.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::hash::Hasher;
use std::path::{Path, PathBuf};

use flatland::backtrace::{Backtrace, Start};
use flatland::program::{Function, Symbols};
use flatland::report::{Call, Calls, Paint, Report};
use flatland::words;
use flatland::x86::FaultKind;
use flatland::{Event, Outcome, Recorder, Stop, Wants};

use twox_hash::XxHash3_64;

use crate::target::{Bad, Target};
use crate::{Result, screen};

/// Names the bad ends of runs.
pub struct Names {
    symbols: Option<Symbols>,
    /// The name by what has happened and the addresses of the calls: reading debug information takes long.
    known: HashMap<(&'static str, Vec<u32>), String>,
}

/// How many names are known at once. Recursions make more and more.
const MOST_KNOWN: usize = 4096;

/// How often a run that hangs is looked at, and how many instructions apart, to see which of its calls do not end.
const LOOKS: u32 = 40;
const APART: u64 = 997;

impl Names {
    /// Names of functions come from these symbols.
    pub fn new(symbols: Option<Symbols>) -> Self {
        Self { symbols, known: HashMap::new() }
    }

    /// The name of what has happened: the same for each input that leads to it, as long as the functions are the same.
    pub fn of(&mut self, bad: Bad, outcome: &Outcome, target: &mut Target) -> Result<String> {
        let mut addresses = self.calls(target)?;
        if bad == Bad::Hang {
            addresses = self.endless(addresses, target)?;
        }
        let key = (kind(bad, outcome), addresses);
        if let Some(name) = self.known.get(&key) {
            return Ok(name.clone());
        }
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        let name = self.name(key.0, &key.1);
        self.known.insert(key, name.clone());
        Ok(name)
    }

    /// The addresses of the calls, innermost first.
    fn calls(&self, target: &mut Target) -> Result<Vec<u32>> {
        let machine = target.machine();
        let registers = machine.registers().map_err(|error| error.to_string())?;
        let read = |address, bytes: &mut [u8]| machine.read_ram(address, bytes);
        Ok(Backtrace::walk(&Start::of(&registers, self.symbols.as_ref()), &read).addresses)
    }

    /// The functions, innermost first, that have not returned when a run that hangs has gone on for a while.
    fn endless(&self, addresses: Vec<u32>, target: &mut Target) -> Result<Vec<u32>> {
        let functions = |addresses: Vec<u32>| addresses.into_iter().rev().map(|address| self.start(address));
        let mut endless: Vec<u32> = functions(addresses).collect();
        target.set_limit(None)?;
        for _ in 0..LOOKS {
            let until = target.machine().instructions().map(|executed| executed + APART);
            let wants = Wants { instructions: until, ..Wants::default() };
            if let Event::Ended(_) = target.resume(&wants)? {
                break;
            }
            let now = functions(self.calls(target)?);
            let same = endless.iter().zip(now).take_while(|(before, now)| *before == now).count();
            endless.truncate(same);
        }
        target.set_limit(Some(target.limit()))?;
        endless.reverse();
        Ok(endless)
    }

    /// Where the function begins.
    fn start(&self, address: u32) -> u32 {
        self.symbols.as_ref().and_then(|symbols| symbols.function_start(address)).unwrap_or(address)
    }

    fn name(&self, kind: &str, addresses: &[u32]) -> String {
        let mut backtrace = Backtrace::default();
        backtrace.addresses = addresses.to_vec();
        let calls = Calls::new(&backtrace, self.symbols.as_ref()).short();
        // What a function of the standard library was called for says more than its name.
        let own = |call: &&Call| !call.function.is_of_the_standard_library();
        let is_own = calls.calls.iter().any(|call| own(&call));
        let mut names = Vec::new();
        for call in calls.calls.iter().filter(|call| !is_own || own(call)) {
            let Function { name, .. } = &call.function;
            let name = name.clone().unwrap_or_else(|| format!("{:#010x}", self.start(call.address)));
            // A recursion counts once, however deep it is.
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut sum = XxHash3_64::with_seed(0);
        names.iter().for_each(|name| sum.write(name.as_bytes()));
        let place = names.first().map_or_else(|| "somewhere".into(), |name| in_file_names(name));
        format!("{kind}-in-{place}-{:04x}", sum.finish() & 0xffff)
    }
}

/// A short name of what has happened.
fn kind(bad: Bad, outcome: &Outcome) -> &'static str {
    match (bad, outcome) {
        (Bad::Panic, _) => "panic",
        (Bad::Hang, _) => "hang",
        (Bad::Fault, Outcome::Fault(fault)) => match fault.kind {
            FaultKind::Exception { vector: 0, .. } => "divide-error",
            FaultKind::Exception { vector: 3, .. } => "breakpoint",
            FaultKind::Exception { vector: 6, .. } => "invalid-opcode",
            FaultKind::Exception { vector: 13, .. } => "general-protection",
            FaultKind::Exception { .. } => "exception",
            FaultKind::TripleFault => "triple-fault",
            FaultKind::OutsideRam { .. } => "outside-ram",
            FaultKind::ReadOnly { .. } => "read-only",
            FaultKind::StackOverflow { .. } => "stack-overflow",
            FaultKind::Guard { .. } => "guard",
            FaultKind::Port { .. } => "port",
            FaultKind::Unsupported { .. } => "unsupported",
            _ => "fault",
        },
        (Bad::Fault, _) => "fault",
    }
}

/// The last part of a path, in characters that every file system takes.
fn in_file_names(function: &str) -> String {
    let function = flatland::program::without_types(function);
    let last = function.rsplit("::").find(|part| !part.starts_with('{')).unwrap_or(function);
    let mut name: String = last
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '_' })
        .take(40)
        .collect();
    if name.is_empty() {
        name.push('_');
    }
    name
}

/// The folder of the findings. Each is a folder with `input`, `minimized`, `report.txt` and `run.rec`.
#[derive(Debug)]
pub struct Findings {
    folder: PathBuf,
    /// The names of those that this process has met.
    met: HashSet<String>,
}

/// How often a guest is run to make an input smaller, at most.
const MOST_RUNS: u32 = 20_000;

impl Findings {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, met: HashSet::new() }
    }

    /// Whether this process meets it for the first time.
    pub fn is_new(&mut self, name: &str) -> bool {
        self.met.insert(name.to_owned())
    }

    /// Keeps an input that has led to this. Returns what to say, or nothing if somebody has kept it before.
    pub fn keep(
        &self,
        name: &str,
        input: &[u8],
        target: &mut Target,
        names: &mut Names,
    ) -> Result<Option<String>> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&self.folder).map_err(|error| cannot_write(&self.folder, &error))?;
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(cannot_write(&folder, &error)),
        }
        let write = |file: &str, bytes: &[u8]| {
            let path = folder.join(file);
            fs::write(&path, bytes).map_err(|error| cannot_write(&path, &error))
        };
        write("input", input)?;
        let minimized = minimize(name, input, target, names)?;
        write("minimized", &minimized)?;
        let recording = folder.join("run.rec");
        let outcome = record(target, &minimized, &recording)?;
        let report = target.report(&outcome);
        let said = String::from_utf8_lossy(target.machine().streams().diagnostics.bytes()).into_owned();
        let message = headline(&report, &said);
        let text = format!("{message}\n{said}{}", report.body(Paint::PLAIN));
        write("report.txt", text.as_bytes())?;
        Ok(Some(format!(
            "found {name}: {message}\n  {} bytes; `{} gdb --replay {}` opens it in gdb at the failure",
            minimized.len(),
            words::cargo(),
            screen::path(&recording),
        )))
    }
}

/// Records the run of an input from the beginning to a file.
fn record(target: &mut Target, input: &[u8], to: &Path) -> Result<Outcome> {
    let file = File::create(to).map_err(|error| cannot_write(to, &error))?;
    let program = target.program().elf().and_then(Path::to_str).unwrap_or_default().to_owned();
    target.record(input, Recorder::new(file).program(&program))
}

/// What happened, in a sentence.
fn headline(report: &Report, said: &str) -> String {
    // The runtime's message is `guest panicked at PLACE:` and a line of text.
    let panic =
        said.lines().skip_while(|line| !line.contains("panicked at")).take(2).collect::<Vec<_>>().join(" ");
    match &report.outcome {
        Outcome::Exited(_) if !panic.is_empty() => panic,
        Outcome::Stopped(Stop::InstructionLimit(limit), _) => {
            format!("it does not end within {limit} instructions, and is{}", report.names.place)
        }
        _ => report.message().unwrap_or_else(|| "it ended badly".into()),
    }
}

/// A short input that leads to the same: pieces are left out as long as it does.
fn minimize(name: &str, input: &[u8], target: &mut Target, names: &mut Names) -> Result<Vec<u8>> {
    let mut best = input.to_vec();
    let mut runs = 0;
    let mut piece = best.len().next_power_of_two();
    while piece > 0 {
        let mut at = 0;
        while at < best.len() && runs < MOST_RUNS {
            let mut shorter = best.clone();
            shorter.drain(at..best.len().min(at + piece));
            runs += 1;
            let outcome = target.run(&shorter)?;
            let is_same = match Bad::of(&outcome) {
                Some(bad) => names.of(bad, &outcome, target)? == name,
                None => false,
            };
            match is_same {
                true => best = shorter,
                false => at += piece,
            }
        }
        piece /= 2;
    }
    Ok(best)
}

/// The folders of the findings, sorted.
pub fn folders(findings: &Path) -> Result<Vec<PathBuf>> {
    let cannot_read = |error| format!("cannot read `{}` ({error}): name another folder", findings.display());
    let mut folders = Vec::new();
    for entry in fs::read_dir(findings).map_err(cannot_read)? {
        let path = entry.map_err(cannot_read)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

pub fn cannot_write(path: &Path, error: &std::io::Error) -> String {
    format!("cannot write `{}` ({error}): name another folder with --findings", path.display())
}
