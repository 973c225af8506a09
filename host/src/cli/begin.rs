//! What a run begins with: the program, snapshot or recording, and the files that it writes.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use crate::program::Symbols;
use crate::program::source_map::source_files;
use crate::x86::Unsupported;
use crate::{
    BuildError, Builder, ChoiceError, EngineChoice, FileError, FileKind, Machine, Program, ProgramError,
    Recorder, Recording, Snapshot, StreamError, Streams, devices,
};

use super::messages::say;
use super::options::Options;
use super::profiles::ProfileTo;
use super::recordings::{self, RecordTo};
use super::sandbox::Needs;
use super::save::SaveFile;
use super::{closed_output, files, signals};

/// The files of the command line that could be opened.
pub struct Given<'a> {
    /// What is run, for the report.
    pub image: PathBuf,
    /// The ELF file, if it is this program's.
    pub symbols: Option<PathBuf>,
    /// Where to write the report.
    pub report: Option<(File, &'a Path)>,
    /// Where to write a profile.
    pub profile: Option<ProfileTo<'a>>,
    /// Where to write the trace.
    pub trace_file: Option<(File, &'a Path)>,
    /// Where to save the state at the end.
    pub save: Option<(SaveFile, &'a Path)>,
    /// Where the run is recorded.
    pub record: Option<RecordTo>,
    /// What records it.
    pub recorder: Option<Recorder>,
    /// The engine that the recorded run began with, if this is a replay.
    pub recorded_on: Option<String>,
}

/// What a run begins with.
enum Begin {
    Program(Program),
    Snapshot(Box<Snapshot>),
    Recording(Box<Recording>),
}

/// Creates the file of an option, if it is given.
fn to_write<'a, T>(
    option: &str,
    path: Option<&'a Path>,
    create: impl Fn(&Path) -> io::Result<T>,
) -> Result<Option<(T, &'a Path)>, String> {
    let Some(path) = path else { return Ok(None) };
    let failed = |error| format!("cannot write {option} `{}` ({error}): give another place", path.display());
    Ok(Some((create(path).map_err(failed)?, path)))
}

/// The machine, with all files open. An error is one sentence.
pub fn machine(options: &Options) -> Result<(Machine, Given<'_>), String> {
    let begin = match (&options.from_snapshot, &options.replay) {
        (Some(path), _) => Begin::Snapshot(Box::new(read_snapshot(path)?)),
        (None, Some(path)) => Begin::Recording(Box::new(recordings::open(path, options)?)),
        (None, None) => Begin::Program(open_program(options)?),
    };
    // Created before the run: a failure afterwards would lose the results of the run.
    let report = to_write("--report", options.report.as_deref(), |path| File::create(path))?;
    let profile = options.profile.as_ref();
    let profile = to_write("--profile", profile.map(|(path, _)| path.as_path()), |path| File::create(path))?
        .zip(profile)
        .map(|((file, path), (_, format))| ProfileTo { file, path, format: *format });
    let trace_file = to_write("--trace-file", options.trace_file.as_deref(), |path| File::create(path))?;
    let save = to_write("--save-snapshot", options.save_snapshot.as_deref(), SaveFile::create)?;
    let record = RecordTo::create(options)?;
    if closed_output::is_closed() {
        return Err("standard output is closed: redirect it to a file, or to /dev/null for no output".into());
    }
    let builder = builder(options)?;
    let mut recorded_on = None;
    let (mut machine, symbols) = match begin {
        Begin::Program(program) => {
            let machine = builder.build(&program).map_err(|error| build_message(&error, options))?;
            let symbols = program.elf().and(options.symbols.as_ref().or(options.program.as_ref()));
            (machine, symbols.cloned())
        }
        Begin::Recording(recording) => {
            let machine = builder.replay(&recording).map_err(|error| build_message(&error, options))?;
            let symbols = match names_for(&machine, options)? {
                None if options.program.is_none() && options.symbols.is_none() => {
                    let path = options.replay.as_deref().unwrap_or(Path::new(""));
                    recordings::names_of(&recording, path, &machine)
                }
                symbols => symbols,
            };
            recorded_on = Some(recording.engine().into());
            (machine, symbols)
        }
        Begin::Snapshot(snapshot) => {
            let machine = builder.build_from(&snapshot).map_err(|error| build_message(&error, options))?;
            if snapshot.outcome().is_some() {
                say(
                    "the run of the snapshot had ended, and ends in the same way: to go on, save one at a limit or by \
                     Ctrl-C",
                );
            }
            let symbols = names_for(&machine, options)?;
            (machine, symbols)
        }
    };
    if let Some(why) = machine.fell_back() {
        let why = match why {
            // What it advises has been done.
            ChoiceError::Unsupported(Unsupported { engine, what, .. }) => {
                format!("{engine} cannot {what}: give --engine soft to leave out this line")
            }
            why => engine_message(why),
        };
        say(&format!("running on the soft engine, because {why}"));
    }
    signals::listen(machine.interrupt_handle()).map_err(|errno| {
        format!("cannot listen for Ctrl-C ({errno}): report it, with your kernel's version")
    })?;
    let (record, recorder) =
        record.map(|(file, to)| (to, RecordTo::recorder(file, options, symbols.as_deref()))).unzip();
    if save.is_some() {
        // A guest asks once, and the run may be looked at when it goes on.
        machine.listen_to_spans();
    }
    let image = [&options.program, &options.from_snapshot, &options.replay];
    let image = image.into_iter().flatten().next().cloned().unwrap_or_default();
    Ok((machine, Given { image, symbols, report, profile, trace_file, save, record, recorder, recorded_on }))
}

impl Given<'_> {
    /// What the run needs although these files are open.
    pub fn needs(&self, options: &Options) -> Needs {
        let mut needs = Needs { is_debugged: options.gdb.is_some(), ..Needs::default() };
        if let Some(elf) = &self.symbols {
            // Reports and coverage show lines of source.
            needs.reads = source_files(elf);
            needs.reads.push(elf.clone());
        }
        if self.record.is_some() || options.replay.is_some() {
            // It says which pages of RAM are in use.
            needs.reads.push("/proc/self/pagemap".into());
        }
        needs.writes.extend(options.coverage.to.clone());
        let socket = match &options.gdb {
            #[cfg(unix)]
            Some(crate::gdb::Address::Unix(path)) => Some(path.as_path()),
            _ => None,
        };
        let saved = self.save.as_ref().and_then(|(file, _)| file.renamed_to());
        let recorded = self.record.as_ref().and_then(RecordTo::removed);
        needs.moves.extend([socket, saved, recorded].into_iter().flatten().map(folder_of));
        needs
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        None => path.into(),
        Some(folder) if folder.as_os_str().is_empty() => ".".into(),
        Some(folder) => folder.into(),
    }
}

/// The settings of the machine, without its program.
fn builder(options: &Options) -> Result<Builder, String> {
    let streams = Streams::standard().map_err(|error: StreamError| error.to_string())?;
    // Only the soft engine goes back, and shows what it executes.
    let needs_soft = options.gdb.is_some()
        || options.tracks_origins
        || options.coverage.is_made
        || options.has_timeline()
        || options.profile.is_some();
    let engine =
        if needs_soft && options.engine == EngineChoice::Auto { EngineChoice::Soft } else { options.engine };
    let mut builder = Machine::builder()
        .engine(engine)
        .memory(options.memory.unwrap_or_default())
        .streams(streams)
        .arguments(options.arguments.iter().map(|argument| argument.as_encoded_bytes()));
    if let Some(stack) = options.stack {
        builder = builder.stack(stack);
    }
    if let Some(limit) = options.max_instructions {
        builder = builder.instruction_limit(limit);
    }
    if let Some(limit) = options.timeout {
        builder = builder.time_limit(limit);
    }
    if let Some(start) = options.clock {
        builder = builder.clock_device(devices::Clock::repeatable(start));
    }
    if let Some(seed) = options.seed {
        builder = builder.random_device(devices::Random::repeatable(seed));
    }
    Ok(builder)
}

/// The program, with its ELF file if that can be used.
fn open_program(options: &Options) -> Result<Program, String> {
    let path = options.program.as_deref().unwrap_or(Path::new(""));
    let mut program = Program::open_for(path, options.memory.unwrap_or_default()).map_err(|error| {
        let hint = match &error {
            ProgramError::Image(crate::ImageError::TooLarge { .. }) => " with --memory SIZE",
            _ => "",
        };
        program_message(options, &error, hint)
    })?;
    if let Some(symbols) = &options.symbols {
        // Its contents are read only for a report. Opening it now reports a wrong path before the run.
        check_symbols(symbols)?;
        if let Err(error) = program.add_elf(symbols) {
            say(&format!("{error} as --symbols"));
        }
    }
    Ok(program)
}

fn check_symbols(path: &Path) -> Result<(), String> {
    files::open(path)
        .map(drop)
        .map_err(|error| format!("cannot read --symbols `{}` ({error}): check the path", path.display()))
}

fn program_message(options: &Options, error: &dyn std::fmt::Display, hint: &str) -> String {
    let path = options.program.as_deref().unwrap_or(Path::new(""));
    format!("cannot run `{}`: {error}{hint}", path.display())
}

fn read_snapshot(path: &Path) -> Result<Snapshot, String> {
    let read =
        File::open(path).map_err(FileError::Read).and_then(|file| Snapshot::read_from(BufReader::new(file)));
    read.map_err(|error| {
        format!("cannot go on from `{}`: {}", path.display(), error.words(FileKind::Snapshot))
    })
}

/// The ELF file with the names of a program that came from a snapshot, if it is this program's.
fn names_for(machine: &Machine, options: &Options) -> Result<Option<PathBuf>, String> {
    let path = match (&options.symbols, &options.program) {
        (Some(symbols), _) => {
            check_symbols(symbols)?;
            symbols
        }
        (None, Some(program)) => {
            files::open(program).map_err(|error| {
                format!("cannot read `{}` ({error}): check the path, or leave it out", program.display())
            })?;
            program
        }
        (None, None) => return Ok(None),
    };
    match Symbols::open(path, &|address, bytes| machine.read_ram(address, bytes)) {
        Ok(_) => Ok(Some(path.clone())),
        Err(error) => {
            say(&error.to_string());
            Ok(None)
        }
    }
}

/// Why the machine cannot be built, with the options that would help.
fn build_message(error: &BuildError, options: &Options) -> String {
    if let (BuildError::Restore(error), Some(path)) = (error, &options.from_snapshot) {
        return format!("cannot go on from `{}`: {error}", path.display());
    }
    if let (BuildError::Restore(error), Some(path)) = (error, &options.replay) {
        return format!("cannot replay `{}`: {error}", path.display());
    }
    match error {
        BuildError::Image(error) => program_message(options, error, " with --memory SIZE"),
        BuildError::Memory(error) => format!("{error} (--memory SIZE, --stack SIZE)"),
        BuildError::Engine(ChoiceError::Unsupported(Unsupported { engine, what, .. })) => {
            format!("{engine} cannot {what}: choose --engine soft")
        }
        BuildError::Engine(error) if options.engine == EngineChoice::Kvm => {
            format!("{}; or choose --engine soft", engine_message(error))
        }
        BuildError::Engine(error) => engine_message(error),
        error => error.to_string(),
    }
}

fn engine_message(error: &ChoiceError) -> String {
    match error {
        #[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
        ChoiceError::Kvm(error @ crate::kvm::KvmError::NoMemory(_)) => {
            format!("{error} with --memory SIZE")
        }
        error => error.to_string(),
    }
}
