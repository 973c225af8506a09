//! Calls cargo from a program that cargo itself started.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::{env, io, thread};

use anstream::{AutoStream, ColorChoice};

use crate::settings::{self, CARGO_TERM_COLOR};
use crate::{Result, progress};

/// For messages: how to call a command so that it may download what is missing.
pub const ONLINE: &str = "without --offline and CARGO_NET_OFFLINE";

/// Whether cargo sets this variable for the programs it runs, and only for them (The Cargo Book, "Environment
/// variables"). If passed on, such variables would be taken for the user's settings, and build scripts that read them
/// would run again. Variables that users set, such as CARGO_HOME or CARGO_TERM_COLOR, are passed on.
fn is_cargos_own(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_CRATE_NAME",
        "CARGO_BIN_NAME",
        "OUT_DIR",
        "TARGET",
    ];
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_BIN_EXE_")
        || name.starts_with("CARGO_PRIMARY_")
        || NAMES.contains(&name)
}

/// Prepares a call of cargo in this folder, without the variables of the cargo that called this program. The toolchain
/// stays the same: rustup's choice is passed on in RUSTUP_TOOLCHAIN.
pub fn cargo(folder: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(folder);
    settings::hand_on(&mut command);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_cargos_own) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a build and passes on cargo's standard error, except for lines without information: a build with nothing to do
/// is silent. Returns the paths of the programs that were built, if the command asks for messages in JSON.
pub fn build(command: Command) -> Result<Vec<PathBuf>> {
    build_and(command, |_| ())
}

/// The same, and writes to standard output what cargo writes there.
pub fn build_telling(command: Command) -> Result<Vec<PathBuf>> {
    // Finish the build even if standard output is closed.
    build_and(command, |line| drop(io::stdout().write_all(line)))
}

fn build_and(mut command: Command, mut tell: impl FnMut(&[u8]) + Send) -> Result<Vec<PathBuf>> {
    // cargo has a pipe here, and this process maybe a terminal.
    if !matches!(settings::colors(), Some(ColorChoice::Always | ColorChoice::Never))
        && AutoStream::choice(&io::stderr()) != ColorChoice::Never
    {
        command.env(CARGO_TERM_COLOR, settings::name_of(ColorChoice::Always));
    }
    let shows_progress = progress::is_on();
    command.env("CARGO_TERM_PROGRESS_WHEN", if shows_progress { "always" } else { "never" });
    if shows_progress {
        command.env("CARGO_TERM_PROGRESS_WIDTH", (progress::columns().saturating_sub(1)).to_string());
        // Other sequences for terminals, which would need one.
        command.env("CARGO_TERM_PROGRESS_TERM_INTEGRATION", "false");
    }
    let shown = show(&command);
    command.stdout(Stdio::piped());
    let failed = |error| format!("cannot run {shown} ({error}): install Rust with rustup");
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let mut messages = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut chatter = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut is_missing = false;
    let messages = thread::scope(|scope| {
        let messages = scope.spawn(move || {
            let mut text = Vec::new();
            let mut line = Vec::new();
            while messages.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
                tell(&line);
                text.append(&mut line);
            }
            text
        });
        let mut line = Vec::new();
        let mut is_of_patch = false;
        while read_line(&mut chatter, shows_progress, &mut line) {
            let text = String::from_utf8_lossy(&line);
            if let Some(text) = text.strip_suffix('\r') {
                progress::show(text);
                line.clear();
                continue;
            }
            is_missing |= settings::is_offline() && text.contains("--offline");
            is_of_patch = is_about_patch(&text, is_of_patch);
            if !says_nothing(&text) && !is_of_patch {
                progress::write(&line);
            }
            line.clear();
        }
        progress::clear();
        messages.join()
    });
    let status = child.wait().map_err(failed)?;
    if !status.success() && is_missing {
        return Err(format!(
            "a crate is not on this machine, and nothing may be downloaded: this command gets it {ONLINE}"
        ));
    }
    if !status.success() {
        return Err("the build failed: correct what its messages above say, and build again".into());
    }
    let messages = messages.map_err(|_| "this program itself failed: report it")?;
    Ok(executables(&String::from_utf8_lossy(&messages)))
}

/// Reads a line, or what cargo writes over on a terminal, which ends in `\r`. Returns whether there was one.
fn read_line(from: &mut impl BufRead, has_progress: bool, line: &mut Vec<u8>) -> bool {
    loop {
        let bytes = from.fill_buf().unwrap_or_default();
        let is_end = |byte: &u8| *byte == b'\n' || has_progress && *byte == b'\r';
        let end = bytes.iter().position(is_end);
        let len = end.map_or(bytes.len(), |end| end + 1);
        line.extend(&bytes[..len]);
        from.consume(len);
        if end.is_some() || len == 0 {
            return !line.is_empty();
        }
    }
}

/// Finds the paths of programs in cargo's JSON messages (The Cargo Book, "External tools"). A JSON parser is not worth
/// its compile time for this one field.
fn executables(messages: &str) -> Vec<PathBuf> {
    let paths = messages.split("\"executable\":\"").skip(1).filter_map(|rest| rest.split_once('"'));
    paths.map(|(path, _)| path.replace("\\\\", "\\").into()).collect()
}

/// Prints a command and runs it with its output unchanged.
pub fn show_and_run(command: Command) -> Result<()> {
    show_and(command, Command::status)
}

/// Prints a command and runs it by `run`.
pub fn show_and(
    mut command: Command,
    run: impl FnOnce(&mut Command) -> io::Result<ExitStatus>,
) -> Result<()> {
    let shown = show(&command);
    if !settings::is_quiet() {
        eprintln!("$ {shown}");
    }
    match run(&mut command) {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("this failed, and its messages stand above: {shown}")),
        Err(error) => Err(format!("cannot run {shown} ({error}): install Rust with rustup")),
    }
}

/// Whether cargo prints this line for every build, or because two builds run at once.
fn says_nothing(line: &str) -> bool {
    let plain = without_colors(line);
    let line = plain.trim_start();
    line.starts_with("Finished `") || line.starts_with("Blocking waiting for file lock on package cache")
}

/// Whether a line is of cargo's warning that a patch is not used. It is said of the standard library, which is built as a
/// workspace of its own with the same settings (`checkout`). `before` is whether the line before was.
fn is_about_patch(line: &str, before: bool) -> bool {
    let line = without_colors(line);
    line.starts_with("warning: patch `flatland-")
        || before && (line.starts_with("help: Check that the patched package") || line.starts_with("      "))
}

/// Removes the escape sequences that set colors (ECMA-48, SGR).
pub fn without_colors(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        plain.push_str(piece.split_once('m').map_or(piece, |(_, rest)| rest));
    }
    plain
}

/// Quotes a word so that it can be pasted into a shell.
pub fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy().into_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The command in a form that can be pasted into a shell.
fn show(command: &Command) -> String {
    let mut words = Vec::new();
    if let Some(folder) = command.get_current_dir() {
        words.push(format!("cd {} &&", quote(folder.as_os_str())));
    }
    for (name, value) in command.get_envs() {
        if let Some(value) = value
            && !name.to_string_lossy().starts_with("CARGO_TERM_")
        {
            words.push(format!("{}={}", name.to_string_lossy(), quote(value)));
        }
    }
    words.push("cargo".into());
    words.extend(command.get_args().map(quote));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::mem;

    use super::*;

    #[test]
    fn lines_of_every_build_are_kept_back() {
        assert!(says_nothing("    Finished `release` profile [optimized] target(s) in 0.05s\n"));
        assert!(says_nothing("\x1b[1m\x1b[92m    Finished\x1b[0m `dev` profile [unoptimized] in 0.05s\n"));
        assert!(!says_nothing("   Compiling core v0.0.0\n"));
        assert!(!says_nothing("error[E0425]: cannot find value `x`\n"));
        assert!(!says_nothing("warning: unused variable: `Finished`\n"));
    }

    #[test]
    fn what_is_said_of_patches_is_kept_back() {
        let said = "warning: patch `flatland-guest v0.1.0 (/a)` was not used in the crate graph\n\
                    \x1b[1mhelp\x1b[0m: Check that the patched package version and available features are compatible\n      \
                    with the dependency requirements.\n   Compiling a v0.1.0\nwarning: patch `other v1` was not used\n";
        let mut before = false;
        let kept = said.lines().filter(|line| {
            before = is_about_patch(line, before);
            !before
        });
        let kept: Vec<_> = kept.collect();
        assert_eq!(kept, ["   Compiling a v0.1.0", "warning: patch `other v1` was not used"]);
    }

    #[test]
    fn the_programs_that_were_built_are_found_in_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/a b/release/flatland\",\"fresh\":true}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/b\",\"fresh\":true}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executables(messages), ["/a b/release/flatland", "/b"].map(PathBuf::from));
        assert_eq!(executables(""), Vec::<PathBuf>::new());
    }

    #[test]
    fn cargos_own_variables_are_told_from_a_persons() {
        for own in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR", "OUT_DIR"] {
            assert!(is_cargos_own(own), "{own}");
        }
        for persons in ["CARGO_HOME", "CARGO_TERM_COLOR", "CARGO_NET_OFFLINE", "CARGO", "PATH"] {
            assert!(!is_cargos_own(persons), "{persons}");
        }
    }

    #[test]
    fn what_is_written_over_is_told_from_lines() {
        let said = b"  Building [=> ] 1/2\r   Compiling a\nwithout an end";
        let read = |has_progress| {
            let (mut from, mut lines, mut line) =
                (BufReader::with_capacity(3, &said[..]), Vec::new(), Vec::new());
            while read_line(&mut from, has_progress, &mut line) {
                lines.push(String::from_utf8(mem::take(&mut line)).expect("it is UTF-8"));
            }
            lines
        };
        assert_eq!(read(true), ["  Building [=> ] 1/2\r", "   Compiling a\n", "without an end"]);
        assert_eq!(read(false), ["  Building [=> ] 1/2\r   Compiling a\n", "without an end"]);
    }

    #[test]
    fn commands_can_be_pasted() {
        let mut command = Command::new("/somewhere/cargo");
        command.args(["build", "--config", "a b"]).current_dir("/tmp").env("RUSTC_BOOTSTRAP", "1");
        assert_eq!(show(&command), "cd /tmp && RUSTC_BOOTSTRAP=1 cargo build --config 'a b'");
    }
}
