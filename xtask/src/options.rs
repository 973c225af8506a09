//! The command line of `cargo xtask`.

use std::ffi::OsString;

use crate::guest::Profile;

/// What `--help` prints.
pub const HELP: &str = "\
Build guest programs, run them on the machine, and test the project.

Usage: cargo xtask COMMAND

Commands:
  run [NAME] [OPTIONS]  build a guest program and run it (default: answer)
  build [NAME]          build one guest program, or all of them, as target/guest/NAME.bin and NAME.elf
  list                  list the guest programs there are
  test [ARGS]           run all tests; ARGS are those of `cargo test`, such as a filter
  differential          compare the soft engine with KVM in 150,000 cases (10 minutes);
                        with --unicorn: with Debian's libunicorn2 instead (5 minutes)
  lint                  check formatting, clippy and documentation, as CI does
  portability           check that the host builds without KVM and for other systems

Options of run and build:
  --release             build the guest program optimized for size, without overflow checks

The other options of run go to flatland, and NAME stands before them: --memory SIZE, --timeout SECONDS and
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
    /// Run the tests with these arguments of `cargo test`.
    Test { arguments: Vec<OsString> },
    /// Run all of the differential tests, against Unicorn if so, and otherwise KVM.
    Differential { unicorn: bool },
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
        "build" | "run" | "list" | "lint" | "portability" | "differential" if asks_for_help => {
            Ok(Command::Help)
        }
        "run" => parse_run(args),
        "build" => {
            let (name, profile, rest) = name_and_profile(args)?;
            nothing_more("build", &rest)?;
            Ok(Command::Build { name, profile })
        }
        "test" => Ok(Command::Test { arguments: args }),
        "differential" => {
            let unicorn = args.first().is_some_and(|arg| arg == "--unicorn");
            nothing_more("differential", &args[usize::from(unicorn)..])?;
            Ok(Command::Differential { unicorn })
        }
        "lint" => nothing_more("lint", &args).map(|()| Command::Lint),
        "portability" => nothing_more("portability", &args).map(|()| Command::Portability),
        "list" => nothing_more("list", &args).map(|()| Command::List),
        other => Err(format!("there is no command `{other}`")),
    }
}

fn parse_run(args: Vec<OsString>) -> Result<Command, String> {
    let (name, profile, options) = name_and_profile(args)?;
    if let Some(dashes) = options.iter().position(|arg| arg == "--")
        && dashes + 1 < options.len()
    {
        return Err("arguments for the guest, after `--`, are not supported yet".into());
    }
    Ok(Command::Run { name, profile, options })
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
        assert_eq!(parse_words("run answer --"), run(Some("answer"), Dev, "--"));
    }

    #[test]
    fn test_arguments_go_to_cargo() {
        let arguments = ["some_test", "--", "--nocapture"].map(OsString::from).to_vec();
        assert_eq!(parse_words("test some_test -- --nocapture"), Ok(Command::Test { arguments }));
    }

    #[test]
    fn the_third_party_is_asked_for() {
        assert_eq!(parse_words("differential"), Ok(Command::Differential { unicorn: false }));
        assert_eq!(parse_words("differential --unicorn"), Ok(Command::Differential { unicorn: true }));
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
            ("run answer -- x", "arguments for the guest, after `--`, are not supported yet"),
        ] {
            assert_eq!(parse_words(line), Err(message.into()), "{line}");
        }
    }
}
