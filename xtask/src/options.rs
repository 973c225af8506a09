//! The command line of `cargo xtask`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::gdb;
use crate::guest::Profile;

/// What `--help` prints.
pub const HELP: &str = "\
Build guest programs, run them on the machine, and test the project.

Usage: cargo xtask COMMAND

Commands:
  run [NAME] [OPTIONS] [-- ARGS]
                        build a guest program and run it (default: answer); ARGS are for the guest
  gdb [NAME] [OPTIONS] [-- ARGS]
                        build a guest program and run it in gdb, stopped at its main
  build [NAME]          build one guest program, or all of them, as target/guest/NAME.bin and NAME.elf
  list                  list the guest programs there are
  disasm NAME [FUNCTION]
                        list a program's instructions beside its source: of functions with FUNCTION in their names
  size NAME             list what takes the room in a program, by section, crate and function
  new NAME              make a guest program, guest/src/bin/NAME.rs
  new --path FOLDER NAME
                        make a crate of its own elsewhere, with a guest program; these commands work there, too
  test [ARGS]           run all tests; ARGS are those of `cargo test`, such as a filter
  test --guest [FILTER] [--engine ENGINE] [-- ARGS]
                        run the guest's own tests, each in a fresh machine; ARGS are those of libtest, such as --list
  differential          compare the soft engine with KVM and this processor (10 minutes);
                        with --unicorn: with Debian's libunicorn2 instead (5 minutes)
  bench [--quick]       measure speed beside monitors in C, and print a table (4 minutes; --quick: one);
                        --json: for programs; --page: write docs/speed.md and its picture;
                        --against FLATLAND: and another flatland, such as one of before a change
  lint                  check formatting, clippy and documentation, as CI does
  portability           check that the host builds without KVM and for other systems

Options of run, gdb, build, disasm and size:
  --release             build the guest program optimized for size, without overflow checks

Options of gdb, which has the terminal for itself:
  --input FILE          where the guest's input comes from (default: /dev/null)
  --output FILE         where its output goes: a file, or another terminal (default: target/guest/NAME.output)
  -x FILE, --batch      gdb's own: commands to begin with, and to end when they are through

The other options of run and gdb go to flatland, and NAME stands before them: --memory SIZE, --timeout SECONDS and
whatever else `target/release/flatland --help` lists.";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print [`HELP`].
    Help,
    /// Build one guest program, or all.
    Build { name: Option<String>, profile: Profile },
    /// Build a guest program and run it with these options of `flatland`.
    Run { name: Option<String>, profile: Profile, options: Vec<OsString> },
    /// List a program's instructions, of the functions with this in their names.
    Disassemble { name: String, profile: Profile, function: Option<String> },
    /// List what takes the room in a program.
    Size { name: String, profile: Profile },
    /// Build a guest program and run it in gdb.
    Gdb { name: Option<String>, profile: Profile, options: gdb::Options },
    /// Make a guest program, here or in a crate of its own in this folder.
    New { name: String, path: Option<PathBuf> },
    /// Run the tests with these arguments of `cargo test`.
    Test { arguments: Vec<OsString> },
    /// Run the guest's tests on this engine, with these arguments of libtest.
    TestGuest { engine: Option<String>, libtest: Vec<OsString> },
    /// Run a guest program, or a guest's tests, that a plain cargo has built.
    Exec { built: PathBuf, arguments: Vec<OsString> },
    /// Run all of the differential tests, against Unicorn if so, and otherwise KVM.
    Differential { unicorn: bool },
    /// Measure, with these options of flatland-bench.
    Bench { options: Vec<OsString> },
    /// Check what CI checks besides the tests.
    Lint,
    /// Check that the host builds for other systems.
    Portability,
    /// List the guest programs.
    List,
}

/// Reads the command line, without the program's name. An error is one sentence.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.is_empty() {
        return Err("no command is given".into());
    }
    let command = args.remove(0).into_string().map_err(|_| "the command is not UTF-8")?;
    let before_dashes = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let asks_for_help = args[..before_dashes].iter().any(|arg| arg == "--help" || arg == "-h");
    match command.as_str() {
        "-h" | "--help" | "help" => Ok(Command::Help),
        "build" | "run" | "gdb" | "list" | "new" | "disasm" | "size" | "lint" | "portability"
        | "differential" | "bench"
            if asks_for_help =>
        {
            Ok(Command::Help)
        }
        "run" => parse_run(args),
        "gdb" => parse_gdb(args),
        "build" => {
            let (name, profile, rest) = name_and_profile(args)?;
            nothing_more("build", &rest)?;
            Ok(Command::Build { name, profile })
        }
        "test" if args[..before_dashes].iter().any(|arg| arg == "--guest") => parse_test_guest(args),
        "test" => Ok(Command::Test { arguments: args }),
        // For cargo: see guest/.cargo/config.toml.
        "exec" if !args.is_empty() => {
            let built = args.remove(0).into();
            Ok(Command::Exec { built, arguments: args })
        }
        "differential" => {
            let unicorn = args.first().is_some_and(|arg| arg == "--unicorn");
            nothing_more("differential", &args[usize::from(unicorn)..])?;
            Ok(Command::Differential { unicorn })
        }
        "bench" => {
            let mut rest = args.iter();
            while let Some(arg) = rest.next() {
                match arg.to_str() {
                    Some("--quick" | "--json" | "--page") => {}
                    Some("--against") => {
                        rest.next().ok_or("--against needs the path of another flatland")?;
                    }
                    _ => return Err(format!("`cargo xtask bench` does not know `{}`", arg.display())),
                }
            }
            Ok(Command::Bench { options: args })
        }
        "lint" => nothing_more("lint", &args).map(|()| Command::Lint),
        "portability" => nothing_more("portability", &args).map(|()| Command::Portability),
        "new" => parse_new(args),
        "disasm" => {
            let (name, profile, mut rest) = program("disasm", args)?;
            let function = (!rest.is_empty()).then(|| rest.remove(0).into_string());
            let function = function.transpose().map_err(|_| "the function's name is not UTF-8")?;
            nothing_more("disasm", &rest)?;
            Ok(Command::Disassemble { name, profile, function })
        }
        "size" => {
            let (name, profile, rest) = program("size", args)?;
            nothing_more("size", &rest)?;
            Ok(Command::Size { name, profile })
        }
        "list" => nothing_more("list", &args).map(|()| Command::List),
        other => Err(format!("there is no command `{other}`")),
    }
}

fn parse_run(args: Vec<OsString>) -> Result<Command, String> {
    let (name, profile, options) = name_and_profile(args)?;
    Ok(Command::Run { name, profile, options })
}

/// What is not ours nor gdb's is for `flatland`. Values of its options are not told from ours, which have other names.
fn parse_gdb(args: Vec<OsString>) -> Result<Command, String> {
    let (name, profile, args) = name_and_profile(args)?;
    let mut options = gdb::Options::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut file = |option| args.next().ok_or(format!("{option} needs a file"));
        match arg.to_str() {
            Some("--") => {
                options.flatland.push(arg);
                options.flatland.extend(args.by_ref());
            }
            Some("--input") => options.input = Some(file("--input")?.into()),
            Some("--output") => options.output = Some(file("--output")?.into()),
            Some("-x") => options.gdb.extend(["-x".into(), file("-x")?]),
            Some("--batch") => options.gdb.push(arg),
            Some(option) if option.starts_with("--input=") => {
                options.input = Some(option["--input=".len()..].into());
            }
            Some(option) if option.starts_with("--output=") => {
                options.output = Some(option["--output=".len()..].into());
            }
            _ => options.flatland.push(arg),
        }
    }
    Ok(Command::Gdb { name, profile, options })
}

/// Takes out what is ours: `--release` anywhere before a `--`, and a name in front. What is left may hold
/// values of options that are not ours, so a name further back cannot be told from them.
fn name_and_profile(mut args: Vec<OsString>) -> Result<(Option<String>, Profile, Vec<OsString>), String> {
    let before_dashes = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let mut profile = Profile::Dev;
    if let Some(at) = args[..before_dashes].iter().position(|arg| arg == "--release") {
        args.remove(at);
        profile = Profile::Release;
    }
    let name = match args.first() {
        Some(first) if !first.as_encoded_bytes().starts_with(b"-") => {
            Some(args.remove(0).into_string().map_err(|_| "the program's name is not UTF-8")?)
        }
        _ => None,
    };
    Ok((name, profile, args))
}

fn parse_new(args: Vec<OsString>) -> Result<Command, String> {
    let mut name = None;
    let mut path = None;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--path") => path = Some(args.next().ok_or("--path needs a folder")?.into()),
            Some(option) if option.starts_with("--path=") => path = Some(option["--path=".len()..].into()),
            Some(text) if name.is_none() => name = Some(text.to_owned()),
            _ => return Err(format!("`cargo xtask new` does not know `{}`", arg.display())),
        }
    }
    let name = name.ok_or("`cargo xtask new` needs a name, such as `cargo xtask new my-kernel`")?;
    Ok(Command::New { name, path })
}

/// A filter, the engine, and behind a `--` what else libtest knows.
fn parse_test_guest(args: Vec<OsString>) -> Result<Command, String> {
    let mut libtest = Vec::new();
    let mut engine = None;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--guest") => {}
            Some("--") => libtest.extend(args.by_ref()),
            Some("--engine") => {
                let value = args.next().ok_or("--engine needs a value")?;
                engine = Some(value.into_string().map_err(|_| "the value of --engine is not UTF-8")?);
            }
            Some(option) if option.starts_with('-') => match option.strip_prefix("--engine=") {
                Some(value) => engine = Some(value.into()),
                None => {
                    return Err(format!(
                        "options of libtest stand behind a `--`: `cargo xtask test --guest -- {option}`"
                    ));
                }
            },
            _ => libtest.push(arg),
        }
    }
    Ok(Command::TestGuest { engine, libtest })
}

/// As [`name_and_profile`], for a command that needs a name.
fn program(command: &str, args: Vec<OsString>) -> Result<(String, Profile, Vec<OsString>), String> {
    let (name, profile, rest) = name_and_profile(args)?;
    let name = name.ok_or_else(|| {
        format!("`cargo xtask {command}` needs a program, such as `cargo xtask {command} hello`")
    })?;
    Ok((name, profile, rest))
}

fn nothing_more(command: &str, args: &[OsString]) -> Result<(), String> {
    match args.first() {
        None => Ok(()),
        Some(arg) => Err(format!("`cargo xtask {command}` does not know `{}`", arg.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn run(name: Option<&str>, profile: Profile, options: &str) -> Result<Command, String> {
        let options = options.split_whitespace().map(OsString::from).collect();
        Ok(Command::Run { name: name.map(Into::into), profile, options })
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
    }

    #[test]
    fn gdb_has_files_for_the_guest_and_options_for_three_programs() {
        let words = |line: &str| line.split_whitespace().map(OsString::from).collect::<Vec<_>>();
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
        for option in ["--input", "--output", "-x"] {
            assert_eq!(parse_words(&format!("gdb answer {option}")), Err(format!("{option} needs a file")));
        }
    }

    #[test]
    fn test_arguments_go_to_cargo() {
        let arguments = ["some_test", "--", "--nocapture"].map(OsString::from).to_vec();
        assert_eq!(parse_words("test some_test -- --nocapture"), Ok(Command::Test { arguments }));
    }

    #[test]
    fn programs_to_look_into() {
        use Profile::{Dev, Release};
        let disassemble = |profile, function: Option<&str>| {
            Ok(Command::Disassemble { name: "answer".into(), profile, function: function.map(Into::into) })
        };
        assert_eq!(parse_words("disasm answer"), disassemble(Dev, None));
        assert_eq!(parse_words("disasm answer --release main"), disassemble(Release, Some("main")));
        assert_eq!(parse_words("size answer"), Ok(Command::Size { name: "answer".into(), profile: Dev }));
        let message = "`cargo xtask size` needs a program, such as `cargo xtask size hello`";
        assert_eq!(parse_words("size"), Err(message.into()));
        assert_eq!(parse_words("size a b"), Err("`cargo xtask size` does not know `b`".into()));
    }

    #[test]
    fn what_to_make() {
        let new = |name: &str, path: Option<&str>| {
            Ok(Command::New { name: name.into(), path: path.map(PathBuf::from) })
        };
        assert_eq!(parse_words("new a"), new("a", None));
        assert_eq!(parse_words("new --path ../b a"), new("a", Some("../b")));
        assert_eq!(parse_words("new a --path=../b"), new("a", Some("../b")));
        assert_eq!(parse_words("new a b"), Err("`cargo xtask new` does not know `b`".into()));
        assert_eq!(parse_words("new a --path"), Err("--path needs a folder".into()));
        let message = "`cargo xtask new` needs a name, such as `cargo xtask new my-kernel`";
        assert_eq!(parse_words("new"), Err(message.into()));
    }

    #[test]
    fn arguments_of_the_guests_tests_go_to_libtest() {
        let command = |engine: Option<&str>, libtest: &[&str]| {
            let libtest = libtest.iter().map(OsString::from).collect();
            Ok(Command::TestGuest { engine: engine.map(Into::into), libtest })
        };
        assert_eq!(parse_words("test --guest"), command(None, &[]));
        assert_eq!(parse_words("test --guest heap"), command(None, &["heap"]));
        assert_eq!(
            parse_words("test heap --guest -- --exact --list"),
            command(None, &["heap", "--exact", "--list"])
        );
        assert_eq!(parse_words("test --guest --engine soft"), command(Some("soft"), &[]));
        assert_eq!(parse_words("test --guest --engine=soft"), command(Some("soft"), &[]));
        assert_eq!(
            parse_words("test --guest --list"),
            Err("options of libtest stand behind a `--`: `cargo xtask test --guest -- --list`".into())
        );
    }

    #[test]
    fn the_third_party_is_asked_for() {
        assert_eq!(parse_words("differential"), Ok(Command::Differential { unicorn: false }));
        assert_eq!(parse_words("differential --unicorn"), Ok(Command::Differential { unicorn: true }));
    }

    #[test]
    fn what_to_measure() {
        let options = ["--quick", "--json"].map(OsString::from).to_vec();
        assert_eq!(parse_words("bench --quick --json"), Ok(Command::Bench { options }));
        assert_eq!(parse_words("bench --fast"), Err("`cargo xtask bench` does not know `--fast`".into()));
    }

    #[test]
    fn help_everywhere() {
        for line in ["help", "--help", "-h", "run --help", "build -h", "run answer --help", "list --help"] {
            assert_eq!(parse_words(line), Ok(Command::Help), "{line}");
        }
    }

    #[test]
    fn wrong_command_lines_are_named() {
        for (line, message) in [
            ("", "no command is given"),
            ("frob", "there is no command `frob`"),
            ("build a b", "`cargo xtask build` does not know `b`"),
            ("build --fast", "`cargo xtask build` does not know `--fast`"),
            ("differential --qemu", "`cargo xtask differential` does not know `--qemu`"),
            ("list all", "`cargo xtask list` does not know `all`"),
        ] {
            assert_eq!(parse_words(line), Err(message.into()), "{line}");
        }
    }
}
