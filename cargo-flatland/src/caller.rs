//! How the commands were called: as `cargo flatland`, or as `cargo xtask` in a checkout. Messages and help name them so.

use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};

/// The names of the commands.
#[derive(Debug)]
pub struct Caller {
    /// What stands before a command: `cargo flatland`.
    pub cargo: &'static str,
    /// What stands before the library's messages: `flatland`.
    pub mark: &'static str,
    /// The command that runs the guest's tests: `test`.
    pub test: &'static str,
}

/// The names in `cargo flatland`. The texts of help are written with them.
pub const CARGO_FLATLAND: Caller = Caller { cargo: "cargo flatland", mark: "flatland", test: "test" };

static CALLER: OnceLock<Caller> = OnceLock::new();

/// Sets the names; the first call counts.
pub fn set(caller: Caller) {
    let _ = CALLER.set(caller);
}

fn caller() -> &'static Caller {
    CALLER.get().unwrap_or(&CARGO_FLATLAND)
}

/// What stands before a command.
pub fn cargo() -> &'static str {
    caller().cargo
}

/// The command that runs the guest's tests, without what stands before it.
pub fn test_command() -> &'static str {
    caller().test
}

/// What runs the guest's tests, as a whole: `cargo flatland test`.
pub fn test() -> String {
    format!("{} {}", caller().cargo, caller().test)
}

/// A text of the help, which is written for `cargo flatland`, with the names of this call.
pub fn named(text: &str) -> String {
    text.replace("cargo flatland test", &test()).replace(CARGO_FLATLAND.cargo, caller().cargo)
}

/// As the host's programs mark their messages.
const MARK: Style = AnsiColor::Red.on_default().bold();

/// A message of the library's own on standard error.
pub fn say(message: &str) {
    anstream::eprintln!("{MARK}{}:{MARK:#} {message}", caller().mark);
}
