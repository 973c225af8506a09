//! The command line of `cargo xtask`. Both `--help` and the parser use the descriptions in [`COMMANDS`].

mod commands;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::gdb;
use crate::guest::Profile;
use crate::new;
use crate::spelling::{nearest, tolerance};
use commands::{COMMANDS, Doc, help, overview};
use words::Words;

/// What `cargo xtask differential` compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The soft engine with KVM and this processor.
    Kvm,
    /// The soft engine with Unicorn.
    Unicorn,
    /// `--coverage` with `-Cinstrument-coverage`.
    CompilersCoverage,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
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
    Gdb { name: Option<String>, profile: Profile, options: gdb::Options },
    /// Run a recorded run again in gdb.
    GdbReplay { options: gdb::ReplayOptions },
    /// Make a guest program, here or in a crate of its own in this folder.
    New { name: String, kind: new::Kind, path: Option<PathBuf> },
    /// Run a recorded run again, with these arguments of `flatland replay`.
    Replay { arguments: Vec<OsString> },
    /// Run `flatland` with these arguments.
    Flatland { arguments: Vec<OsString> },
    /// Run all tests, or those that take little time, with these arguments of `cargo test`.
    Test { quick: bool, arguments: Vec<OsString> },
    /// Run the guest's tests.
    TestGuest(GuestTests),
    /// Run a guest program, or a guest's tests, that a plain cargo has built.
    Exec { built: PathBuf, arguments: Vec<OsString> },
    /// Run all differential tests, against Unicorn or against KVM.
    Differential { with: Against },
    /// Measure, with these options of flatland-bench.
    Bench { options: Vec<OsString> },
    /// Make the pictures of the documentation anew.
    Pictures,
    /// Fuzz a guest program, or a file, with these options of flatland-fuzz and arguments of the guest's.
    Fuzz { name: String, profile: Profile, options: Vec<OsString>, arguments: Vec<OsString> },
    /// Fuzz the host's parsers, with these arguments of flatland-fuzz-parsers.
    FuzzParsers { arguments: Vec<OsString> },
    /// Compare flatland-fuzz with libFuzzer, with these options of flatland-fuzz-compare.
    CompareFuzzers { options: Vec<OsString> },
    /// Check what CI checks besides the tests.
    Lint,
    /// Check that the host builds for other systems.
    Portability,
    /// List the guest programs.
    List,
}

/// The options of `cargo xtask test --guest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestTests {
    /// Which tests to run.
    pub filter: Option<String>,
    /// Options of flatland-test for the machine that the tests run in.
    pub machine: Vec<OsString>,
    /// Other arguments of libtest.
    pub libtest: Vec<OsString>,
}

/// Parses the command line, without the program's name. Returns the command and whether downloads are forbidden. An
/// error is one sentence.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Command, bool), String> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    // The arguments after `exec` are the guest's.
    let is_offline = args.first().is_some_and(|arg| arg != "exec") && take_flag(&mut args, "--offline");
    Ok((parse_command(args)?, is_offline))
}

fn parse_command(mut args: Vec<OsString>) -> Result<Command, String> {
    const HINT: &str = "`cargo xtask --help` lists what there is";
    if args.is_empty() {
        return Err(format!("no command is given; {HINT}"));
    }
    let first = args.remove(0);
    let name = first.to_str().ok_or("the command is not UTF-8")?;
    match name {
        "-h" | "--help" | "help" => {
            let Some(name) = args.first() else { return Ok(Command::Print(overview())) };
            let name = name.to_string_lossy();
            return help(&name).map(Command::Print).ok_or_else(|| no_command(&name, HINT));
        }
        "-V" | "--version" => {
            return Ok(Command::Print(concat!("xtask ", env!("CARGO_PKG_VERSION"), "\n").into()));
        }
        // For cargo: see guest/.cargo/bare.toml.
        "exec" if !args.is_empty() => {
            let built = args.remove(0).into();
            return Ok(Command::Exec { built, arguments: args });
        }
        // flatland has its own help.
        "flatland" => {
            if args.first().is_some_and(|arg| arg == "--") {
                args.remove(0);
            }
            return Ok(Command::Flatland { arguments: args });
        }
        _ => {}
    }
    let mut docs = COMMANDS.iter().filter(|doc| doc.name() == name);
    let doc = docs.next().ok_or_else(|| no_command(name, HINT))?;
    if take_flag(&mut args, "--help") || take_flag(&mut args, "-h") {
        return help(name).map(Command::Print).ok_or_else(|| no_command(name, HINT));
    }
    if name == "test" && args[..dashes(&args)].iter().any(|arg| arg == "--guest") {
        return parse_test_guest(args).map(Command::TestGuest);
    }
    if name == "fuzz" && args[..dashes(&args)].iter().any(|arg| arg == "--parsers") {
        let mut words = Words::of(form("fuzz --parsers"), args)?;
        let arguments = [words.again_but("--parsers"), words.take_rest()].concat();
        return Ok(Command::FuzzParsers { arguments });
    }
    if name == "fuzz" && args[..dashes(&args)].iter().any(|arg| arg == "--compare") {
        let words = Words::of(form("fuzz --compare"), args)?;
        words.end()?;
        return Ok(Command::CompareFuzzers { options: words.again_but("--compare") });
    }
    let mut words = Words::of(doc, args)?;
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
            let options = gdb::ReplayOptions {
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
            let options = gdb::Options {
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
                return Err("`cargo xtask replay` needs a recording: `cargo xtask replay FILE`".into());
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
        "test" => Command::Test { quick: words.has("--quick"), arguments: words.take_rest() },
        "differential" => {
            let with = match (words.has("--unicorn"), words.has("--coverage")) {
                (false, false) => Against::Kvm,
                (true, false) => Against::Unicorn,
                (false, true) => Against::CompilersCoverage,
                (true, true) => {
                    return Err(
                        "--unicorn and --coverage compare different things: call one after the other".into(),
                    );
                }
            };
            Command::Differential { with }
        }
        "bench" => Command::Bench { options: words.again(&["--quick", "--json", "--against"]) },
        "pictures" => Command::Pictures,
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
        "lint" => Command::Lint,
        "portability" => Command::Portability,
        _ => Command::List,
    };
    words.end()?;
    Ok(command)
}

/// The command as it is meant in a crate elsewhere, which has only guest tests, or here.
pub fn in_workspace(command: Command, is_elsewhere: bool) -> Result<Command, String> {
    let Command::Test { arguments, quick } = command else { return Ok(command) };
    if is_elsewhere {
        return parse_test_guest(arguments).map(Command::TestGuest);
    }
    let names = arguments[..dashes(&arguments)].iter().filter_map(|word| word.to_str()?.split('=').next());
    let of_guest = test_guest().option_names();
    match of_guest.into_iter().find(|option| names.clone().any(|name| name == *option)) {
        Some(option) => Err(format!("{option} is of the guest's tests: give --guest, too")),
        None => Ok(Command::Test { arguments, quick }),
    }
}

/// The form of a command that begins with these words.
fn form(words: &str) -> &'static Doc {
    COMMANDS.iter().find(|doc| doc.usage.starts_with(words)).expect("it is there")
}

/// The form of `cargo xtask test` for the guest's tests.
fn test_guest() -> &'static Doc {
    form("test --guest")
}

/// The arguments of `cargo xtask test --guest`; in a crate elsewhere, those of `cargo xtask test`.
fn parse_test_guest(args: Vec<OsString>) -> Result<GuestTests, String> {
    let mut words = Words::of(test_guest(), args)?;
    let filter = words.name()?;
    let machine = words.again_but("--guest");
    let mut libtest = words.take_rest();
    if libtest.first().is_some_and(|arg| arg == "--") {
        libtest.remove(0);
    }
    Ok(GuestTests { filter, machine, libtest })
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

fn no_command(name: &str, hint: &str) -> String {
    let what = if name.starts_with('-') { "option" } else { "command" };
    let known = COMMANDS.iter().map(Doc::name).chain(["--help", "--offline", "--version"]);
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

/// The index of the first `--`, or the number of arguments if there is none.
fn dashes(args: &[OsString]) -> usize {
    args.iter().position(|arg| arg == "--").unwrap_or(args.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn parse_words(line: &str) -> Result<Command, String> {
        parse(words(line)).map(|(command, _)| command)
    }

    fn run(name: Option<&str>, profile: Profile, options: &str) -> Result<Command, String> {
        Ok(Command::Run { name: name.map(Into::into), profile, options: words(options) })
    }

    #[test]
    fn what_is_not_ours_goes_to_flatland_as_it_is() {
        use Profile::{Dev, Release};
        assert_eq!(parse_words("run"), run(None, Dev, ""));
        assert_eq!(parse_words("run answer"), run(Some("answer"), Dev, ""));
        assert_eq!(parse_words("run --release answer"), run(Some("answer"), Release, ""));
        assert_eq!(parse_words("run answer --release"), run(Some("answer"), Release, ""));
        assert_eq!(
            parse_words("run answer --timeout 3 --release --memory=1M"),
            run(Some("answer"), Release, "--timeout 3 --memory=1M")
        );
        assert_eq!(parse_words("run --timeout 3"), run(None, Dev, "--timeout 3"));
        assert_eq!(
            parse_words("run answer --stats -- --release b"),
            run(Some("answer"), Dev, "--stats -- --release b")
        );
        let flatland = |line: &str| Ok(Command::Flatland { arguments: words(line) });
        assert_eq!(parse_words("flatland -- a.bin --stats -- b"), flatland("a.bin --stats -- b"));
        assert_eq!(parse_words("flatland --help"), flatland("--help"));
    }

    #[test]
    fn gdb_has_files_for_the_guest_and_options_for_three_programs() {
        let options = gdb::Options {
            input: Some("in".into()),
            output: Some("/dev/pts/3".into()),
            gdb: words("--batch -x script"),
            flatland: words("--engine soft -- --input a"),
        };
        let line = "gdb answer --input in --batch --engine soft --output=/dev/pts/3 -x script --release -- --input a";
        let command = Command::Gdb { name: Some("answer".into()), profile: Profile::Release, options };
        assert_eq!(parse_words(line), Ok(command));
        let options = gdb::Options::default();
        assert_eq!(parse_words("gdb"), Ok(Command::Gdb { name: None, profile: Profile::Dev, options }));
        for option in ["--input", "--output", "-x", "--replay"] {
            let message = format!("{option} needs a value: `{option} FILE`");
            assert_eq!(parse_words(&format!("gdb answer {option}")), Err(message));
        }
    }

    #[test]
    fn a_replay_has_its_program_and_its_input() {
        let replay = |line: &str| Ok(Command::Replay { arguments: words(line) });
        assert_eq!(parse_words("replay a.rec --trace io b.elf"), replay("a.rec --trace io b.elf"));
        assert_eq!(parse_words("replay --trace io a.rec"), replay("--trace io a.rec"));
        let message = "`cargo xtask replay` needs a recording: `cargo xtask replay FILE`";
        assert_eq!(parse_words("replay"), Err(message.into()));
        let gdb = |elf: Option<&str>, gdb: &str, flatland: &str| {
            let options = gdb::ReplayOptions {
                recording: "a.rec".into(),
                elf: elf.map(Into::into),
                output: None,
                gdb: words(gdb),
                flatland: words(flatland),
            };
            Ok(Command::GdbReplay { options })
        };
        assert_eq!(parse_words("gdb --replay a.rec"), gdb(None, "", ""));
        assert_eq!(
            parse_words("gdb --replay=a.rec b.elf --batch --trace io"),
            gdb(Some("b.elf"), "--batch", "--trace io")
        );
        for option in ["--release", "--input=b"] {
            let name = option.split('=').next().unwrap();
            let message = format!("a replay has the program and the input of its run: leave out {name}");
            assert_eq!(parse_words(&format!("gdb --replay a.rec {option}")), Err(message));
        }
    }

    #[test]
    fn test_arguments_go_to_cargo() {
        let test = |quick, line: &str| Ok(Command::Test { quick, arguments: words(line) });
        assert_eq!(parse_words("test some_test -- --nocapture"), test(false, "some_test -- --nocapture"));
        assert_eq!(parse_words("test --quick --quiet a"), test(true, "--quiet a"));
    }

    #[test]
    fn programs_to_look_into() {
        use Profile::{Dev, Release};
        let disassemble = |profile, function: Option<&str>| {
            Ok(Command::Disassemble { name: "answer".into(), profile, function: function.map(Into::into) })
        };
        assert_eq!(parse_words("disasm answer"), disassemble(Dev, None));
        assert_eq!(parse_words("disasm answer --release main"), disassemble(Release, Some("main")));
        assert_eq!(
            parse_words("size answer"),
            Ok(Command::Size { name: "answer".into(), profile: Dev, options: Vec::new() })
        );
        let message = "`cargo xtask size` needs a program, such as `cargo xtask size hello`";
        assert_eq!(parse_words("size"), Err(message.into()));
    }

    #[test]
    fn what_to_make() {
        use new::Kind::{Fuzz, Hello};
        let new = |name: &str, kind, path: Option<&str>| {
            Ok(Command::New { name: name.into(), kind, path: path.map(PathBuf::from) })
        };
        assert_eq!(parse_words("new a"), new("a", Hello, None));
        assert_eq!(parse_words("new --fuzz a"), new("a", Fuzz, None));
        assert_eq!(parse_words("new --path ../b a"), new("a", Hello, Some("../b")));
        assert_eq!(parse_words("new a --path=../b --fuzz"), new("a", Fuzz, Some("../b")));
        assert_eq!(parse_words("new a --path"), Err("--path needs a value: `--path FOLDER`".into()));
        let message = "`cargo xtask new` needs a program, such as `cargo xtask new my-kernel`";
        assert_eq!(parse_words("new"), Err(message.into()));
    }

    #[test]
    fn arguments_of_the_guests_tests_go_to_libtest_and_to_the_machine() {
        let command = |filter: Option<&str>, machine: &str, libtest: &str| {
            let (machine, libtest) = (words(machine), words(libtest));
            Ok(Command::TestGuest(GuestTests { filter: filter.map(Into::into), machine, libtest }))
        };
        assert_eq!(parse_words("test --guest"), command(None, "", ""));
        assert_eq!(parse_words("test heap --guest -- --exact a"), command(Some("heap"), "", "--exact a"));
        assert_eq!(
            parse_words("test --guest --coverage heap --coverage=a.info --coverage-min 80"),
            command(Some("heap"), "--coverage --coverage=a.info --coverage-min 80", "")
        );
        assert_eq!(
            parse_words("test --guest --engine soft --stack=4M a --memory 64M"),
            command(Some("a"), "--engine soft --stack 4M --memory 64M", "")
        );
        assert_eq!(
            parse_words("test --guest --list"),
            Err("options of libtest stand behind a `--`: `cargo xtask test --guest -- --list`".into())
        );
    }

    #[test]
    fn the_third_party_is_asked_for() {
        assert_eq!(parse_words("differential"), Ok(Command::Differential { with: Against::Kvm }));
        let with = Against::Unicorn;
        assert_eq!(parse_words("differential --unicorn"), Ok(Command::Differential { with }));
        let with = Against::CompilersCoverage;
        assert_eq!(parse_words("differential --coverage"), Ok(Command::Differential { with }));
        assert!(parse_words("differential --coverage --unicorn").is_err());
    }

    #[test]
    fn what_to_measure() {
        let line = "--quick --against other --json";
        assert_eq!(parse_words(&format!("bench {line}")), Ok(Command::Bench { options: words(line) }));
    }

    #[test]
    fn offline_may_stand_anywhere_but_behind_dashes() {
        for (line, offline) in [
            ("--offline run a", true),
            ("run a --offline", true),
            ("exec a --offline", false),
            ("run a -- --offline", false),
        ] {
            assert_eq!(parse(words(line)).map(|(_, offline)| offline), Ok(offline), "{line}");
        }
    }

    #[test]
    fn help_everywhere() {
        let help = |line: &str| match parse_words(line) {
            Ok(Command::Print(text)) => text,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(help("help"), help("--help"));
        assert_eq!(help("help run"), help("run answer --help"));
        for doc in COMMANDS {
            let text = help(&format!("help {}", doc.name()));
            assert!(text.contains(&format!("Usage: cargo xtask {}\n", doc.usage)), "{text}");
            assert!(help("-h").contains(&format!("  {}", doc.usage)));
        }
        for text in COMMANDS.iter().map(Doc::help).chain([overview()]) {
            assert!(text.lines().all(|line| line.len() <= 124), "{text}");
        }
    }

    #[test]
    fn fuzz_has_three_forms() {
        let options = words("--seconds 3");
        let fuzz = Command::Fuzz {
            name: "planted".into(),
            profile: Profile::Dev,
            options: options.clone(),
            arguments: Vec::new(),
        };
        assert_eq!(parse_words("fuzz planted --seconds 3"), Ok(fuzz));
        let arguments = words("--seconds 3 elf a.elf");
        assert_eq!(
            parse_words("fuzz --parsers elf a.elf --seconds 3"),
            Ok(Command::FuzzParsers { arguments })
        );
        assert_eq!(parse_words("fuzz --seconds 3 --compare"), Ok(Command::CompareFuzzers { options }));
        let message =
            "`cargo xtask fuzz` does not know `planted`; `cargo xtask fuzz --help` lists what there is";
        assert_eq!(parse_words("fuzz planted --compare"), Err(message.into()));
    }

    #[test]
    fn wrong_command_lines_are_named() {
        for (line, message) in [
            ("", "no command is given; `cargo xtask --help` lists what there is"),
            ("frob", "there is no command `frob`; `cargo xtask --help` lists what there is"),
            ("help frob", "there is no command `frob`; `cargo xtask --help` lists what there is"),
            ("biuld", "there is no command `biuld`: did you mean `build`?"),
            (
                "build a b",
                "`cargo xtask build` does not know `b`; `cargo xtask build --help` lists what there is",
            ),
            ("build --relase", "`cargo xtask build` does not know `--relase`: did you mean `--release`?"),
            ("run a --relase", "`cargo xtask run` does not know `--relase`: did you mean `--release`?"),
            ("build --release=1", "--release takes no value"),
            (
                "differential --qemu",
                "`cargo xtask differential` does not know `--qemu`; `cargo xtask differential --help` lists what there is",
            ),
            (
                "list all",
                "`cargo xtask list` does not know `all`; `cargo xtask list --help` lists what there is",
            ),
        ] {
            assert_eq!(parse_words(line), Err(message.into()), "{line}");
        }
    }
}
