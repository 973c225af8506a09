//! The choice of colours.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal};

use anstyle::{AnsiColor, Style};

/// Whether text has colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    is_on: bool,
}

/// The error and its location.
const FAULT: Style = AnsiColor::Red.on_default().bold();
/// Line numbers and labels.
const FRAME: Style = AnsiColor::Blue.on_default().bold();
/// Names.
const NAME: Style = Style::new().bold();

impl Paint {
    /// Plain text.
    pub const PLAIN: Self = Self { is_on: false };
    /// With colours.
    pub const COLOURED: Self = Self { is_on: true };

    /// With colours if standard error is a terminal that supports them, and NO_COLOR (no-color.org) is not set.
    pub fn for_standard_error() -> Self {
        Self::for_stream(&io::stderr())
    }

    /// With colours if this is a terminal that supports them, and NO_COLOR is not set.
    pub fn for_stream(stream: &impl IsTerminal) -> Self {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        Self { is_on: !is_set("NO_COLOR") && !is_dumb && stream.is_terminal() }
    }

    pub(super) fn fault(self, text: impl Display) -> String {
        self.with(FAULT, text)
    }

    pub(super) fn frame(self, text: impl Display) -> String {
        self.with(FRAME, text)
    }

    pub(super) fn name(self, text: impl Display) -> String {
        self.with(NAME, text)
    }

    /// The word that marks output of the host, as opposed to the guest's.
    pub fn mark(self, text: impl Display) -> String {
        self.with(FAULT, text)
    }

    /// The result of a test that has passed.
    pub fn passed(self, text: impl Display) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    /// The result of a test that has failed.
    pub fn failed(self, text: impl Display) -> String {
        self.with(AnsiColor::Red.on_default(), text)
    }

    /// The result of a test that is ignored.
    pub fn ignored(self, text: impl Display) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    fn with(self, style: Style, text: impl Display) -> String {
        if self.is_on { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}
