//! `cargo flatland doctor`: what this machine has of what the commands need.

use std::env;
use std::process::{Command, Stdio};

use crate::host::Program;
use crate::{Context, Result, caller, kvm, rust_source};

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// It is there.
    Ok,
    /// Something works without it.
    Note,
    /// `run` needs it.
    No,
}

/// Returns a line for each thing, with what mends it, and whether all is there that `run` needs.
pub fn doctor(context: &Context) -> (String, bool) {
    let lines = [
        compiler(),
        source(context),
        engines(context),
        sandbox(context),
        debugger(),
        fuzzer(context),
        package(context),
    ];
    let is_enough = lines.iter().all(|(mark, _)| *mark != Mark::No);
    let line = |(mark, text): (Mark, String)| {
        let mark = match mark {
            Mark::Ok => "ok",
            Mark::Note => "note",
            Mark::No => "no",
        };
        format!("{mark:4}  {text}\n")
    };
    (lines.map(line).concat(), is_enough)
}

fn compiler() -> (Mark, String) {
    const LEAST: &str = env!("CARGO_PKG_RUST_VERSION");
    match rust_source::version() {
        Ok(version) if is_at_least(&version, LEAST) => (Mark::Ok, format!("Rust {version}")),
        Ok(version) => {
            (Mark::No, format!("Rust {version} is too old, {LEAST} is the least: `rustup update`"))
        }
        Err(message) => (Mark::No, message),
    }
}

/// Whether a version such as `1.98.0-nightly` is this one, such as `1.95`, or a later one.
fn is_at_least(version: &str, least: &str) -> bool {
    let numbers = |text: &str| {
        let mut numbers = text.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    };
    numbers(version) >= numbers(least)
}

fn source(context: &Context) -> (Mark, String) {
    match rust_source::here(context.downloads()) {
        Ok(Some(_)) => (Mark::Ok, "the standard library's source".into()),
        Ok(None) => (
            Mark::No,
            "the standard library's source is not here: `rustup component add rust-src`; without rustup the first build \
             fetches it where Debian has this version"
                .into(),
        ),
        Err(message) => (Mark::No, message),
    }
}

fn engines(context: &Context) -> (Mark, String) {
    let soft = "so guests run on the soft engine";
    let asked = || -> Result<String> {
        let flatland = context.host().find(Program::Flatland)?;
        match kvm::why_not(flatland.clone())? {
            Some(why) => Ok(format!("no KVM, {soft}: {why}")),
            None if kvm::emulates(&flatland)? => Ok(format!(
                "KVM only emulates the processor, {soft}: for more speed use a machine without another around it"
            )),
            None => Ok(String::new()),
        }
    };
    match asked() {
        Ok(note) if note.is_empty() => (Mark::Ok, "KVM".into()),
        Ok(note) => (Mark::Note, note),
        Err(message) => (Mark::No, message),
    }
}

fn sandbox(context: &Context) -> (Mark, String) {
    let asked = context.host().find(Program::Flatland).and_then(|flatland| kvm::sandbox(&flatland));
    let kernel = "use a kernel of Linux 5.13 or later with Landlock and seccomp";
    match asked {
        Ok(sandbox) if sandbox.ends_with(" and seccomp") => (Mark::Ok, format!("--sandbox, a {sandbox}")),
        Ok(sandbox) => (Mark::Note, format!("--sandbox is {sandbox} here: {kernel}")),
        // What runs no guest at all is said by the line about engines.
        Err(message) => (Mark::Note, message),
    }
}

fn debugger() -> (Mark, String) {
    let name = env::var("GDB").unwrap_or_else(|_| "gdb".into());
    let runs = |name: &str| {
        let output = Command::new(name).arg("--version").stdin(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    };
    match (runs(&name), runs("lldb")) {
        (true, _) => (Mark::Ok, name),
        (false, true) => (
            Mark::Note,
            format!(
                "no {name}, but lldb, which connects to `{} run NAME --gdb`: `apt install gdb`",
                caller::cargo()
            ),
        ),
        (false, false) => {
            (Mark::Note, format!("no {name}, for `{} gdb`: `apt install gdb`", caller::cargo()))
        }
    }
}

fn fuzzer(context: &Context) -> (Mark, String) {
    match context.host().check(Program::Fuzz) {
        Ok(()) => (Mark::Ok, Program::Fuzz.name().into()),
        Err(message) => (Mark::Note, message),
    }
}

fn package(context: &Context) -> (Mark, String) {
    match context.package() {
        Ok(package) => {
            let count = package.programs.len();
            let programs = if count == 1 { "program" } else { "programs" };
            (Mark::Ok, format!("the package {}, with {count} {programs}", package.name))
        }
        Err(message) => (Mark::Note, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, expected) in [
            ("1.95.0", true),
            ("1.100.1", true),
            ("2.0.0", true),
            ("1.98.0-nightly", true),
            ("1.94.9", false),
            ("", false),
        ] {
            assert_eq!(is_at_least(version, "1.95"), expected, "{version}");
        }
    }
}
