//! What is written where, and in which form: progress, colours, and cargo's messages for programs.

mod common;

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use common::{assert_ends, built, cargo_flatland, file, manifest, new_folder, run, source, text, write};

const MARK: &str = "\u{1b}[1m\u{1b}[31mflatland:\u{1b}[0m ";

/// `cargo flatland` with these words, split at spaces, in a package with a program of the same name.
fn flatland(folder: &Path, line: &str) -> Command {
    let mut command = cargo_flatland(folder, line.split_whitespace());
    command.env("CARGO_TARGET_DIR", built());
    command
}

fn package(name: &str, source: &str) -> PathBuf {
    let folder = new_folder(name);
    let manifest = manifest(name, name, "program.rs") + "[workspace]\n";
    write(&folder, &[("Cargo.toml", &manifest), ("program.rs", source)]);
    folder
}

/// A program with a warning.
fn with_warning(printed: &str) -> String {
    source(printed) + "fn nobody_calls_this() {}\n"
}

#[test]
fn quiet_leaves_warnings_errors_and_the_guests_output() {
    let folder = package("hushed", &source("one"));
    let output = run(&mut flatland(&folder, "build"));
    assert!(text(&output.stderr).contains("   Compiling hushed v0.0.0 ("), "{output:?}");
    for (line, quiet, printed) in
        [("run -q", "", "two"), ("--quiet run hushed", "", "three"), ("run", "true", "four")]
    {
        fs::write(folder.join("program.rs"), source(printed)).unwrap();
        let mut command = flatland(&folder, line);
        command.env("CARGO_TERM_QUIET", if quiet.is_empty() { "false" } else { quiet });
        assert_ends(&mut command, 0, &format!("{printed}\n"), "");
    }
    fs::write(folder.join("program.rs"), with_warning("five")).unwrap();
    let output = run(&mut flatland(&folder, "run -q"));
    assert_eq!(text(&output.stdout), "five\n");
    assert!(
        text(&output.stderr).starts_with("warning: function `nobody_calls_this` is never used\n"),
        "{output:?}"
    );
    fs::write(folder.join("program.rs"), source("six") + "fn\n").unwrap();
    let output = run(&mut flatland(&folder, "run -q"));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("error: expected identifier") && !stderr.contains("Compiling"), "{stderr}");
    let end = "flatland: the build failed: correct what its messages above say, and build again\n";
    assert!(stderr.ends_with(end), "{stderr}");
    assert_eq!((output.status.code(), &*output.stdout), (Some(125), &b""[..]));
}

/// The values of `reason` in cargo's messages, each line of which is one.
fn reasons(messages: &str) -> Vec<String> {
    let parsed =
        messages.lines().map(|line| jzon::parse(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    parsed.map(|message| message["reason"].as_str().expect("each has one").to_owned()).collect()
}

#[test]
fn cargos_messages_are_on_standard_output_if_asked_for() {
    let folder = package("told", &with_warning("told all"));
    let output = run(&mut flatland(&folder, "build --message-format json"));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let messages = reasons(&stdout);
    assert!(
        messages.contains(&"compiler-message".into()) && !stderr.contains("nobody_calls_this"),
        "{stdout}{stderr}"
    );
    assert_eq!(messages.last().map(String::as_str), Some("build-finished"));
    assert!(stdout.contains("\"executable\":\"") && !stdout.contains('\u{1b}'), "{stdout}");
    // The guest's output comes behind.
    let output = run(&mut flatland(&folder, "run --message-format=json-render-diagnostics told"));
    let stdout = text(&output.stdout);
    let messages = stdout.strip_suffix("told all\n").unwrap_or_else(|| panic!("{stdout}"));
    assert!(reasons(messages).iter().all(|reason| reason != "compiler-message"), "{stdout}");
    assert!(
        text(&output.stderr).contains("warning: function `nobody_calls_this` is never used\n"),
        "{output:?}"
    );
    // Another form is no JSON. cargo keeps the form of messages that it says again.
    fs::write(folder.join("program.rs"), with_warning("in short")).unwrap();
    let output = run(&mut flatland(&folder, "build --message-format short"));
    let warning = "program.rs:8:4: warning: function `nobody_calls_this` is never used\n";
    assert!(output.stdout.is_empty() && text(&output.stderr).contains(warning), "{output:?}");
    let output = run(&mut flatland(&folder, "build --message-format xml"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("xml"), "{output:?}");
}

/// Runs this on a terminal: script(1) gives it one, on which lines end in \r\n.
fn on_terminal(command: &Command, environment: &[(&str, &str)]) -> Output {
    let quoted = |word: &OsStr| format!("'{}'", word.display().to_string().replace('\'', "'\\''"));
    let words = [command.get_program()].into_iter().chain(command.get_args()).map(quoted);
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &words.collect::<Vec<_>>().join(" "), "/dev/null"]);
    script.current_dir(command.get_current_dir().expect("it has one"));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    for name in ["CARGO_TERM_PROGRESS_WHEN", "CARGO_TERM_QUIET"] {
        script.env_remove(name);
    }
    run(script.env("TERM", "xterm").envs(environment.iter().copied()))
}

#[test]
fn a_terminal_has_colours_and_a_pipe_only_if_asked_for() {
    let folder =
        package("painted", &(with_warning("").replace("flatland_guest::println!(\"\")", "panic!(\"red\")")));
    let run_it = |line: &str| flatland(&folder, line);
    let plain = |output: &Output| {
        let stderr = text(&[&output.stdout[..], &output.stderr].concat());
        assert!(stderr.contains("warning: function") && stderr.contains("flatland: the calls"), "{stderr}");
        assert!(!stderr.contains('\u{1b}'), "{stderr:?}");
    };
    let coloured = |output: &Output| {
        let stderr = text(&[&output.stdout[..], &output.stderr].concat());
        // The compiler's, and the machine's.
        assert!(
            stderr.contains("warning\u{1b}[0m") && stderr.contains(&format!("{MARK}the calls")),
            "{stderr:?}"
        );
    };
    plain(&run(&mut run_it("run")));
    coloured(&run(&mut run_it("run --color always")));
    coloured(&run(run_it("run").env("CARGO_TERM_COLOR", "always").env("NO_COLOR", "1")));
    plain(&run(run_it("run --color never").env("CARGO_TERM_COLOR", "always")));
    coloured(&on_terminal(&run_it("run"), &[]));
    plain(&on_terminal(&run_it("run"), &[("NO_COLOR", "1")]));
    plain(&on_terminal(&run_it("run"), &[("CARGO_TERM_COLOR", "never")]));
    plain(&on_terminal(&run_it("run --color=never"), &[]));
    // Messages of the commands themselves.
    let message = "there is no guest program `nothing`";
    for (color, mark) in [("always", MARK), ("never", "flatland: ")] {
        let output = run(&mut run_it(&format!("run nothing --color {color}")));
        assert!(text(&output.stderr).starts_with(&format!("{mark}{message}")), "{output:?}");
    }
}

/// A cargo that builds nothing, and says what it would show.
#[test]
fn a_terminal_sees_progress_and_a_log_does_not() {
    let folder = package("patient", &source("done"));
    let cargo = file("cargo-that-shows-progress");
    let script = format!(
        "#!/bin/bash\n[ \"$1\" != metadata ] || exec '{}' \"$@\"\n\
         if [ \"$CARGO_TERM_PROGRESS_WHEN\" = always ]; then\n  \
         printf '    Building [=>  ] 1/2: core to %s\\r' \"$CARGO_TERM_PROGRESS_WIDTH\" >&2\nfi\n\
         printf '   Compiling core v0.0.0\\n' >&2\nexit 1\n",
        env!("CARGO")
    );
    fs::write(&cargo, script).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let build = |line: &str| {
        let mut command = flatland(&folder, line);
        command.env("CARGO", &cargo).env("COLUMNS", "70");
        command
    };
    // The first one may fetch the standard library's source.
    run(&mut build("build"));
    let failed = "flatland: the build failed: correct what its messages above say, and build again\n";
    assert_ends(&mut build("build"), 1, "", &format!("   Compiling core v0.0.0\n{failed}"));
    let line = "    Building [=>  ] 1/2: core to 69\r\u{1b}[K";
    for (options, environment, progress) in [
        ("--color never", &[][..], line),
        ("--color never --quiet", &[], ""),
        ("--color never", &[("CI", "true")], ""),
        ("--color never", &[("TERM", "dumb")], ""),
        ("--color never", &[("CARGO_TERM_PROGRESS_WHEN", "never")], ""),
    ] {
        let output = on_terminal(&build(&format!("build {options}")), environment);
        let expected = format!("{progress}   Compiling core v0.0.0\r\n{}", failed.replace('\n', "\r\n"));
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(1), expected),
            "{options} {environment:?}"
        );
    }
}
