//! `completions` and `man`, with the shells and the formatter that read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn xtask(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(words).stderr(Stdio::inherit()).output();
    let output = output.expect("xtask starts");
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).expect("it is UTF-8")
}

/// What a shell says to these lines, in which `SCRIPT` is the completions' file.
#[track_caller]
fn said(shell: &str, lines: &str) -> String {
    let script = folder(&format!("completions.{shell}"));
    fs::write(&script, xtask(&["completions", shell])).expect("the folder for tests can be written");
    let lines = lines.replace("SCRIPT", &script.display().to_string());
    let output = Command::new(shell).args(["-c", &lines]).stderr(Stdio::inherit()).output();
    let output =
        output.unwrap_or_else(|error| panic!("this test needs {shell} ({error}): `apt install {shell}`"));
    String::from_utf8(output.stdout).expect("it is UTF-8")
}

#[test]
fn bash_completes_commands_and_options() {
    let lines = r#"
_of_cargo() { COMPREPLY=(of-cargo); }
complete -F _of_cargo cargo
source SCRIPT
try() { COMP_WORDS=("${@:2}"); COMP_CWORD=$(($#-2)); COMPREPLY=(); $1; echo "${COMPREPLY[*]}"; }
try _cargo_with_xtask cargo b
try _cargo_with_xtask cargo xtask r
try _cargo_with_xtask cargo xtask run --max
try _cargo_with_xtask cargo xtask size hello --s
try _cargo_with_xtask cargo xtask run hello
try _cargo_xtask cargo-xtask g
try _flatland flatland --from
complete -p cargo flatland
"#;
    let expected = "of-cargo\nrun replay\n--max-instructions\n--svg\n\ngdb\n--from-snapshot\n\
         complete -o bashdefault -o default -F _cargo_with_xtask cargo\n\
         complete -o bashdefault -o default -F _flatland flatland\n";
    assert_eq!(said("bash", lines), expected);
}

/// What a person sees of it is zsh's own; here is what it is asked to show.
#[test]
fn zsh_is_asked_to_describe_commands_and_options() {
    let lines = r#"
compdef() { print -r -- compdef $* }
_describe() { print -r -- $1 ${${(M)${(P)2}:#$words[CURRENT]*}%%:*} }
_files() { print files }
source SCRIPT
try() { words=($@[2,-1]) CURRENT=$#words; $1 }
try _cargo-xtask xtask lis
try _cargo-xtask xtask run --max
try _cargo-xtask xtask run hel
try _flatland flatland --from
"#;
    let expected = "compdef _flatland flatland\ncompdef _cargo-xtask cargo-xtask\n\
         command list\noption --max-instructions\nfiles\noption --from-snapshot\n";
    assert_eq!(said("zsh", lines), expected);
}

#[test]
fn fish_completes_commands_and_options() {
    let lines = "source SCRIPT
        for line in 'cargo xtask ru' 'cargo xtask run --max' 'flatland --from' 'cargo-xtask dis'
            complete -C $line | string replace \\t ' = ' | string sub -l 60
        end";
    let expected = "run = build a guest program and run it (default: answer); AR\n\
         --max-instructions = end a run that executes more, with stat\n\
         --from-snapshot = go on from there, with memory, stack and A\n\
         disasm = list a program's instructions beside its source: of\n";
    assert_eq!(said("fish", lines), expected);
}

/// The options that a help lists.
fn options(help: &str) -> Vec<&str> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| line.starts_with('-'));
    lines
        .flat_map(|line| line.split("  ").next().unwrap_or_default().split([' ', ',', '[']))
        .filter(|word| word.starts_with('-'))
        .collect()
}

/// PowerShell itself is not asked: few systems have it.
#[test]
fn powershell_is_given_each_command_and_option() {
    let script = xtask(&["completions", "powershell"]);
    let begin =
        "Register-ArgumentCompleter -Native -CommandName flatland, cargo, cargo-xtask -ScriptBlock {\n";
    assert!(script.starts_with(begin) && script.ends_with("\n}\n"), "{script}");
    let help = xtask(&["--help"]);
    let (_, rows) = help.split_once("\nCommands:\n").expect("they are listed");
    let (rows, _) = rows.split_once("\n\n").expect("there is more");
    let rows = rows.lines().filter_map(|row| row.strip_prefix("  ")).filter(|row| !row.starts_with(' '));
    let mut commands: Vec<_> = rows.filter_map(|row| row.split(' ').next()).collect();
    commands.dedup();
    assert!(commands.len() > 15, "{commands:?}");
    let all = script.lines().find(|line| line.contains("'run', ")).expect("the commands are in a line");
    for command in commands {
        assert!(all.contains(&format!("'{command}'")), "{command}: {all}");
        let case = format!("        '{command}' {{ @(");
        let case = script.lines().find(|line| line.starts_with(&case)).unwrap_or_else(|| panic!("{command}"));
        assert!(case.ends_with(") }"), "{case}");
        let help =
            if command == "flatland" { xtask(&["flatland", "--help"]) } else { xtask(&["help", command]) };
        for option in options(&help) {
            assert!(case.contains(&format!("'{option}'")), "{command} {option}: {case}");
        }
    }
    // Nothing in it is left open.
    for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
        assert_eq!(script.matches(open).count(), script.matches(close).count(), "{open}");
    }
    assert!(script.lines().all(|line| line.matches('\'').count() % 2 == 0), "{script}");
}

#[test]
fn a_shell_that_is_not_known() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["completions", "tcsh"]).output();
    let output = output.expect("xtask starts");
    assert_eq!(output.status.code(), Some(2));
    let message = "xtask: there are no completions for `tcsh`: give bash, zsh, fish or powershell\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), message);
}

#[test]
fn pages_for_man_are_formatted_without_a_warning() {
    let folder = folder("man");
    xtask(&["man", folder.to_str().expect("it is UTF-8")]);
    for (name, expected) in [
        ("cargo-xtask", "SYNOPSIS\n       cargo xtask [OPTIONS] COMMAND\n"),
        ("flatland", "       --engine ENGINE\n"),
    ] {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-ww", "-Tascii", "-P-cbou"]).arg(folder.join(format!("{name}.1")));
        let output = groff.output().expect("groff starts: `apt install groff-base`");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}");
        let page = String::from_utf8(output.stdout).expect("it is ASCII");
        assert!(page.contains(expected), "{page}");
    }
}
