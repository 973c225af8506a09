//! Command lines.

use super::*;

/// No commands but the library's.
const OWN: Own = Own { table: Table { head: "Commands.", own: &[] }, version: "1\n", parse: |_, _| Ok(None) };

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn parse_words(line: &str) -> Result<Command, String> {
    parse(words(line), &OWN).map(|parsed| parsed.command.unwrap_or_else(|_| panic!("there are no others")))
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
    let options = GdbOptions {
        input: Some("in".into()),
        output: Some("/dev/pts/3".into()),
        gdb: words("--batch -x script"),
        flatland: words("--engine soft -- --input a"),
    };
    let line =
        "gdb answer --input in --batch --engine soft --output=/dev/pts/3 -x script --release -- --input a";
    let command = Command::Gdb { name: Some("answer".into()), profile: Profile::Release, options };
    assert_eq!(parse_words(line), Ok(command));
    let options = GdbOptions::default();
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
    let message = "`cargo flatland replay` needs a recording: `cargo flatland replay FILE`";
    assert_eq!(parse_words("replay"), Err(message.into()));
    let gdb = |elf: Option<&str>, gdb: &str, flatland: &str| {
        let options = GdbReplayOptions {
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
    let message = "`cargo flatland size` needs a program, such as `cargo flatland size hello`";
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
    let message = "`cargo flatland new` needs a program, such as `cargo flatland new my-kernel`";
    assert_eq!(parse_words("new"), Err(message.into()));
}

#[test]
fn arguments_of_the_guests_tests_go_to_libtest_and_to_the_machine() {
    let command = |filter: Option<&str>, machine: &str, libtest: &str| {
        let (machine, libtest) = (words(machine), words(libtest));
        Ok(Command::Test(GuestTests { filter: filter.map(Into::into), machine, libtest }))
    };
    assert_eq!(parse_words("test"), command(None, "", ""));
    assert_eq!(parse_words("test heap -- --exact a"), command(Some("heap"), "", "--exact a"));
    assert_eq!(
        parse_words("test --coverage heap --coverage=a.info --coverage-min 80"),
        command(Some("heap"), "--coverage --coverage=a.info --coverage-min 80", "")
    );
    assert_eq!(
        parse_words("test --engine soft --stack=4M a --memory 64M"),
        command(Some("a"), "--engine soft --stack 4M --memory 64M", "")
    );
    assert_eq!(
        parse_words("test --list"),
        Err("options of libtest stand behind a `--`: `cargo flatland test -- --list`".into())
    );
}

#[test]
fn settings_may_stand_anywhere_but_behind_dashes() {
    let settings = |line: &str| parse(words(line), &OWN).map(|parsed| parsed.settings);
    let none = Settings::default;
    let all = Settings { offline: true, quiet: true, colors: Some(ColorChoice::Never), message_format: None };
    for (line, expected) in [
        ("--offline run a", Settings { offline: true, ..none() }),
        ("run a --offline", Settings { offline: true, ..none() }),
        ("exec a --offline -q", none()),
        ("run a -- --offline -q --color always --message-format json", none()),
        ("-q build", Settings { quiet: true, ..none() }),
        ("build --quiet", Settings { quiet: true, ..none() }),
        ("run --color=always a", Settings { colors: Some(ColorChoice::Always), ..none() }),
        ("--color auto run a", Settings { colors: Some(ColorChoice::Auto), ..none() }),
        ("test a --color never -q --offline -- -q --color always", all.clone()),
        ("test a --message-format json", Settings { message_format: Some("json".into()), ..none() }),
        ("run a --message-format=short", Settings { message_format: Some("short".into()), ..none() }),
    ] {
        assert_eq!(settings(line), Ok(expected), "{line}");
    }
    let message = "--color `red` is not a choice: give auto, always or never";
    assert_eq!(settings("run --color red"), Err(message.into()));
    assert_eq!(settings("run --color"), Err("--color needs a value: `--color WHEN`".into()));
    // The machine gets none of it.
    let test = GuestTests { filter: None, machine: words("--engine soft"), libtest: Vec::new() };
    assert_eq!(parse_words("test --message-format json --engine soft"), Ok(Command::Test(test)));
    let message = "`cargo flatland disasm` does not know `--message-format`; `cargo flatland disasm --help` lists what there is";
    assert_eq!(settings("disasm a --message-format json"), Err(message.into()));
}

#[test]
fn help_everywhere() {
    let help = |line: &str| match parse_words(line) {
        Ok(Command::Print(text)) => text,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(help("help"), help("--help"));
    assert_eq!(help("help run"), help("run answer --help"));
    for doc in OWN.table.docs() {
        let text = help(&format!("help {}", doc.name()));
        assert!(text.contains(&format!("Usage: cargo flatland {}\n", doc.usage())), "{text}");
        assert!(help("-h").contains(&format!("  {}", doc.usage())));
        assert!(text.lines().all(|line| line.len() <= 124), "{text}");
    }
    assert!(help("-h").lines().all(|line| line.len() <= 124));
}

#[test]
fn what_to_fuzz() {
    let options = words("--seconds 3");
    let fuzz =
        Command::Fuzz { name: "planted".into(), profile: Profile::Dev, options, arguments: Vec::new() };
    assert_eq!(parse_words("fuzz planted --seconds 3"), Ok(fuzz));
}

#[test]
fn a_package_may_be_named() {
    for line in ["run a --package b", "--package=b run a", "run --package b a"] {
        let parsed = parse(words(line), &OWN).unwrap_or_else(|message| panic!("{line}: {message}"));
        assert_eq!(parsed.package.as_deref(), Some("b"), "{line}");
        assert_eq!(parsed.command.ok(), run(Some("a"), Profile::Dev, "").ok(), "{line}");
    }
    assert_eq!(parse_words("run --package"), Err("--package needs a value: `--package NAME`".into()));
    assert_eq!(parse_words("run a -- --package b"), run(Some("a"), Profile::Dev, "-- --package b"));
}

#[test]
fn wrong_command_lines_are_named() {
    for (line, message) in [
        ("", "no command is given; `cargo flatland --help` lists what there is"),
        ("frob", "there is no command `frob`; `cargo flatland --help` lists what there is"),
        ("help frob", "there is no command `frob`; `cargo flatland --help` lists what there is"),
        ("biuld", "there is no command `biuld`: did you mean `build`?"),
        (
            "build a b",
            "`cargo flatland build` does not know `b`; `cargo flatland build --help` lists what there is",
        ),
        ("build --relase", "`cargo flatland build` does not know `--relase`: did you mean `--release`?"),
        ("run a --relase", "`cargo flatland run` does not know `--relase`: did you mean `--release`?"),
        ("build --release=1", "--release takes no value"),
        (
            "list all",
            "`cargo flatland list` does not know `all`; `cargo flatland list --help` lists what there is",
        ),
    ] {
        assert_eq!(parse_words(line), Err(message.into()), "{line}");
    }
}
