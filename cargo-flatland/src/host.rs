//! The programs of the host that commands start, and how this process becomes one of them.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use crate::{Result, caller, settings};

/// The variable that tells programs how the commands were called (`flatland::words::CARGO`).
const CARGO: &str = "FLATLAND_CARGO";

/// A program of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `flatland`, which runs a guest.
    Flatland,
    /// `flatland-inspect`, which lists what is in one.
    Inspect,
    /// `flatland-test`, which runs a guest's tests.
    Test,
    /// `flatland-fuzz`.
    Fuzz,
}

impl Program {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flatland => "flatland",
            Self::Inspect => "flatland-inspect",
            Self::Test => "flatland-test",
            Self::Fuzz => "flatland-fuzz",
        }
    }
}

/// Where a program of the host is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The words that stand before the program's own arguments, where a file contains several programs.
    pub words: Vec<OsString>,
}

impl Place {
    /// A call of the program. Its messages name the commands as they were called.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.file);
        command.args(&self.words).env(CARGO, caller::cargo());
        settings::hand_on(&mut command);
        command
    }
}

/// Finds the host's programs, or builds them.
pub trait Host: Sync {
    /// The place of a program. May take as long as a build.
    fn find(&self, program: Program) -> Result<Place>;

    /// Whether there is such a program, or what gets it. Takes no time.
    fn check(&self, program: Program) -> Result<()> {
        self.find(program).map(drop)
    }
}

/// Replaces this process by a command. So signals, exit status and streams are directly between the command and the
/// caller. Where a system cannot do that, waits for the command and ends with its status.
pub fn become_it(mut command: Command) -> Result<()> {
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    };
    Err(cannot_run(&command, &error))
}

/// The message where one of the host's programs does not start.
pub fn cannot_run(command: &Command, error: &dyn fmt::Display) -> String {
    format!(
        "cannot run {} ({error}): remove it, and build or install it again",
        command.get_program().display()
    )
}
