//! The command line. Both `--help` and the parser use the descriptions in a [`Table`].

mod commands;
mod words;

pub use commands::{Doc, Table};
pub use words::Words;

use std::ffi::OsString;
use std::path::PathBuf;

use anstream::ColorChoice;

use crate::Context;
use crate::caller;
use crate::guest::Profile;
use crate::new;
use crate::settings::{self, Settings};
use crate::spelling::{nearest, tolerance};

/// What a program does that is not the library's.
pub type Task = Box<dyn FnOnce(&Context) -> Result<(), String>>;

/// What a program has besides the library's commands.
#[derive(Debug)]
pub struct Own {
    /// Its table of commands.
    pub table: Table,
    /// What it says to `--version`.
    pub version: &'static str,
    /// Takes the name and the arguments of a command. Returns what to do if the command is its own; otherwise it may have
    /// changed the arguments.
    pub parse: fn(&str, &mut Vec<OsString>) -> Result<Option<Task>, String>,
}

/// A command line.
pub(crate) struct Parsed {
    /// The library's command, or the program's own.
    pub command: Result<Command, Task>,
    /// What holds for all of it.
    pub settings: Settings,
    /// The package that was named.
    pub package: Option<String>,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print this: a help, or the version.
    Print(String),
    /// Build one guest program, or all.
    Build { name: Option<String>, profile: Profile },
    /// Build a guest program and run it with these options of `flatland`.
    Run { name: Option<String>, profile: Profile, options: Vec<OsString> },
    /// List a program's instructions, of the functions with this in their names.
    Disassemble { name: String, profile: Profile, function: Option<String> },
    /// List what takes the room in a program.
    Size { name: String, profile: Profile, options: Vec<OsString> },
    /// Build a guest program and run it in gdb.
    Gdb { name: Option<String>, profile: Profile, options: GdbOptions },
    /// Run a recorded run again in gdb.
    GdbReplay { options: GdbReplayOptions },
    /// Make a guest program, here or in a crate of its own in this folder.
    New { name: String, kind: new::Kind, path: Option<PathBuf> },
    /// Write what a plain cargo needs.
    Init,
    /// Say what this machine has.
    Doctor,
    /// Run a recorded run again, with these arguments of `flatland replay`.
    Replay { arguments: Vec<OsString> },
    /// Run `flatland` with these arguments.
    Flatland { arguments: Vec<OsString> },
    /// Run the guest's tests.
    Test(GuestTests),
    /// Run a guest program, or a guest's tests, that a plain cargo has built.
    Exec { built: PathBuf, arguments: Vec<OsString> },
    /// Fuzz a guest program, or a file, with these options of flatland-fuzz and arguments of the guest's.
    Fuzz { name: String, profile: Profile, options: Vec<OsString>, arguments: Vec<OsString> },
    /// List the guest programs.
    List,
    /// Print what completes the commands in a shell.
    Completions { shell: Shell },
    /// Print the manual's page, or write all pages to this folder.
    Man { folder: Option<PathBuf> },
}

/// A shell that completes words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    Power,
}

impl Shell {
    /// All of them, by name.
    const ALL: [(&str, Self); 4] =
        [("bash", Self::Bash), ("zsh", Self::Zsh), ("fish", Self::Fish), ("powershell", Self::Power)];
}

/// The options of `cargo flatland gdb`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GdbOptions {
    /// The file with the guest's input; /dev/null if `None`.
    pub input: Option<PathBuf>,
    /// The file or terminal for the guest's output; target/guest/NAME.output if `None`.
    pub output: Option<PathBuf>,
    /// gdb's own options: `--batch`, `-x FILE` and `-ex COMMAND`.
    pub gdb: Vec<OsString>,
    /// Options of `flatland`.
    pub flatland: Vec<OsString>,
}

/// The options of `cargo flatland gdb --replay`.
#[derive(Debug, PartialEq, Eq)]
pub struct GdbReplayOptions {
    /// The recording.
    pub recording: PathBuf,
    /// The ELF file with names; the one that the recording names if `None`.
    pub elf: Option<PathBuf>,
    /// The file or terminal for the guest's output; target/guest/replay.output if `None`.
    pub output: Option<PathBuf>,
    /// gdb's own options: `--batch`, `-x FILE` and `-ex COMMAND`.
    pub gdb: Vec<OsString>,
    /// Options of `flatland`.
    pub flatland: Vec<OsString>,
}

/// The options of `cargo flatland test`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestTests {
    /// Which tests to run.
    pub filter: Option<String>,
    /// Options of flatland-test for the machine that the tests run in.
    pub machine: Vec<OsString>,
    /// Other arguments of libtest.
    pub libtest: Vec<OsString>,
}

/// Parses the command line, without the program's name. An error is one sentence.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>, own: &Own) -> Result<Parsed, String> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    // The arguments after these are the guest's, or flatland's.
    let is_ours = !args.first().is_some_and(|arg| arg == "exec" || arg == "flatland");
    let mut settings = Settings::default();
    if is_ours {
        settings.offline = take_flag(&mut args, "--offline");
        settings.quiet = take_flag(&mut args, "--quiet") | take_flag(&mut args, "-q");
        settings.colors = take_value(&mut args, "--color", "WHEN")?.map(|when| colors(&when)).transpose()?;
    }
    let package = if is_ours { take_value(&mut args, "--package", "NAME")? } else { None };
    let hint = format!("`{} --help` lists what there is", caller::cargo());
    if args.is_empty() {
        return Err(format!("no command is given; {hint}"));
    }
    let first = args.remove(0);
    let name = first.to_str().ok_or("the command is not UTF-8")?;
    let has_help = is_ours && take_flag(&mut args, "--help") | take_flag(&mut args, "-h");
    let command = match (name, has_help) {
        ("-h" | "--help" | "help", _) => Ok(Command::Print(match args.first() {
            None => own.table.overview(),
            Some(name) => help(own, &name.to_string_lossy(), &hint)?,
        })),
        ("-V" | "--version", _) => Ok(Command::Print(own.version.into())),
        // For cargo: see guest/.cargo/config.toml.
        ("exec", _) if !args.is_empty() => {
            let built = args.remove(0).into();
            Ok(Command::Exec { built, arguments: args })
        }
        // flatland has its own help.
        ("flatland", _) => {
            if args.first().is_some_and(|arg| arg == "--") {
                args.remove(0);
            }
            Ok(Command::Flatland { arguments: args })
        }
        (name, true) => Ok(Command::Print(help(own, name, &hint)?)),
        (name, false) => match (own.parse)(name, &mut args)? {
            Some(task) => Err(task),
            None => Ok(parse_command(own, name, args, &hint, &mut settings)?),
        },
    };
    Ok(Parsed { command, settings, package })
}

fn help(own: &Own, name: &str, hint: &str) -> Result<String, String> {
    own.table.help(name).ok_or_else(|| no_command(own, name, hint))
}

fn colors(when: &str) -> Result<ColorChoice, String> {
    settings::colors_named(when)
        .ok_or_else(|| format!("--color `{when}` is not a choice: give auto, always or never"))
}

fn parse_command(
    own: &Own,
    name: &str,
    args: Vec<OsString>,
    hint: &str,
    settings: &mut Settings,
) -> Result<Command, String> {
    let doc = own.table.forms(name).next().ok_or_else(|| no_command(own, name, hint))?;
    if name == "test" {
        return parse_test(own, doc, args, settings).map(Command::Test);
    }
    let mut words = Words::of(&own.table, doc, args)?;
    settings.message_format = message_format(&words)?;
    let mut profile = if words.has("--release") { Profile::Release } else { Profile::Dev };
    let command = match name {
        "run" => {
            let name = words.name()?;
            let options = words.take_rest();
            if profile == Profile::Dev && asks_for_coverage(&options[..dashes(&options)]) {
                profile = Profile::Coverage;
            }
            Command::Run { name, profile, options }
        }
        "gdb" if words.has("--replay") => {
            if let Some(option) = ["--input", "--release"].into_iter().find(|option| words.has(option)) {
                return Err(format!("a replay has the program and the input of its run: leave out {option}"));
            }
            words.check_gdbs_own()?;
            let options = GdbReplayOptions {
                recording: words.value("--replay").unwrap_or_default().into(),
                elf: words.path().map(Into::into),
                output: words.value("--output").map(Into::into),
                gdb: words.again(&["-x", "-ex", "--batch"]),
                flatland: words.take_rest(),
            };
            Command::GdbReplay { options }
        }
        "gdb" => {
            let name = words.name()?;
            words.check_gdbs_own()?;
            let options = GdbOptions {
                input: words.value("--input").map(Into::into),
                output: words.value("--output").map(Into::into),
                gdb: words.again(&["-x", "-ex", "--batch"]),
                flatland: words.take_rest(),
            };
            Command::Gdb { name, profile, options }
        }
        "replay" => {
            let arguments = words.take_rest();
            if arguments.is_empty() {
                let cargo = caller::cargo();
                return Err(format!("`{cargo} replay` needs a recording: `{cargo} replay FILE`"));
            }
            Command::Replay { arguments }
        }
        "build" => Command::Build { name: words.name()?, profile },
        "disasm" => {
            Command::Disassemble { name: words.required_name("hello")?, profile, function: words.name()? }
        }
        "size" => {
            let name = words.required_name("hello")?;
            if words.has("--svg") && words.has("--against") {
                return Err("--svg is of one build, and --against of two: leave one out".into());
            }
            Command::Size { name, profile, options: words.again(&["--svg", "--against"]) }
        }
        "new" => Command::New {
            name: words.required_name("my-kernel")?,
            kind: if words.has("--fuzz") { new::Kind::Fuzz } else { new::Kind::Hello },
            path: words.value("--path").map(Into::into),
        },
        "fuzz" => {
            if profile == Profile::Dev && words.has("--coverage") {
                profile = Profile::Coverage;
            }
            Command::Fuzz {
                name: words.required_name("planted")?,
                profile,
                options: words.again_but("--release"),
                arguments: words.take_rest(),
            }
        }
        "init" => Command::Init,
        "doctor" => Command::Doctor,
        "completions" => {
            let name = words.required_name("bash")?;
            let known = Shell::ALL.into_iter().find(|(known, _)| *known == name);
            let (_, shell) = known.ok_or_else(|| {
                format!("there are no completions for `{name}`: give bash, zsh, fish or powershell")
            })?;
            Command::Completions { shell }
        }
        "man" => Command::Man { folder: words.path().map(Into::into) },
        _ => Command::List,
    };
    words.end()?;
    Ok(command)
}

/// The arguments of the guest's tests.
fn parse_test(
    own: &Own,
    doc: &'static Doc,
    args: Vec<OsString>,
    settings: &mut Settings,
) -> Result<GuestTests, String> {
    let mut words = Words::of(&own.table, doc, args)?;
    settings.message_format = message_format(&words)?;
    // The programs that were built are in the messages.
    if let Some(format) = settings.message_format.as_deref().filter(|format| !format.starts_with("json")) {
        return Err(format!(
            "tests are built with --message-format json, or with another form of json, and not with {format}: give one"
        ));
    }
    let filter = words.name()?;
    let machine = words.again_but(MESSAGE_FORMAT);
    let mut libtest = words.take_rest();
    if libtest.first().is_some_and(|arg| arg == "--") {
        libtest.remove(0);
    }
    Ok(GuestTests { filter, machine, libtest })
}

/// The option for cargo, where a command has it.
const MESSAGE_FORMAT: &str = "--message-format";

fn message_format(words: &Words) -> Result<Option<String>, String> {
    let format = words.value(MESSAGE_FORMAT).map(OsString::into_string).transpose();
    format.map_err(|_| format!("the value of {MESSAGE_FORMAT} is not UTF-8"))
}

/// Whether these options ask for coverage.
fn asks_for_coverage(options: &[OsString]) -> bool {
    let is_it = |option: &str| option == "--coverage" || option.starts_with("--coverage=");
    options.iter().any(|option| option.to_str().is_some_and(is_it))
}

impl GuestTests {
    /// Whether the tests are to be run with coverage.
    pub fn covers(&self) -> bool {
        asks_for_coverage(&self.machine)
    }
}

fn no_command(own: &Own, name: &str, hint: &str) -> String {
    let what = if name.starts_with('-') { "option" } else { "command" };
    let known = own.table.docs().map(Doc::name).chain([
        "--color",
        "--help",
        "--offline",
        "--package",
        "--quiet",
        "--version",
    ]);
    match nearest(name, known, tolerance(name)) {
        Some(meant) => format!("there is no {what} `{name}`: did you mean `{meant}`?"),
        None => format!("there is no {what} `{name}`; {hint}"),
    }
}

/// Removes an option from the arguments before a `--`. Returns whether it was there.
fn take_flag(args: &mut Vec<OsString>, flag: &str) -> bool {
    let at = args[..dashes(args)].iter().position(|arg| arg == flag);
    at.map(|at| args.remove(at)).is_some()
}

/// Removes an option with its value from the arguments before a `--`. Returns the value.
fn take_value(args: &mut Vec<OsString>, option: &str, name: &str) -> Result<Option<String>, String> {
    let joined = format!("{option}=");
    let is_it = |arg: &OsString| arg == option || arg.to_str().is_some_and(|arg| arg.starts_with(&joined));
    let Some(at) = args[..dashes(args)].iter().position(is_it) else { return Ok(None) };
    let text = |arg: OsString| arg.into_string().map_err(|_| format!("the value of {option} is not UTF-8"));
    let word = text(args.remove(at))?;
    match word.strip_prefix(&joined) {
        Some(value) => Ok(Some(value.into())),
        None if at < args.len() => text(args.remove(at)).map(Some),
        None => Err(format!("{option} needs a value: `{option} {name}`")),
    }
}

/// The index of the first `--`, or the number of arguments if there is none.
pub fn dashes(args: &[OsString]) -> usize {
    args.iter().position(|arg| arg == "--").unwrap_or(args.len())
}

#[cfg(test)]
mod tests;
